"""Wide loaders: many elements of a quantized block at once, as bytes of codes and a scale a group, for GPU lanes.

Per element a loader (`BlockFormat.loader`) reads and shifts bytes one by one. Here a lane reads whole words, and one
shift and one mask serve four codes. The elements are runs of eight; a `LaneMap` says where the runs lie, so that no
byte is read for half of its bits only. The including file defines `hfc_words<count, alignment>(address, words)`,
`hfc_pick`, `hfc_floats` and, for formats with a table, `hfc_table_bytes` (device/codes.h).
"""

from __future__ import annotations

import math
import re
from functools import cache

import numpy as np

from hfc.backend.lanes.scales import BATCH, WIDEST, byte_mask, head_lines, scale_lines
from hfc.backend.lanes.streams import stream_bits, stream_lines
from hfc.base.dataclass import dataclass
from hfc.formats.block import BlockFormat
from hfc.formats.layout import Plane, index_values

RUN = 8  # elements


@dataclass(frozen=True)
class LaneMap:
    """Runs of `run` elements start at `base` (C, in the call's number c of the block) plus each of `offsets`; all lie in one `span`.

    step: calls of one step of a walk along K, 0 for calls in any order. A walk starts at a block's first step and keeps `raw`, so
    that words which several steps share are read by the first of them alone."""

    name: str
    base: str
    offsets: tuple[int, ...]
    span: int
    run: int = RUN
    step: int = 0

    @property
    def elements(self) -> int:
        """Of one call."""
        return self.run * len(self.offsets)


HALF = LaneMap("half", "c * 16", (0, 8), 16)
WALK = LaneMap("walk", "c * 16", (0, 8), 16, step=2)
CONTIGUOUS = LaneMap("contiguous", "c * 32", (0, 8, 16, 24), 32)
PAIR = LaneMap("pair", "c / 2 * 64 + c % 2 * 16", (0, 8, 32, 40), 64)
QUAD = LaneMap("quad", "c / 4 * 128 + c % 4 * 8", (0, 32, 64, 96), 128)


