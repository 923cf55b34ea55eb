"""Quantized rows of the KV cache: blocks of one head's vector with a scale (q8, q4), or codes of its rotated direction (asym).

A row is written unit by unit: `unit` lists the elements that one store packs, and `stats` the reductions over a group that
come before. The expressions are C in `j` (the unit) and `x{n}` (the unit's n-th element); numpy does the same in `pack`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hfc.base.diagnostics import HfcError
from hfc.formats.block import BlockFormat
from hfc.formats.rotation import rotate, rotate_back


@dataclass(frozen=True)
class KvStat:
    """A reduction ("sum" or "max") over a group: of `element` (C, of x), then `finish` (C, of r)."""

    reduce: str
    element: str
    finish: str


@dataclass(frozen=True, eq=False)
class KvBlocks:
    """Blocks of `block` elements in a BlockFormat; every block of a row is a group.

    unit: element numbers (C, of j) of one store.  put: C statements that write unit j of the block at `block`, from x0, x1, …
    and s0, s1, … (the stats).
    sixteen: f32x16 in C, of elements part … part + 15 of the block at `block`, for CPUs; bit for bit the loader's."""

    name: str
    form: BlockFormat
    unit: tuple[str, ...]
    stats: tuple[KvStat, ...]
    put: str
    sixteen: str
    scalar: str = ""
    rotates_pairs: bool = False
    walsh: int = 0
    default_v: str = ""
    code_levels = ()

    def __repr__(self) -> str:
        return f"<KV format {self.name}>"

    @property
    def blocks(self) -> BlockFormat:
        return self.form

    def sized(self, head: int) -> KvBlocks:
        """The format for heads of this size."""
        self.row_bytes(head)
        return self

    def group(self, head: int) -> int:
        return self.form.block

    def row_bytes(self, head: int) -> int:
        if head % self.form.block:
            raise HfcError(f"--kv {self.name}: heads of {head} are no multiple of {self.form.block}", hint="use f16")
        return self.form.row_bytes(head)

    def pack(self, x: np.ndarray) -> np.ndarray:
        """f32 [..., head] -> uint8 [..., row_bytes(head)]"""
        self.row_bytes(x.shape[-1])
        return self.form.pack(x)

    def unpack(self, raw: np.ndarray) -> np.ndarray:
        """uint8 [..., row_bytes(head)] -> f32 [..., head]"""
        return self.form.unpack(raw)

    stored = unpack

    def loader(self, qualifier: str = "static inline") -> str:
        """C source of `float hfc_kv_<name>_at(const uint8_t* row, int d)`."""
        block = self.form
        head = f"{qualifier} float hfc_kv_{self.name}_at(const uint8_t* row, int d) {{"
        body = f"return hfc_{block.name}_at(row + d / {block.block} * {block.block_bytes}, d % {block.block});"
        return f"{block.loader(qualifier)}{head}\n  {body}\n}}\n"

    def writer(self, qualifier: str = "static inline") -> str:
        """C source of `void hfc_kv_<name>_put(uint8_t* row, int group, int j, float x0 …, float s0 …)`."""
        values = [*(f"x{i}" for i in range(len(self.unit))), *(f"s{i}" for i in range(len(self.stats)))]
        head = f"{qualifier} void hfc_kv_{self.name}_put(uint8_t* row, int group, int j, {', '.join('float ' + v for v in values)}) {{"
        return f"{head}\n  uint8_t* block = row + group * {self.form.block_bytes};\n  {self.put}\n}}\n"


LEVELS = {  # positive halves, Lloyd-Max levels of a normal distribution with variance 1/128 (turbo_common.h of hipfire)
    2: (0.040022, 0.133466),
    3: (0.021462, 0.065717, 0.117832, 0.190721),  # published for 1/256; √2 times that
    4: (0.011225, 0.034295, 0.057983, 0.083262, 0.111016, 0.143012, 0.182875, 0.241565),
}
SEED, MODULUS, MOST_PAIRS = 42, 0x7FFFFFFF, 256
CODES_OF_UNIT = {2: 4, 3: 8, 4: 2}  # whole bytes
# Levels are tried at these sizes for every key, and the one with the least error is taken: where a few elements are large, levels for a
# normal distribution clip them. Divergence of attention on keys of a small Qwen 3.5, before -> with: asym4 0.046 -> 0.018, asym3 0.082 ->
# 0.050, asym2 0.172 -> 0.154, fwht4 0.0052 -> 0.0041, fwht3 0.0149 -> 0.0146; twice as many sizes gain a tenth more.
SIZES = np.array([0.9, 1.1, 1.4, 1.9], np.float32)


