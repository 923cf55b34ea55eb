"""A recipe and a checkpoint -> one weight: quantized blocks where the recipe only moves rows, f32 where it computes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError, unknown
from hfc.formats import RowFormat, weight_format
from hfc.formats.checkpoint.checkpoint import Checkpoint
from hfc.formats.checkpoint.rope import position_scale, rope_table
from hfc.formats.mxfp import GROUP, from_pair
from hfc.formats.recipe import Recipe


@dataclass(frozen=True)
class WeightData:
    """format: weight format name.  shape: elements.  raw: uint8 [..., row_bytes], often a view of the checkpoint."""

    format: str
    shape: tuple[int, ...]
    raw: np.ndarray

    def f32(self) -> np.ndarray:
        return weight_format(self.format).unpack(self.raw).reshape(self.shape)

    def with_shape(self, shape: tuple[int, ...], what: str = "weight") -> WeightData:
        """The same data under a declared shape, which may differ as `same_elements` says: [C, 1, K] is [C, K]."""
        if tuple(shape) == self.shape:
            return self
        if not same_elements(self.shape, shape, weight_format(self.format).block == 1):
            raise HfcError(f"{what}: the checkpoint has {list(self.shape)}, the model declares {list(shape)}")
        last = shape[-1] if shape else 1
        raw = self.raw.reshape(*shape[:-1], weight_format(self.format).row_bytes(last))
        return WeightData(self.format, tuple(shape), raw)


def same_elements(found: Sequence[int], declared: Sequence[int], is_plain: bool) -> bool:
    """Axes of size 1 do not count; a vector of plain numbers is a matrix with as many, row after row, and the other way round."""
    found, declared = ([size for size in shape if size != 1] for shape in (found, declared))
    is_flat = is_plain and min(len(found), len(declared)) <= 1
    return found == declared or (is_flat and math.prod(found) == math.prod(declared))


def evaluate(recipe: Recipe, checkpoint: Checkpoint | None, context: int) -> WeightData:
    """Make the weight that `recipe` describes. checkpoint: None for a recipe without tensors. context: tokens, the length of rope_table."""
    params = dict(recipe.params)
    if recipe.op == "tensor":
        assert checkpoint is not None, f"{recipe}: there is no checkpoint"
        return _tensor(checkpoint, params["name"])
    if recipe.op == "mxfp4":
        assert checkpoint is not None, f"{recipe}: there is no checkpoint"
        return _mxfp4(*(checkpoint.raw(_named(arg)).reshape(checkpoint.info(_named(arg)).shape) for arg in recipe.args))
    args = [evaluate(arg, checkpoint, context) for arg in recipe.args]
    if recipe.op == "rope_table":
        divisors = {"divisors": _divisors(args, params, context)} if args else {}
        try:
            return _from_f32(rope_table(context, **params, **divisors))
        except (ArithmeticError, ValueError) as error:
            raise HfcError(f"{str(recipe)[:100]}: these parameters make no table: {error}") from None
    if recipe.op == "position_scale":
        return _from_f32(position_scale(context, **params))
    if recipe.op == "repeat":
        return _from_f32(repeated(**params))
    if recipe.op not in OPERATIONS:
        raise unknown("recipe operation", recipe.op, [*OPERATIONS, "tensor", "rope_table", "position_scale"])
    return OPERATIONS[recipe.op](recipe, args, params)


def _divisors(args: list[WeightData], params: dict[str, Any], context: int) -> np.ndarray:
    """Of two lists, longrope's, the first is for contexts up to the original one."""
    is_long = len(args) > 1 and context > params["original_max_position_embeddings"]
    return args[1 if is_long else 0].f32()


def repeated(rows: int, values: tuple[float, ...]) -> np.ndarray:
    """f32 [rows, values]: the same row again and again."""
    return np.tile(np.asarray(values, np.float32), (rows, 1))


def _tensor(checkpoint: Checkpoint, name: str) -> WeightData:
    format, raw = checkpoint.loaded(name)
    return WeightData(format, checkpoint.info(name).shape, raw)


def _named(recipe: Recipe) -> str:
    """The tensor that a recipe stands for, which must be nothing but a tensor."""
    if recipe.op != "tensor":
        raise HfcError(f"mxfp4 takes tensors as they lie in the checkpoint, not {recipe}")
    return dict(recipe.params)["name"]


