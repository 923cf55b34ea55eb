"""Weights drawn at random in any format, to measure shapes without a checkpoint. Values keep activations finite."""

from __future__ import annotations

import math
import zlib

import numpy as np

from hfc.formats import weight_format
from hfc.formats.block import BlockFormat
from hfc.formats.layout import Field
from hfc.formats.recipe import Recipe
from hfc.plan import ConstRef, WeightRef
from hfc.runtime.weights import load_const

ELEMENTWISE = {
    "add": lambda x, c: x + np.float32(c),
    "mul": lambda x, c: x * np.float32(c),
    "neg": lambda x, _: -x,
    "exp": lambda x, _: np.exp(x),
}
MOVING = (
    "rows",
    "pieces",
    "every",
    "join",
    "join_columns",
    "by_head",
    "transpose",
    "stack",
    "half_split",
)  # numbers stay what they are
LEAN = 0.2  # of the mean of codes, in deviations, that is too much
BLOCKS = 1 << 14  # distinct blocks a format; a weight repeats them


class RandomWeights:
    """A weight source: equal seeds give equal weights, in whatever order. context: tokens of the plan, for its tables."""

    def __init__(self, context: int, seed: int = 0):
        self._context, self._seed = context, seed
        self._patterns: dict[str, np.ndarray] = {}

    def weight(self, ref: WeightRef) -> np.ndarray:
        *lead, columns = ref.shape
        if ref.format == "f32":
            return weight_format("f32").pack(self._computed(ref.recipe, ref.shape))
        row_bytes = weight_format(ref.format).row_bytes(columns)
        made = np.empty(math.prod(lead) * row_bytes, np.uint8)
        self.fill(ref, made)
        return made.reshape(*lead, row_bytes)

    def fill(self, ref: WeightRef, made: np.ndarray) -> None:
        """As `weight`, into u8 [bytes] that are there."""
        if ref.format == "f32":
            made[:] = self.weight(ref).reshape(-1).view(np.uint8)
            return
        pattern = self._pattern(weight_format(ref.format), ref.shape[-1])
        for at in range(0, len(made), len(pattern)):
            made[at : at + len(pattern)] = pattern[: len(made) - at]

    def const(self, ref: ConstRef) -> np.ndarray:
        recipe = (
            Recipe(ref.recipe.op, (), ref.recipe.params) if ref.recipe.tensors() else ref.recipe
        )  # without divisors
        return load_const(ConstRef(ref.name, recipe, ref.shape), None, self._context)

    def release(self) -> None:
        """Nothing is kept but the patterns."""

    def _computed(self, recipe: Recipe, shape: tuple[int, ...]) -> np.ndarray:
        """Small vectors follow their recipe, so that 1 + w is near 1 and -exp(a) is negative."""
        if recipe.op in ELEMENTWISE:
            return ELEMENTWISE[recipe.op](self._computed(recipe.args[0], shape), dict(recipe.params).get("c"))
        if recipe.op in MOVING:  # a rank's part of 1 + w is as near to 1
            return self._computed(recipe.args[0], shape)
        deviation = shape[-1] ** -0.5 if len(shape) > 1 else 0.1
        return (deviation * self._rng(str(recipe)).standard_normal(shape)).astype(np.float32)

    def _rng(self, name: str) -> np.random.Generator:
        """Numbers that depend on the seed and a name, not on what was drawn before."""
        return np.random.default_rng([self._seed, zlib.crc32(name.encode())])

    def _pattern(self, form: BlockFormat, columns: int) -> np.ndarray:
        """Bytes of many blocks whose values have about mean 0 and variance 1 / columns."""
        key = f"{form.name} {columns}"
        if key not in self._patterns:
            rng = self._rng(key)
            raw = rng.integers(0, 256, (BLOCKS, form.block_bytes), np.uint8)
            floats = [f for f in form.fields if f.dtype in ("f16", "bf16", "f32")]
            if form.quantized:
                _near_one(form, raw)
                self._settle(form, floats, raw, columns**-0.5)
            else:
                _put(form, floats[0], raw, columns**-0.5 * rng.standard_normal((BLOCKS, 1)))
            self._patterns[key] = raw.reshape(-1)
        return self._patterns[key]

    def _settle(self, form: BlockFormat, floats: list[Field], raw: np.ndarray, deviation: float) -> None:
        """Set the scales, and their minimums so that means are 0: values are linear in both. A field that reaches elements which none
        before it reaches is a scale, any other the minimum of a scale."""
        for field in floats:
            _put(form, field, raw, 0.0)
        # scale, its minimum, the elements of a block that they reach
        found: list[tuple[Field, Field | None, np.ndarray]] = []
        reached = np.zeros(form.block, bool)
        for field in floats:
            _put(form, field, raw, 1.0)
            mine = (form.unpack(raw).reshape(-1, form.block) != 0).any(axis=0)
            _put(form, field, raw, 0.0)
            if (mine & ~reached).any():
                found.append((field, None, mine))
            else:
                found = [(s, field if (mine & of).any() else m, of) for s, m, of in found]
            reached |= mine
        for scale, minimum, of in found:
            _settle_pair(form, scale, minimum, of, raw, deviation)


def _settle_pair(
    form: BlockFormat, scale: Field, minimum: Field | None, of: np.ndarray, raw: np.ndarray, deviation: float
) -> None:
    """of: bool [block], the elements that they reach."""

    def values() -> np.ndarray:
        return form.unpack(raw).reshape(-1, form.block)[:, of]

    shift = 0.0
    if minimum:
        _put(form, minimum, raw, 1.0)
        unit = float(values().mean())
        _put(form, minimum, raw, 0.0)
    _put(form, scale, raw, 1.0)
    if minimum:
        shift = -float(values().mean()) / unit
        _put(form, minimum, raw, shift)
    mean, spread = float(values().mean()), float(values().std())
    size: float | np.ndarray = deviation / spread
    # Codes that lean to one side, and no minimum against it: every other block the other way.
    if abs(mean) > LEAN * spread:
        turned = np.where(np.arange(len(raw)) % 2, -1, 1)[:, None]
        size = turned * deviation / float(np.hypot(mean, spread))
    if scale.dtype == "f32" and not minimum:  # one scale that f16 rounds would give all weights the same error
        size = size * np.random.default_rng(1).uniform(0.75, 1.25, (len(raw), 1))
    _put(form, scale, raw, size)
    if minimum:
        _put(form, minimum, raw, size * shift)


def _put(form: BlockFormat, field: Field, raw: np.ndarray, value: float | np.ndarray) -> None:
    """Write one field of every block."""
    values = np.broadcast_to(np.asarray(value, np.float32), (len(raw), field.count))
    at = form.offsets[field.name]
    raw[:, at : at + field.nbytes] = form.assemble({field.name: values})[:, at : at + field.nbytes]


def _near_one(form: BlockFormat, raw: np.ndarray) -> None:
    """Exponents whose powers lie between 1/8 and 1: bytes drawn at random would span all numbers."""
    for name, code in form.codes.items():
        if code.power:
            exponents = form.assemble({name: 127 - np.resize(np.arange(4), (len(raw), form.block // form.group))})
            field = next(f for f in form.fields if f.name == code.planes[0].field)
            at = form.offsets[field.name]
            raw[:, at : at + field.nbytes] = exponents[:, at : at + field.nbytes]
