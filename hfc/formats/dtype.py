"""Scalar types: one name for what numpy, C and HIP spell differently. All are little-endian in files and buffers."""

from __future__ import annotations

import numpy as np

from hfc.base.dataclass import dataclass


@dataclass(frozen=True)
class Scalar:
    """numpy: dtype of the stored bits (bf16 has none, so its bits are u16).  c: type of the stored bits in C and HIP.

    to_f32: C expression that turns stored bits `{0}` into a float; the hfc_* functions belong to the including file.
    from_f32: the inverse, empty where nothing writes this type from C.  Where C has the type itself (f32) an aligned
    element needs neither: see `c_element`.
    """

    name: str
    numpy: str
    c: str
    itemsize: int
    to_f32: str
    from_f32: str = ""

    def unpack(self, raw: np.ndarray) -> np.ndarray:
        """uint8 [..., n * itemsize] -> f32 [..., n]; f32 is a view of `raw` where it can be."""
        bits = _contiguous_rows(raw).view(self.numpy)
        if self.name == "bf16":
            return np.left_shift(bits, np.uint32(16), dtype=np.uint32).view(np.float32)
        return bits.astype(np.float32, copy=False)

    def pack(self, x: np.ndarray) -> np.ndarray:
        """f32 [..., n] -> uint8 [..., n * itemsize]; floats round to nearest even, integers must be integers."""
        if self.name == "bf16":
            return _bf16_bits(x).view(np.uint8)
        return _contiguous_rows(x.astype(self.numpy, copy=False)).view(np.uint8)

    @property
    def c_element(self) -> str:
        """C type of an aligned element in an array; `float` needs no conversion."""
        return "float" if self.name == "f32" else self.c

    def c_load(self, address: str) -> str:
        """C expression: the stored bits at `address` (const uint8_t*), read by bytes: any alignment is right."""
        if self.itemsize == 1:
            return f"({self.c}){address}[0]"
        # the casts keep 0xff << 24 out of the sign bit of int
        parts = [
            f"({self.c}){address}[{k}] << {8 * k}" if k else f"({self.c}){address}[0]" for k in range(self.itemsize)
        ]
        return f"({self.c})({' | '.join(parts)})"


def _contiguous_rows(array: np.ndarray) -> np.ndarray:
    """The array itself if its last axis is dense (so that it can be viewed as another type), else a copy."""
    dense = array.ndim and array.strides[-1] == array.itemsize
    return array if dense else np.ascontiguousarray(array)


def _bf16_bits(x: np.ndarray) -> np.ndarray:
    """Round to nearest even on the upper 16 bits; a NaN stays a (quiet) NaN."""
    bits = _contiguous_rows(np.asarray(x, np.float32)).view(np.uint32)
    rounded = (bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1)) >> 16
    quiet = (bits >> 16) | 64
    return np.where((bits & 0x7FFFFFFF) > 0x7F800000, quiet, rounded).astype("<u2")


_SCALARS = (
    Scalar("f32", "<f4", "uint32_t", 4, "hfc_bits_to_f32({0})", "hfc_f32_to_bits({0})"),
    Scalar("f16", "<f2", "uint16_t", 2, "hfc_f16_to_f32({0})", "hfc_f32_to_f16({0})"),
    Scalar("bf16", "<u2", "uint16_t", 2, "hfc_bf16_to_f32({0})", "hfc_f32_to_bf16({0})"),
    Scalar("i8", "<i1", "int8_t", 1, "(float){0}"),
    Scalar("u8", "<u1", "uint8_t", 1, "(float){0}"),
    Scalar("i32", "<i4", "uint32_t", 4, "(float)(int32_t){0}"),
)
SCALARS: dict[str, Scalar] = {scalar.name: scalar for scalar in _SCALARS}