def _mxfp4(blocks: np.ndarray, scales: np.ndarray) -> WeightData:
    form = weight_format("mxfp4")
    assert isinstance(form, RowFormat), form
    raw = form.loaded(from_pair(blocks, scales))
    return WeightData(form.blocks.name, (*scales.shape[:-1], scales.shape[-1] * GROUP), raw)


def _from_f32(values: np.ndarray) -> WeightData:
    values = np.ascontiguousarray(values, np.float32)
    raw = values.reshape(values.shape or (1,)).view(np.uint8)
    return WeightData("f32", values.shape, raw)


def _movable(x: WeightData) -> np.ndarray:
    """The bytes with one axis per axis that may be cut or permuted, and the bytes of one piece last.

    Plain formats: [*shape, itemsize].  Quantized ones keep their rows whole: [*shape[:-1], row_bytes].
    """
    form = weight_format(x.format)
    return x.raw if form.quantized else x.raw.reshape(*x.shape, form.block_bytes)


def _moved(x: WeightData, pieces: np.ndarray) -> WeightData:
    """Back from `_movable`, after the axes changed their sizes or grew in number."""
    form = weight_format(x.format)
    if form.quantized:
        return WeightData(x.format, (*pieces.shape[:-1], x.shape[-1]), pieces)
    shape = pieces.shape[:-1]
    return WeightData(x.format, shape, pieces.reshape(*shape[:-1], shape[-1] * form.block_bytes))


def _rows(recipe: Recipe, args: list[WeightData], params: dict[str, Any]) -> WeightData:
    (x,) = args
    axis, start, stop = params["axis"], params["start"], params["stop"]
    if not 0 <= axis < len(x.shape) or not 0 <= start < stop <= x.shape[axis]:
        raise HfcError(f"{recipe}: rows {start}:{stop} of axis {axis} do not lie in {x.format}{list(x.shape)}")
    return _cut(recipe, x, axis, slice(start, stop))


def _every(recipe: Recipe, args: list[WeightData], params: dict[str, Any]) -> WeightData:
    (x,) = args
    axis, step = params["axis"], params["step"]
    if not 0 <= axis < len(x.shape) or step < 1:
        raise HfcError(f"{recipe}: {x.format}{list(x.shape)} has no axis {axis} to take every {step}. piece of")
    return _cut(recipe, x, axis, slice(None, None, step))


def _cut(recipe: Recipe, x: WeightData, axis: int, part: slice) -> WeightData:
    pieces = _movable(x)
    if axis >= pieces.ndim - 1:
        raise HfcError(
            f"{recipe}: the last axis of {x.format}{list(x.shape)} cannot be cut: its elements lie in blocks",
            hint="cut another axis, or use a checkpoint in f32, f16 or bf16",
        )
    return _moved(x, pieces[(slice(None),) * axis + (part,)])