@dataclass(frozen=True)
class _Reads:
    """How a plane's bits reach a call's runs. where: the byte of each run, from that of the base.  spread: one bit an
    element, eight in a byte.  shifts: of each run; added to `shift` (C, in i) where that depends on the call."""

    plane: Plane
    where: tuple[int, ...]
    spread: bool
    shifts: tuple[int, ...]
    shift: str
    alignment: int
    run: int

    @property
    def words(self) -> int:
        """Words that a call reads."""
        return len(set(self.where)) * (1 if self.spread else self.run // 4)


@dataclass(frozen=True)
class LaneLoader:
    """A format's loader for one map. groups: the scale of each run.  bits: of a code, as the bytes hold it.  zero: as
    in BlockFormat, after a table's look-up.  has_low: a minimum is added."""

    form: BlockFormat
    map: LaneMap
    symbol: str
    groups: tuple[int, ...]
    bits: int
    zero: int
    words: int
    source: str

    @property
    def calls(self) -> int:
        """Calls that make a block."""
        return self.form.block // self.map.elements

    @property
    def group_count(self) -> int:
        return max(self.groups) + 1

    @property
    def has_low(self) -> bool:
        return bool(self.form.min)


@dataclass(frozen=True)
class PlainLanes:
    """A plain scalar format in the terms of LaneLoader: 32 elements in a row, read by `hfc_run_<name>`."""

    map: LaneMap = CONTIGUOUS
    calls: int = 1
    groups: tuple[int, ...] = (0, 0, 0, 0)
    group_count: int = 1
    words: int = 1
    source: str = ""


PLAIN = PlainLanes()


@cache
def half_loader(form: BlockFormat) -> LaneLoader | None:
    """16 elements in a row. None where the codes of 8 do not lie in 8 bytes or 8 bits."""
    return _loader(form, HALF)


@cache
def walk_loader(form: BlockFormat) -> LaneLoader | None:
    """half_loader for a walk in steps of 32 elements."""
    return _loader(form, WALK)


@cache
def lane_loader(form: BlockFormat) -> LaneLoader | None:
    """32 elements by the map that reads the fewest words, without those that nobody uses. None as in half_loader."""
    made = [loader for loader in (_loader(form, m, used=True) for m in (CONTIGUOUS, PAIR, QUAD)) if loader]
    return min(made, key=lambda loader: _words_read(form, loader.map), default=None)


def present(loader: LaneLoader | None) -> LaneLoader:
    """The loader of a format that a variant has not refused."""
    assert loader is not None, "a variant must refuse formats without a loader"
    return loader


@cache
def map_loader(form: BlockFormat, lanes: LaneMap) -> LaneLoader | None:
    """The elements of `lanes`. None where the format's bytes or groups do not lie so."""
    return _loader(form, lanes)


def _words_read(form: BlockFormat, lanes: LaneMap) -> int:
    return sum(reads.words for reads in _plane_reads(form, lanes) or ())


def _loader(form: BlockFormat, lanes: LaneMap, used: bool = False) -> LaneLoader | None:
    if not form.quantized or form.block % lanes.span:
        return None
    reads = _plane_reads(form, lanes)
    if reads is None and not _streams(form, lanes):
        return None
    starts = starts_of_calls(form, lanes)
    group_of = [
        tuple(int(g) for g in (starts + offset) // form.group - starts // form.group) for offset in lanes.offsets
    ]
    if any(len(set(found)) > 1 for found in group_of) and form.group < form.block:
        return None
    distinct = list(dict.fromkeys(found[0] for found in group_of))
    groups = tuple(distinct.index(found[0]) for found in group_of)
    symbol = f"hfc_{form.name}_{lanes.name}"
    words, source = _source(_Loads(form, used), lanes, symbol, reads, groups)
    bits = 8 if form.table else max(p.bits + p.left for p in form.codes["q"].planes)
    zero = -128 if form.table else form.zero
    return LaneLoader(form, lanes, symbol, groups, bits, zero, words, source)


def _streams(form: BlockFormat, lanes: LaneMap) -> bool:
    """Whether a call's codes are neighbours in a stream of bits, and whole half words of it."""
    bits, neighbours = stream_bits(form), tuple(range(0, lanes.elements, lanes.run)) == lanes.offsets
    return bool(bits and neighbours and lanes.base == f"c * {lanes.elements}" and lanes.elements * bits % 16 == 0)


def _plane_reads(form: BlockFormat, lanes: LaneMap) -> tuple[_Reads, ...] | None:
    planes = form.codes["q"].planes
    found = [reads for plane in planes if (reads := _reads(form, plane, starts_of_calls(form, lanes), lanes))]
    return tuple(found) if len(found) == len(planes) else None


def _reads(form: BlockFormat, plane: Plane, starts: np.ndarray, lanes: LaneMap) -> _Reads | None:
    """None where the runs of a call do not lie at fixed distances, or a run is neither 8 bytes nor 8 bits."""
    # [calls, runs, elements]
    elements = starts[:, None, None] + np.array(lanes.offsets)[:, None] + np.arange(lanes.run)
    byte = index_values(plane.byte, elements)
    shift = index_values(plane.shift, elements)
    spread = bool(
        plane.bits == 1 and lanes.run == 8 and (byte == byte[..., :1]).all() and (shift == np.arange(8)).all()
    )
    wide = bool((byte == byte[..., :1] + np.arange(lanes.run)).all() and (shift == shift[..., :1]).all())
    if not (spread or wide):
        return None
    where = byte[:, :, 0] - byte[:, :1, 0]
    shifts = shift[:, :, 0] - (0 if spread else shift[:, :1, 0])
    if (where != where[0]).any() or (shifts != shifts[0]).any() or (where[0] < 0).any():
        return None
    fixed = bool((shift[:, 0, 0] == shift[0, 0, 0]).all())
    first = 0 if spread or not fixed else int(shift[0, 0, 0])
    at = form.offsets[plane.field] + byte[:, 0, 0]
    spans = _spans(sorted({int(w) for w in where[0]}), lanes.run)
    alignment = math.gcd(form.block_bytes, *map(int, at), *(first for first, _ in spans))
    return _Reads(
        plane,
        tuple(int(w) for w in where[0]),
        spread,
        tuple(int(s) + first for s in shifts[0]) if not spread else (0,) * len(lanes.offsets),
        "" if fixed or spread else plane.shift,
        min(WIDEST, alignment & -alignment),
        lanes.run,
    )


class _Loads:
    """The statements that fill `raw`, and what lies where."""

    def __init__(self, form: BlockFormat, used: bool = False):
        self.form, self.used, self.count = form, used, 0
        self.lines: list[str] = []
        self.when = ""  # C: opens the loads that follow; empty: they are done in every call

    def words(self, address: str, count: int, alignment: int) -> int:
        """`count` words from an address; the place of the first."""
        self.lines.append(f"  {self.when}hfc_words<{count}, {_power(alignment)}>({address}, raw + {self.count});")
        self.count += count
        return self.count - count

    def one(self, expression: str) -> int:
        """A byte or half word."""
        self.lines.append(f"  {self.when}raw[{self.count}] = {expression};")
        self.count += 1
        return self.count - 1


def _source(
    loads: _Loads, lanes: LaneMap, symbol: str, reads: tuple[_Reads, ...] | None, groups: tuple[int, ...]
) -> tuple[int, str]:
    form, count, runs = loads.form, max(groups) + 1, len(lanes.offsets)
    if reads:
        codes = _plane_lines(form, lanes, reads, runs, loads)
    else:
        bits = stream_bits(form)
        assert bits, f"{form.name}: its codes are neither planes nor a stream of bits"
        codes = stream_lines(form, bits, lanes.elements, loads)
    loads.when = _first_of(lanes, form.block // lanes.elements)
    head = head_lines(form, loads)
    aligned = _power(form.block_bytes)
    index = f"  const int i = {lanes.base};\n  (void)i;"
    source = [
        f"HFC_FUNCTION void {symbol}_read(const uint8_t* block, int c, uint32_t (&raw)[{loads.count}]) {{",
        f"  block = (const uint8_t*)__builtin_assume_aligned(block, {aligned});",
        index,
        *loads.lines,
        "}",
    ]
    # words of a batch; with several, each run is a group
    size = lanes.run // 4 * BATCH if count > BATCH else lanes.elements // 4
    assert reads or count <= BATCH, f"{form.name}: a stream of codes is cut at once"
    for batch in range(-(-count // BATCH)):
        some = [lanes.offsets[groups.index(g)] for g in range(BATCH * batch, min(count, BATCH * (batch + 1)))]
        low = f", float (&low)[{len(some)}]" if form.min else ""
        name = f"{symbol}_cut{batch or ''}"
        source.append(
            f"{'template <uint32_t FLIP = 0> ' if form.table else ''}HFC_FUNCTION void {name}(const uint32_t (&raw)[{loads.count}], int c, uint32_t (&codes)[{size}], float (&scale)[{len(some)}]{low}) {{"
        )
        source += [
            index,
            *(_moved(line, batch * size, size) for line in codes),
            *head,
            *scale_lines(form, starts_of_calls(form, lanes), some),
            "}",
        ]
    return loads.count, "\n".join([*source, ""])


def scale_words(form: BlockFormat, lanes: LaneMap) -> list[str]:
    """The names of a block's numbers and of its small codes' words, in the `raw` that the loader of `lanes` fills."""
    loads, reads = _Loads(form), _plane_reads(form, lanes)
    if reads:
        _plane_lines(form, lanes, reads, len(lanes.offsets), loads)
    else:
        stream_lines(form, stream_bits(form) or 0, lanes.elements, loads)
    return head_lines(form, loads)


def starts_of_calls(form: BlockFormat, lanes: LaneMap) -> np.ndarray:
    """The first element of every call of a block."""
    calls = np.arange(form.block // lanes.elements)
    return np.broadcast_to(eval(lanes.base.replace("/", "//"), {"__builtins__": {}}, {"c": calls}), calls.shape)


def _moved(line: str, first: int, count: int) -> str:
    """A statement that fills one of `codes`, for the `count` words from `first` on; empty if it is not among them."""
    found = re.match(r"  codes\[(\d+)\] = ", line)
    if not found:
        return line
    return (
        line.replace(f"codes[{found[1]}]", f"codes[{int(found[1]) - first}]", 1)
        if first <= int(found[1]) < first + count
        else ""
    )


def _plane_lines(form: BlockFormat, lanes: LaneMap, reads: tuple[_Reads, ...], runs: int, loads: _Loads) -> list[str]:
    """The statements that fill `codes` from planes."""
    places = []
    for plane in reads:
        loads.when = _first_of(lanes, _shared_calls(plane.plane, lanes, starts_of_calls(form, lanes)))
        places.append(_plane_loads(form, plane, loads))
    cut = [f"  const int p{number}_shift = {plane.shift};" for number, plane in enumerate(reads) if plane.shift]
    words = reads[0].run // 4  # of a run's codes
    for run in range(runs):
        for part in range(words):
            word = " | ".join(
                _word(form, plane, number, places[number], run, part) for number, plane in enumerate(reads)
            )
            if form.table:
                word = _looked_up(form, reads, f"raw[{places[0][reads[0].where[run]] + part}]", run, word)
            cut.append(f"  codes[{words * run + part}] = {word};")
    return cut


def _looked_up(form: BlockFormat, reads: tuple[_Reads, ...], raw: str, run: int, word: str) -> str:
    """A table's entries at the four codes of `word`: out of their word in memory where they are its low or its high nibbles."""
    shift = None if reads[0].shift else reads[0].shifts[run]
    if len(form.table) == 16 and len(reads) == 1 and shift in (0, 4):
        return f"hfc_table_nibbles<{shift}>({raw}, {_table(form)})"
    return f"hfc_table_bytes({word}, {_table(form)})"


def _shared_calls(plane: Plane, lanes: LaneMap, starts: np.ndarray) -> int:
    """Consecutive calls of a walk whose steps read the same bytes of a plane."""
    byte = index_values(plane.byte, starts)
    calls = np.arange(len(starts))
    shared, wider = lanes.step, 2 * lanes.step
    while lanes.step and wider <= len(starts) and (byte == byte[calls - calls % wider + calls % lanes.step]).all():
        shared, wider = wider, 2 * wider
    return shared


def _first_of(lanes: LaneMap, calls: int) -> str:
    """C: opens what the first step of every `calls` calls does for the others; empty where that is every step."""
    return f"if (c % {calls} < {lanes.step}) " if lanes.step and calls > lanes.step else ""


def _plane_loads(form: BlockFormat, reads: _Reads, loads: _Loads) -> dict[int, int]:
    """Loads a plane's words; byte offset of a run -> place in `raw`."""
    start = f"block + {form.offsets[reads.plane.field]} + ({reads.plane.byte})"
    if reads.spread:
        return {at: loads.one(f"({start})[{at}]") for at in sorted(set(reads.where))}
    placed: dict[int, int] = {}
    for first, stop in _spans(sorted(set(reads.where)), reads.run):
        at = loads.words(f"{start} + {first}", (stop - first) // 4, reads.alignment)
        placed |= {where: at + (where - first) // 4 for where in range(first, stop, reads.run)}
    return placed


def _spans(starts: list[int], size: int) -> list[tuple[int, int]]:
    """Neighbouring pieces of `size` bytes joined: [(first, stop)]."""
    spans: list[tuple[int, int]] = []
    for start in starts:
        if spans and spans[-1][1] == start:
            spans[-1] = (spans[-1][0], start + size)
        else:
            spans.append((start, start + size))
    return spans


def _word(form: BlockFormat, reads: _Reads, number: int, placed: dict[int, int], run: int, part: int) -> str:
    """Four codes of a run, one in each byte."""
    plane, at = reads.plane, placed[reads.where[run]]
    if reads.spread:  # bit k of four to bit 0 of byte k
        return f"((raw[{at}] >> {4 * part} & 15u) * 0x00204081u & 0x01010101u) << {plane.left}"
    word = f"raw[{at + part}]"
    if next(f for f in form.fields if f.name == plane.field).dtype == "i8":
        word = f"({word} ^ 0x80808080u)"
    by = f"(p{number}_shift + {reads.shifts[run]})" if reads.shift else str(reads.shifts[run])
    if by != "0":
        word = f"({word} >> {by})"
    if plane.bits < 8:
        word = f"({word} & {byte_mask(plane.bits)})"
    return f"({word} << {plane.left})" if plane.left else word


def _table(form: BlockFormat) -> str:
    """A table as two or four words of bytes, each entry plus 128, with the bits of FLIP changed."""
    halves = (form.table[:8], form.table[8:])
    assert len(form.table) == 8 or any(min(up) >= 0 >= max(down) for up, down in (halves, halves[::-1])), form.name
    entries = bytes(value + 128 for value in form.table)
    return ", ".join(
        f"0x{int.from_bytes(entries[at : at + 4], 'little'):08x}u ^ FLIP" for at in range(0, len(entries), 4)
    )


def _power(alignment: int) -> int:
    return min(WIDEST, alignment & -alignment)
