"""BlockFormat: one declaration of a weight format, from which its bytes, numpy unpack and pack follow, and
the C of backend/lanes.

    value[i] = scale * (q[i] + zero) + min          (or scale * table[q[i]])

All arithmetic is f32 in exactly this order, products first, so numpy and a C compiler without contraction
(-ffp-contract=off) agree bit for bit; with fused multiply-add C may differ in the last place where there is
a `min`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from functools import cached_property
from types import CodeType

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.formats.dtype import SCALARS
from hfc.formats.layout import Code, Factor, Field, Run, plane_runs

CHUNK = 1 << 18  # elements at a time: the temporaries of numpy stay in the L2 cache


@dataclass(frozen=True)
class Decomposed:
    """codes: u8 [..., K], unsigned.  scale, min: f32 [..., K / group]; min may be None.  zero: added to every code."""

    codes: np.ndarray
    scale: np.ndarray
    min: np.ndarray | None
    zero: int


@dataclass(frozen=True, eq=False)
class BlockFormat:
    """fields: in byte order, no padding.  codes: per element; "q" is the element's own, others serve scale and min.

    scale, min: made of one-element fields and small codes; constant over `group` elements.
    table: 8 or 16 values that replace q + zero.  encode: f32 [n, block] -> {field or code name: array}, for `pack`.
    encode_searched: the same with the least squared error; of f32 [n, block] and the errors' importance alike, or None.
    A format without a code "q" is a plain scalar: block = group = 1 and value = its only field.
    rotated: the values are those of hfc.formats.rotation, whose inputs must be rotated too.
    gguf_type, safetensors_dtype: how files name it; None where they cannot.
    """

    name: str
    block: int
    fields: tuple[Field, ...]
    codes: Mapping[str, Code] = field(default_factory=dict)
    scale: Factor = Factor(("",))
    min: Factor | None = None
    group: int = 1
    table: tuple[int, ...] = ()
    encode: Callable[[np.ndarray], dict[str, np.ndarray]] | None = None
    encode_searched: Callable[[np.ndarray, np.ndarray | None], dict[str, np.ndarray]] | None = None
    rotated: bool = False
    gguf_type: int | None = None
    safetensors_dtype: str | None = None

    def __repr__(self) -> str:
        return f"<format {self.name}>"

    @property
    def quantized(self) -> bool:
        return "q" in self.codes

    @property
    def zero(self) -> int:
        return self.codes["q"].zero if self.quantized else 0

    @cached_property
    def block_bytes(self) -> int:
        return sum(f.nbytes for f in self.fields)

    @property
    def bits_per_weight(self) -> float:
        return 8 * self.block_bytes / self.block

    @cached_property
    def offsets(self) -> dict[str, int]:
        """Byte offset of each field in the block."""
        found, at = {}, 0
        for f in self.fields:
            found[f.name] = at
            at += f.nbytes
        return found

    def row_bytes(self, k: int) -> int:
        """Bytes of a row of `k` elements."""
        if k % self.block:
            raise HfcError(
                f"a row of {k} elements does not fit {self.name}: it must be a multiple of its block, {self.block}",
                hint="keep this tensor in a format with smaller blocks (q8_0: 32) or in bf16",
            )
        return k // self.block * self.block_bytes

    def unpack(self, raw: np.ndarray) -> np.ndarray:
        """uint8 [..., row_bytes(K)] -> f32 [..., K]. A plain f32 may come back as a view of `raw`."""
        if not self.quantized:
            return SCALARS[self.fields[0].dtype].unpack(raw)
        blocks = self._blocks(raw)
        out = np.empty((len(blocks), self.block // self.group, self.group), np.float32)
        for part in self._chunks(len(blocks)):
            codes, scale, low = self._decompose_blocks(blocks[part])
            if self.table:
                # codes are in range by construction; "clip" only spares the check (0.7 ns an element, not 2.7)
                number = np.array(self.table, np.float32).take(codes, mode="clip")
            else:
                number = codes.astype(np.float32)
                if self.zero:
                    number += np.float32(self.zero)
            with np.errstate(all="ignore"):  # inf * 0 in a damaged block
                value = np.multiply(number.reshape(-1, *out.shape[1:]), scale[:, :, None], out=out[part])
                if low is not None:
                    value += low[:, :, None]
        return out.reshape(*raw.shape[:-1], raw.shape[-1] // self.block_bytes * self.block)

    def decompose(self, raw: np.ndarray) -> Decomposed:
        """uint8 [..., row_bytes(K)] -> codes, scales and minimums, for a packer. Plain formats have no codes."""
        assert self.quantized, f"{self.name} is a plain scalar and has no codes"
        blocks = self._blocks(raw)
        codes = np.empty((len(blocks), self.block), np.uint8)
        scale = np.empty((len(blocks), self.block // self.group), np.float32)
        low = np.empty_like(scale) if self.min else None
        for part in self._chunks(len(blocks)):
            codes[part], scale[part], minimum = self._decompose_blocks(blocks[part])
            if low is not None:
                low[part] = minimum
        shape = (*raw.shape[:-1], raw.shape[-1] // self.block_bytes)
        by_group = (*shape[:-1], shape[-1] * (self.block // self.group))
        return Decomposed(
            codes.reshape(*shape[:-1], shape[-1] * self.block),
            scale.reshape(by_group),
            None if low is None else low.reshape(by_group),
            self.zero,
        )

    def constants(self, raw: np.ndarray) -> dict[str, np.ndarray]:
        """uint8 [..., row_bytes(K)] -> the fields f32 [..., K / block] and codes f32 [..., K / group] that scale and min use."""
        blocks = self._blocks(raw)
        found = {
            name: np.empty((len(blocks), self.block // self.group), np.float32) for name in self.codes if name != "q"
        }
        found |= {f.name: np.empty((len(blocks), 1), np.float32) for f in self.fields if self.is_number(f)}
        for part in self._chunks(len(blocks)):
            for name, values in self._numbers(blocks[part]).items():
                found[name][part] = values
        return {name: values.reshape(*raw.shape[:-1], -1) for name, values in found.items()}

    def pack(self, x: np.ndarray, importance: np.ndarray | None = None, search: bool = False) -> np.ndarray:
        """f32 [..., K] -> uint8 [..., row_bytes(K)], rounded as the format's reference quantizer does.

        search: with the least squared error instead, where the format can.  importance: f32 [K], weighs a row's errors then."""
        x = np.asarray(x, np.float32)
        row_bytes = self.row_bytes(x.shape[-1])
        if not self.quantized:
            return SCALARS[self.fields[0].dtype].pack(x)
        if self.encode is None:
            raise cannot_quantize(self.name)
        blocks = np.ascontiguousarray(x).reshape(-1, self.block)
        out = np.empty((len(blocks), self.block_bytes), np.uint8)
        weights = None if importance is None else importance.reshape(-1, self.block)
        for part in self._chunks(len(blocks)):
            some = blocks[part]
            weight = None if weights is None else weights[np.arange(part.start, part.start + len(some)) % len(weights)]
            out[part] = self.assemble(self.encoded(some, weight, search))
        return out.reshape(*x.shape[:-1], row_bytes)

    def encoded(
        self, blocks: np.ndarray, importance: np.ndarray | None = None, search: bool = False
    ) -> dict[str, np.ndarray]:
        """f32 [n, block], importance alike -> what `assemble` takes."""
        if self.encode_searched is None or not (search or importance is not None):
            return self.encode(blocks)
        return self.encode_searched(blocks, importance)

    def assemble(self, parts: Mapping[str, np.ndarray]) -> np.ndarray:
        """Fields [n, count] and unsigned codes [n, elements or groups] -> block bytes, uint8 [n, block_bytes]."""
        count = len(next(iter(parts.values())))
        out = np.zeros((count, self.block_bytes), np.uint8)
        for f in self.fields:
            if f.name in parts:
                at = self.offsets[f.name]
                out[:, at : at + f.nbytes] = SCALARS[f.dtype].pack(np.reshape(parts[f.name], (count, f.count)))
        for name in self.codes:
            if name in parts:
                self._put_code(out, name, parts[name].astype(np.uint8))
        return out

    def is_number(self, f: Field) -> bool:
        """A field that scale and min use by its name."""
        return f.count == 1 and f.dtype in ("f32", "f16", "bf16")

    def is_signed(self, field_name: str) -> bool:
        """Its bytes are taken plus 128, see Plane."""
        return next(f for f in self.fields if f.name == field_name).dtype == "i8"

    def _blocks(self, raw: np.ndarray) -> np.ndarray:
        assert raw.dtype == np.uint8, f"{self.name}: bytes expected, not {raw.dtype}"
        if raw.shape[-1] % self.block_bytes:
            raise HfcError(
                f"{self.name}: a row of {raw.shape[-1]} bytes is not a multiple of {self.block_bytes}-byte blocks"
            )
        return raw.reshape(-1, self.block_bytes)

    def _chunks(self, count: int) -> Iterator[slice]:
        step = max(1, CHUNK // self.block)
        return (slice(start, start + step) for start in range(0, count, step))

    def _decompose_blocks(self, blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """[n, block_bytes] -> codes u8 [n, block], scale f32 [n, groups], min f32 [n, groups] or None."""
        numbers = {"i": np.arange(0, self.block, self.group), **self._numbers(blocks)}
        shape = (len(blocks), self.block // self.group)
        with np.errstate(all="ignore"):  # a damaged scale may be inf or NaN; that is the caller's to judge
            scale = np.broadcast_to(eval(self._scale_program, {"__builtins__": {}}, numbers), shape)
            low = np.broadcast_to(eval(self._min_program, {"__builtins__": {}}, numbers), shape) if self.min else None
        return self._take_code(blocks, "q"), scale, low

    def _numbers(self, blocks: np.ndarray) -> dict[str, np.ndarray]:
        """What scale and min are made of: fields f32 [n, 1], codes f32 [n, groups]."""
        numbers: dict[str, np.ndarray] = {}
        for f in self.fields:
            if self.is_number(f):
                at = self.offsets[f.name]
                numbers[f.name] = SCALARS[f.dtype].unpack(np.ascontiguousarray(blocks[:, at : at + f.nbytes]))
        for name, part in self.codes.items():
            if name != "q":
                codes = self._take_code(blocks, name)
                numbers[name] = _powers(codes) if part.power else codes.astype(np.float32) + np.float32(part.zero)
        return numbers

    @cached_property
    def _scale_program(self) -> CodeType:
        return compile(self.scale.c, f"<scale of {self.name}>", "eval")

    @cached_property
    def _min_program(self) -> CodeType:
        return compile(self.min.c, f"<min of {self.name}>", "eval")

    @cached_property
    def _runs(self) -> dict[str, tuple[tuple[Run, ...], ...]]:
        """Per code, per plane. "q" has one element per element, the others one per group."""
        found = {}
        for name, part in self.codes.items():
            indices = np.arange(0, self.block, 1 if name == "q" else self.group)
            found[name] = tuple(plane_runs(plane, self.offsets[plane.field], indices) for plane in part.planes)
        return found

    def _take_code(self, blocks: np.ndarray, name: str) -> np.ndarray:
        """u8 [n, elements or groups] out of the bits of the blocks."""
        planes = self.codes[name].planes
        count = self.block if name == "q" else self.block // self.group
        out = np.empty((len(blocks), count), np.uint8)
        for number, (plane, runs) in enumerate(zip(planes, self._runs[name], strict=True)):
            target = out if number == 0 else np.empty_like(out)
            for run in runs:
                np.right_shift(blocks[:, run.source], run.shift, out=target[:, run.target])
            if plane.bits < 8:
                target &= np.uint8(2**plane.bits - 1)
            if self.is_signed(plane.field):
                target ^= np.uint8(128)
            if plane.left:
                target <<= np.uint8(plane.left)
            if number:
                out |= target
        return out

    def _put_code(self, out: np.ndarray, name: str, codes: np.ndarray) -> None:
        """The inverse of _take_code: OR the codes into zeroed bytes."""
        for plane, runs in zip(self.codes[name].planes, self._runs[name], strict=True):
            bits = codes >> np.uint8(plane.left) & np.uint8(2**plane.bits - 1)
            if self.is_signed(plane.field):
                bits = bits ^ np.uint8(128)
            for run in runs:
                moved = bits[:, run.target] << run.shift
                wide = len(range(*run.source.indices(self.block_bytes))) == moved.shape[1]
                out[:, run.source] |= moved if wide else np.bitwise_or.reduce(moved, axis=1, keepdims=True)


def cannot_quantize(name: str) -> HfcError:
    return HfcError(f"hfc cannot quantize to {name}", hint="quantize to hfc4, q4_0, q4_1, q5_0, q5_1 or q8_0")


def _powers(codes: np.ndarray) -> np.ndarray:
    """u8 exponents to f32: the bits of a power of two are its exponent."""
    return (codes.astype(np.uint32) << np.uint32(23)).view(np.float32)
