"""Formats of files whose codes are indices into a grid of points of 4 or 8 elements (GGUF's IQ1, IQ2 and IQ3), and what they are in memory.

    value = d * (2 s + 1) * level[code]

A grid's points have few distinct numbers: a code of 2 or 3 bits says which, and one more bit its sign (of IQ1: on which side of the
number the value lies). In memory each element has this code, so that every kernel reads them as it reads other formats with a table:
registers look up eight or sixteen levels, no lane waits for a grid in memory, and the CPU's tiles hold codes of 3 or 4 bits. It costs
a third to a half more bytes than the file has. The grids themselves are the gguf package's.

To add a grid format: its own file in quant/, with `grid` and a function that takes a block of the file apart.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.formats.block import BlockFormat
from hfc.formats.layout import Code, Field, Plane, stored
from hfc.formats.rows import RowFormat

BLOCK = 256
CHUNK = 1 << 12  # blocks at a time: the temporaries stay in the cache
GRIDS = "hfc.formats.ggml_grids"  # by name: the package takes a while to load


@dataclass(frozen=True)
class GridParts:
    """n blocks of a file. d: f32 [n], what multiplies 2 s + 1.  s: u8 [n, groups], below 16.  points: integers [n, 256 / elements of a
    point].  signs: u8 [n, 32], a bit for each element."""

    d: np.ndarray
    s: np.ndarray
    points: np.ndarray
    signs: np.ndarray


def level_blocks(name: str, levels: Sequence[int], group: int) -> BlockFormat:
    """256 codes into `levels`, and as many beside them for codes with the sign; four or eight levels, a nibble s for each `group`."""
    small = len(levels) == 8
    planes = [Plane("qs", 2, "i / 32 * 8 + i % 8", "i / 8 % 4 * 2"), Plane("signs", 1, "i / 8", "i % 8", left=2)]
    fields = [Field("d", "f32"), Field("s", "u8", BLOCK // group // 2), Field("qs", "u8", 64), Field("signs", "u8", 32)]
    if not small:
        planes = [Plane("qs", 4, "i / 16 * 8 + i % 8", "i / 8 % 2 * 4")]
        fields = [*fields[:2], Field("qs", "u8", 128)]
    return BlockFormat(
        name,
        block=BLOCK,
        fields=tuple(fields),
        codes={
            "q": Code(tuple(planes)),
            "sc": Code((Plane("s", 4, f"i / {2 * group}", f"i / {group} % 2 * 4", left=1),), zero=1),
        },
        scale=stored("d", times="sc"),
        group=group,
        table=tuple(levels),
    )


def grid(name: str, blocks: BlockFormat, block_bytes: int, apart: Callable[[np.ndarray], GridParts]) -> RowFormat:
    """A format of files, `block_bytes` for 256 elements. apart: u8 [n, block_bytes] -> GridParts."""
    return RowFormat(
        name,
        blocks,
        header_bytes=0,
        group=BLOCK,
        group_bytes=block_bytes,
        encode=None,
        to_blocks=lambda raw: _blocks_of(name, blocks, raw.reshape(-1, block_bytes), apart),
    )


def _blocks_of(name: str, blocks: BlockFormat, raw: np.ndarray, apart: Callable[[np.ndarray], GridParts]) -> np.ndarray:
    """u8 [n, bytes of the file's block] -> u8 [n, blocks.block_bytes]"""
    out = np.empty((len(raw), blocks.block_bytes), np.uint8)
    for start in range(0, len(raw), CHUNK):
        part = out[start : start + CHUNK]
        with np.errstate(invalid="ignore"):  # a damaged d may be NaN
            parts = apart(raw[start : start + CHUNK])
        at, stop = blocks.offsets["s"], blocks.offsets["qs"]
        part[:, :at] = np.ascontiguousarray(parts.d, np.float32).reshape(-1, 1).view(np.uint8)
        s = np.repeat(parts.s, 2 * (stop - at) // parts.s.shape[1], axis=1)
        part[:, at:stop] = s[:, 0::2] | s[:, 1::2] << 4
        words = _words(name)[parts.points]
        if len(blocks.table) == 8:
            part[:, stop : stop + 64] = _joined(words.reshape(len(part), -1, 4), 2)
            part[:, stop + 64 :] = parts.signs
        else:
            halves = words.view(np.uint64).reshape(len(part), -1) | _fourth_bits()[parts.signs]
            part[:, stop:] = _joined(halves.reshape(len(part), -1, 2), 4)
    return out


def _joined(words: np.ndarray, bits: int) -> np.ndarray:
    """u64 [n, lines, runs] with codes of 8 / runs bits in their bytes -> u8 [n, 8 lines]: those of run r at bit r * bits."""
    line = words[..., 0].copy()
    for run in range(1, words.shape[2]):
        line |= words[..., run] << np.uint64(run * bits)
    return line.view(np.uint8)


@cache
def _words(name: str) -> np.ndarray:
    """[points] of u64 or u32: a point's codes, a byte each."""
    codes = importlib.import_module(GRIDS).codes(name)
    return np.ascontiguousarray(codes).view(f"<u{codes.shape[1]}")[:, 0]


@cache
def _fourth_bits() -> np.ndarray:
    """u64 [256]: the bits of a byte of signs, each as bit 3 of its own byte."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
    return (bits << 3).astype(np.uint8).view(np.uint64)[:, 0]


def even_signs(index: np.ndarray) -> np.ndarray:
    """Seven bits -> eight signs of an even number."""
    return importlib.import_module(GRIDS).signs()[index]


def halves(raw: np.ndarray) -> np.ndarray:
    """u8 [n, 2 m] -> the f16 there, as f32 [n, m]"""
    return words_of(raw, "<f2").astype(np.float32)


def words_of(raw: np.ndarray, dtype: str) -> np.ndarray:
    """u8 [n, bytes] -> [n, words]"""
    return np.ascontiguousarray(raw).view(dtype)


def nibbles(raw: np.ndarray) -> np.ndarray:
    """u8 [..., m] -> u8 [..., 2 m], low ones first"""
    return np.stack([raw & 15, raw >> 4], axis=-1).reshape(*raw.shape[:-1], -1)
