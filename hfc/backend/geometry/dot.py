"""Thread blocks of linear regions in decode by integer dot products: for quantized weights where matrix units do not pay."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hfc.backend.geometry.parts import groups, in_lines, part_blocks
from hfc.backend.geometry.shape import Geometry, Scratch, make
from hfc.backend.spec import Bound
from hfc.formats.lanes import LINE, RUN, LaneLoader, lane_loader
from hfc.target.arch import Arch

THREADS = 256
ROWS = 16  # of a decode step
SHARED = 48 * 1024  # bytes of inputs in LDS, at most
UNIT = 32  # inputs that share a unit
BYTE = 8  # bits; codes of so many are numbers from -128 on


@dataclass(frozen=True)
class Segment:
    """Runs of a lane's call whose weights have one scale and whose inputs have one unit."""

    group: int
    runs: tuple[int, ...]


def segments(lanes: LaneLoader) -> tuple[Segment, ...]:
    keys = [(group, offset // UNIT) for group, offset in zip(lanes.groups, lanes.map.offsets)]
    return tuple(Segment(key[0], tuple(run for run, k in enumerate(keys) if k == key)) for key in dict.fromkeys(keys))


def number_zero(lanes: LaneLoader) -> int:
    """What a signed byte lacks to the number of its weight."""
    return lanes.zero + 128 if lanes.bits == BYTE else lanes.zero


def shifted(lanes: LaneLoader) -> bool:
    """Whether the sums of inputs take part."""
    return lanes.has_low or number_zero(lanes) != 0


def dot(bound: Bound, arch: Arch) -> tuple[Geometry, ...]:
    """The launches of one row, or of several with what makes their inputs whole numbers; () where there is no such instruction."""
    parts = bound.extra["parts"]
    if (
        arch.kind != "amd"
        or not arch.has("dot4_i8")
        or not in_lines(bound)
        or not all(p.format.quantized for p in parts)
    ):
        return ()
    one = _geometry(bound, arch, staged=False)
    return (one,) if bound.extra["top"] else (_stage(bound), _geometry(bound, arch, staged=True), one)


def _loaders(bound: Bound) -> dict[str, LaneLoader]:
    return {part.format.name: lane_loader(part.format) for part in bound.extra["parts"]}


def _numbers(bound: Bound) -> dict[str, Any]:
    """What all launches of a region agree on."""
    k = bound.extra["k"]
    chunk = min(RUN * len(segment.runs) for lanes in _loaders(bound).values() for segment in segments(lanes))
    return {"chunk": chunk, "staged_stride": k // 2 + -(-2 * k // chunk // 4) * 4}


def _staged(bound: Bound, written: bool) -> Scratch:
    return Scratch("operands", "float", "f32", 4 * _numbers(bound)["staged_stride"], rows=ROWS, written=written)


def _stage(bound: Bound) -> Geometry:
    grid = (f"({bound.rows} > 1) * {bound.rows}", str(-(-bound.extra["k"] // (RUN * THREADS))), "1")
    made = make(bound, "dot_stage", grid, THREADS, _numbers(bound), suffix="_numbers")
    return replace(made, scratch=(_staged(bound, written=True),), task="make whole numbers of the inputs of")


def _geometry(bound: Bound, arch: Arch, staged: bool) -> Geometry:
    extra, loaders = bound.extra, _loaders(bound)
    shared, count = _numbers(bound), max(map(len, groups(bound)))
    waves, outputs = THREADS // arch.wave, max(1, 2 // count)
    total = sum(p.n for p in extra["parts"])
    # few outputs: several waves share the K of each
    split = 1 if total > 8192 else 2 if total > 2048 or arch.vgprs == 256 else 4
    tile = arch.wave * split * LINE.elements
    row_bytes = tile * 2 + tile // RUN + tile * 8 // shared["chunk"]
    # with 4 and 8, formats of six bits spill, or a SIMD of gfx906 holds one wave
    most_rows = 2 if arch.vgprs == 256 else 4
    together = min(1 << (SHARED // row_bytes).bit_length() - 1, most_rows) if staged else 1
    most = max(extra["parts"], key=lambda p: p.n)
    starts, blocks = part_blocks(bound, waves // split * outputs)
    numbers = shared | {
        "uses": ["dot4_i8"],
        "waves": waves,
        "outputs": outputs,
        "split": split,
        "tile": tile,
        "together": together,
        "helds": [held for held in (1, 2, 4) if held <= together and (held > 1 or not staged)],
        "staged": staged,
        "count": count,
        "resident": 2,
        "pad": loaders[most.format.name].map.span,
        "lanes_of": loaders,
        "segments": segments,
        "number_zero": number_zero,
        "shifted": shifted,
        "starts": starts,
        "groups": groups(bound),
    }
    rows = f"{bound.rows} * {extra['top']}" if extra["top"] else f"({bound.rows} + {together - 1}) / {together}"
    wanted = f"{blocks}" if extra["top"] else f"({bound.rows} {'>' if staged else '=='} 1) * {blocks}"
    made = make(bound, "linear_dot", (wanted, rows, "1"), THREADS, numbers, suffix="_rows" if staged else "")
    scratch = (_staged(bound, written=False),) if staged else ()
    made = replace(made, scratch=scratch, task="several rows of" if staged else "")
    return replace(made, loaders="\n".join(loader.source for loader in loaders.values()))