def angles(pairs: int) -> np.ndarray:
    """The angle of each pair's rotation, f64 [pairs]: a 31-bit linear congruential generator over the full turn."""
    state, found = SEED, []
    for _ in range(pairs):
        state = (state * 1103515245 + 12345) & MODULUS
        found.append(state / MODULUS * 2 * np.pi)
    return np.array(found)


@dataclass(frozen=True, eq=False)
class KvRotated:
    """Keys as f32 norm and codes of `bits` of their direction after a rotation: of each pair of neighbours by a fixed angle
    (Givens, "asym"), or by signs and Walsh-Hadamard over up to 128 elements, 256 for 3 bits ("fwht").

    Queries are rotated alike when they are loaded, so products stay what they are. Levels have the variance of a unit
    vector's elements: 1 / head (the public implementation takes 1 / 128 for every head in 4 and 2 bits)."""

    name: str
    bits: int
    head: int = 0  # 0: not known yet
    mixes: bool = False  # Walsh-Hadamard instead of Givens
    scalar: str = ""
    default_v: str = "q8"
    blocks = None

    def __repr__(self) -> str:
        return f"<KV format {self.name}>"

    def sized(self, head: int) -> KvRotated:
        self.row_bytes(head)
        return KvRotated(self.name, self.bits, head, self.mixes)

    @property
    def rotates_pairs(self) -> bool:
        """Whether loaders of keys and queries turn pairs."""
        return not self.mixes

    @property
    def walsh(self) -> int:
        """Elements that are mixed together; 0: none."""
        return self._mixed(self.head) if self.mixes else 0

    def _mixed(self, head: int) -> int:
        return min(head & -head, 256 if self.bits == 3 else 128)

    def group(self, head: int) -> int:
        return head

    def row_bytes(self, head: int) -> int:
        if head % 16 or head > 2 * MOST_PAIRS:
            raise HfcError(
                f"--kv {self.name}: heads of {head} are no multiple of 16 up to {2 * MOST_PAIRS}", hint="use q8 or f16"
            )
        return 4 + head * self.bits // 8

    def levels(self, head: int) -> np.ndarray:
        """All levels, f32 [2**bits], rising."""
        half = np.array(LEVELS[self.bits]) * np.sqrt(128 / head)
        return np.concatenate([-half[::-1], half]).astype(np.float32)

    @property
    def code_levels(self) -> tuple[float, ...]:
        """What a code stands for, times the row's norm: f32 numbers, for heads of the known size."""
        return tuple(map(float, self.levels(self.head)))

    def rotate(self, x: np.ndarray, back: bool = False) -> np.ndarray:
        """The rotation of the last axis, or its inverse."""
        if self.mixes:
            return (rotate_back if back else rotate)(np.ascontiguousarray(x, np.float32), self._mixed(x.shape[-1]))
        angle = angles(x.shape[-1] // 2)
        cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32) * (-1 if back else 1)
        a, b = x[..., 0::2], x[..., 1::2]
        return np.stack([a * cos - b * sin, a * sin + b * cos], axis=-1).reshape(x.shape).astype(np.float32)

    def pack(self, x: np.ndarray) -> np.ndarray:
        x = np.asarray(x, np.float32)
        head = x.shape[-1]
        levels = self.levels(head)
        rotated = self.rotate(x).reshape(-1, head)
        square = (rotated * rotated).sum(axis=1, keepdims=True)
        codes = self._best_codes(rotated / np.sqrt(np.where(square > 0, square, 1)), levels)
        norm = np.sqrt(square / (levels[codes] ** 2).sum(axis=1, keepdims=True)).astype(np.float32)
        per = CODES_OF_UNIT[self.bits]
        units = codes.reshape(len(codes), -1, per).astype(np.uint32)
        words = (units << (np.arange(per, dtype=np.uint32) * self.bits)).sum(axis=2, dtype=np.uint32)
        packed = np.ascontiguousarray(words).view(np.uint8).reshape(*words.shape, 4)[:, :, : per * self.bits // 8]
        return np.concatenate([norm.view(np.uint8), packed.reshape(len(codes), -1)], axis=1).reshape(*x.shape[:-1], -1)

    @staticmethod
    def _best_codes(unit: np.ndarray, levels: np.ndarray) -> np.ndarray:
        """unit: f32 [n, head], vectors of length 1 -> codes of the levels at the size of SIZES that suits each best."""
        middles = (levels[1:] + levels[:-1]) / 2
        least, found = np.full((len(unit), 1), np.inf, np.float32), np.zeros(unit.shape, np.intp)
        for size in SIZES:
            codes = np.searchsorted(middles, unit * (1 / size))
            error = ((unit - levels[codes] * size) ** 2).sum(axis=1, keepdims=True)
            np.copyto(found, codes, where=error < least)
            least = np.minimum(error, least)
        return found

    def unpack(self, raw: np.ndarray) -> np.ndarray:
        return self.rotate(self.stored(raw), back=True)

    def stored(self, raw: np.ndarray) -> np.ndarray:
        """Turned values, as the C loader gives them."""
        rows = np.ascontiguousarray(raw).reshape(-1, raw.shape[-1])
        head = (raw.shape[-1] - 4) * 8 // self.bits
        bits = np.unpackbits(rows[:, 4:], axis=1, bitorder="little").reshape(len(rows), head, self.bits)
        codes = (bits << np.arange(self.bits, dtype=np.uint8)).sum(axis=2)
        values = self.levels(head)[codes] * np.ascontiguousarray(rows[:, :4]).view(np.float32)
        return values.reshape(*raw.shape[:-1], head)

    # C, for a known head

    @property
    def unit(self) -> tuple[str, ...]:
        return tuple(f"j * {CODES_OF_UNIT[self.bits]} + {i}" for i in range(CODES_OF_UNIT[self.bits]))

    @property
    def stats(self) -> tuple[KvStat, ...]:
        """The square of the length; the errors at each of SIZES, of which the last makes the best one's inverse; the norm."""
        unit = "{x} * hfc_rsqrt({s0} > 0.0f ? {s0} : 1.0f)"
        errors = [f"hfc_kv_{self.name}_error({unit}, {c_number(size)}, {c_number(1 / size)})" for size in SIZES]
        finishes = ["r"] * (len(SIZES) - 1) + [
            f"hfc_kv_{self.name}_inverse({', '.join(f'{{s{i}}}' for i in range(1, len(SIZES)))}, r)"
        ]
        level = f"hfc_kv_{self.name}_level(hfc_kv_{self.name}_code({unit} * {{s{len(SIZES)}}}))"
        norm = KvStat("sum", f"{level} * {level}", "__builtin_sqrtf({s0} / r)")
        return (KvStat("sum", "{x} * {x}", "r"), *(KvStat("sum", e, f) for e, f in zip(errors, finishes)), norm)

    def loader(self, qualifier: str = "static inline") -> str:
        """Also `hfc_kv_<name>_rotate_pair(d, x, pair)`: element d of a rotated vector, from x[d] and x[d ^ 1]."""
        assert self.head, "the head's size decides the levels: ask sized(head)"
        levels, name = self.levels(self.head), self.name
        angle = angles(self.head // 2)
        numbers = lambda values: ", ".join(map(c_number, values))  # noqa: E731
        middles = (levels[1:] + levels[:-1]) / 2
        byte, shift = f"d * {self.bits} / 8", f"d * {self.bits} % 8"
        if self.bits == 3:  # a code may lie in two bytes
            word = f"(bits[{byte}] | ({shift} > 5 ? bits[{byte} + 1] : 0) << 8)"
        else:
            word = f"bits[{byte}]"
        return (
            f"{qualifier} float hfc_kv_{name}_level(int code) {{\n  const float levels[{len(levels)}] = {{ {numbers(levels)} }};\n"
            f"  return levels[code];\n}}\n"
            f"{qualifier} int hfc_kv_{name}_code(float x) {{\n  return {' + '.join(f'(x > {np.float32(m):.9g}f)' for m in middles).replace('(x > 0f)', '(x > 0.0f)')};\n}}\n"
            f"{qualifier} float hfc_kv_{name}_at(const uint8_t* row, int d) {{\n  const uint8_t* bits = row + 4;\n"
            f"  const float norm = hfc_bits_to_f32((uint32_t)row[0] | (uint32_t)row[1] << 8 | (uint32_t)row[2] << 16 | (uint32_t)row[3] << 24);\n"
            f"  return hfc_kv_{name}_level({word} >> {shift} & {2**self.bits - 1}) * norm;\n}}\n"
            f"{self._turn_source(qualifier, numbers, angle)}"
        )

    def _turn_source(self, qualifier: str, numbers, angle: np.ndarray) -> str:
        if self.mixes:
            return ""
        return (
            f"{qualifier} float hfc_kv_{self.name}_rotate_pair(int d, float x, float pair) {{\n"
            f"  const float cosine[{len(angle)}] = {{ {numbers(np.cos(angle))} }};\n"
            f"  const float sine[{len(angle)}] = {{ {numbers(np.sin(angle))} }};\n"
            f"  return x * cosine[d / 2] + (d % 2 ? pair : -pair) * sine[d / 2];\n}}\n"
        )

    def writer(self, qualifier: str = "static inline") -> str:
        per, name, last = CODES_OF_UNIT[self.bits], self.name, len(SIZES)
        values = ", ".join([*(f"float x{i}" for i in range(per)), *(f"float s{i}" for i in range(last + 2))])
        codes = " | ".join(
            f"(uint32_t)hfc_kv_{name}_code(x{i} * inverse * s{last}) << {i * self.bits}" for i in range(per)
        )
        nbytes = per * self.bits // 8
        stores = " ".join(f"row[4 + j * {nbytes} + {b}] = (uint8_t)(word >> {8 * b});" for b in range(nbytes))
        unused = " ".join(f"(void)s{i};" for i in range(1, last))
        return (
            f"{self._size_source(qualifier)}"
            f"{qualifier} void hfc_kv_{name}_put(uint8_t* row, int group, int j, {values}) {{\n"
            f"  const float inverse = hfc_rsqrt(s0 > 0.0f ? s0 : 1.0f);\n  const uint32_t word = {codes};\n  (void)group; {unused}\n  {stores}\n"
            f"  if (j == 0) {{\n    const uint32_t norm = hfc_f32_to_bits(s{last + 1});\n"
            f"    for (int i = 0; i < 4; i++) row[i] = (uint8_t)(norm >> 8 * i);\n  }}\n}}\n"
        )

    def _size_source(self, qualifier: str) -> str:
        """`_error` of an element of a unit vector at a size of the levels, and `_inverse` of the size with the least error, from all sums."""
        name, errors = self.name, [f"e{i}" for i in range(len(SIZES))]
        choice = ["float least = e0, found = " + c_number(1 / SIZES[0]) + ";"]
        choice += [
            f"if (e{i} < least) least = e{i}, found = {c_number(1 / size)};" for i, size in enumerate(SIZES) if i
        ]
        return (
            f"{qualifier} float hfc_kv_{name}_error(float x, float size, float inverse) {{\n"
            f"  const float e = x - hfc_kv_{name}_level(hfc_kv_{name}_code(x * inverse)) * size;\n  return e * e;\n}}\n"
            f"{qualifier} float hfc_kv_{name}_inverse({', '.join(f'float {e}' for e in errors)}) {{\n  {' '.join(choice)}\n  return found;\n}}\n"
        )


def c_number(value: float) -> str:
    """A C float literal that reads back as the same f32."""
    return f"{np.float32(value):.9g}f" if np.float32(value) % 1 else f"{value:.1f}f"