def _pieces(recipe: Recipe, args: list[WeightData], params: dict[str, Any]) -> WeightData:
    """Ranges of an axis, in their order; of the last one of a quantized tensor the bytes of its blocks."""
    shape, axis, borders = params["shape"], params["axis"], params["borders"]
    x = args[0].with_shape(shape, str(recipe))
    ranges = list(zip(borders[::2], borders[1::2], strict=True))
    if not ranges or axis >= len(shape) or not all(0 <= first < end <= shape[axis] for first, end in ranges):
        raise HfcError(f"{recipe}: pieces {list(borders)} of axis {axis} do not lie in {x.format}{list(shape)}")
    form, is_last = weight_format(x.format), axis == len(shape) - 1
    if not (is_last and form.quantized):
        parts = _movable(x)
        lead = (slice(None),) * axis
        return _moved(x, np.concatenate([parts[(*lead, slice(first, end))] for first, end in ranges], axis=axis))
    if any(at % form.block for at in borders):
        raise HfcError(f"{recipe}: {x.format} lies in blocks of {form.block}, which pieces {list(borders)} would cut")
    block_bytes = form.row_bytes(form.block)
    cuts = [slice(first // form.block * block_bytes, end // form.block * block_bytes) for first, end in ranges]
    raw = np.concatenate([x.raw[..., cut] for cut in cuts], axis=-1)
    return WeightData(x.format, (*shape[:-1], sum(end - first for first, end in ranges)), raw)


def _transpose(recipe: Recipe, args: list[WeightData], params: dict[str, Any]) -> WeightData:
    (x,) = args
    pieces = _movable(x)
    if len(x.shape) < 2 or weight_format(x.format).quantized:
        raise HfcError(
            f"{recipe}: {x.format}{list(x.shape)} cannot be transposed: it has no two axes, or its elements lie in blocks",
            hint="use a checkpoint in f32, f16 or bf16",
        )
    return _moved(x, pieces.swapaxes(-2, -3))


def _stack(recipe: Recipe, args: list[WeightData], params: dict[str, Any]) -> WeightData:
    if len({(x.format, x.shape) for x in args}) != 1:
        found = ", ".join(sorted({f"{x.format}{list(x.shape)}" for x in args})) or "nothing"
        raise HfcError(f"{recipe.op}: tensors to stack must have one format and shape, found {found}")
    return WeightData(args[0].format, (len(args), *args[0].shape), np.stack([x.raw for x in args]))


def _join(recipe: Recipe, args: list[WeightData], params: dict[str, Any]) -> WeightData:
    if len({(x.format, x.shape[1:]) for x in args}) != 1:
        found = ", ".join(sorted({f"{x.format}{list(x.shape)}" for x in args}))
        raise HfcError(f"{recipe.op}: tensors to join must have one format and rows of one shape, found {found}")
    pieces = [_movable(x) for x in args]
    for _ in args[0].shape[2:]:  # GGUF may put axes of size 1 before the rows
        if any(piece.shape[0] != 1 for piece in pieces):
            break
        pieces = [piece[0] for piece in pieces]
    return _moved(args[0], np.concatenate(pieces))


def _join_columns(recipe: Recipe, args: list[WeightData], params: dict[str, Any]) -> WeightData:
    if len({(x.format, x.shape[:-1]) for x in args}) != 1 or isinstance(weight_format(args[0].format), RowFormat):
        found = ", ".join(sorted({f"{x.format}{list(x.shape)}" for x in args}))
        raise HfcError(f"{recipe.op}: tensors to join must have one format of blocks and as many rows, found {found}")
    shape = (*args[0].shape[:-1], sum(x.shape[-1] for x in args))
    return WeightData(args[0].format, shape, np.concatenate([x.raw for x in args], axis=-1))


def _half_split(recipe: Recipe, args: list[WeightData], params: dict[str, Any]) -> WeightData:
    """Rows 0, 2, 4, ... of each head, then rows 1, 3, 5, ..."""
    (x,) = args
    heads, pieces = params["heads"], _movable(x)
    if pieces.ndim < 2 or heads <= 0 or x.shape[0] % (2 * heads):
        raise HfcError(f"{recipe}: {x.format}{list(x.shape)} has no {heads} heads of an even number of rows")
    split = pieces.reshape(heads, -1, 2, *pieces.shape[1:]).swapaxes(1, 2)
    return _moved(x, split.reshape(pieces.shape))


def _by_head(recipe: Recipe, args: list[WeightData], params: dict[str, Any]) -> WeightData:
    (x,) = args
    heads = params["heads"]
    if heads <= 0 or len(x.shape) < 2 or x.shape[0] % heads:
        raise HfcError(f"{recipe}: {x.format}{list(x.shape)} has no rows for {heads} heads")
    return WeightData(x.format, (heads, x.shape[0] // heads, *x.shape[1:]), x.raw.reshape(heads, -1, *x.raw.shape[1:]))


def _elementwise(function: Callable[..., np.ndarray]) -> Callable[..., WeightData]:
    def run(recipe: Recipe, args: list[WeightData], params: dict[str, Any]) -> WeightData:
        (x,) = args
        return _from_f32(function(x.f32(), **params))

    return run


OPERATIONS: dict[str, Callable[[Recipe, list[WeightData], dict[str, Any]], WeightData]] = {
    "rows": _rows,
    "pieces": _pieces,
    "every": _every,
    "transpose": _transpose,
    "stack": _stack,
    "join": _join,
    "join_columns": _join_columns,
    "half_split": _half_split,
    "by_head": _by_head,
    "add": _elementwise(lambda x, c: x + np.float32(c)),
    "mul": _elementwise(lambda x, c: x * np.float32(c)),
    "neg": _elementwise(lambda x: -x),
    "exp": _elementwise(np.exp),
}
