"""Thread blocks of linear regions in prefill: tiles of rows x outputs, on matrix units where inputs can be staged for them.

With experts the rows are (token, choice) pairs. A first launch sorts them by expert, so that a tile's rows share theirs.
"""

from __future__ import annotations

from dataclasses import replace

from hfc.backend.geometry.parts import groups, in_lines, part_blocks
from hfc.backend.geometry.shape import Geometry, Scratch, make
from hfc.backend.spec import Bound, Part
from hfc.formats.lanes import PLAIN, half_loader
from hfc.target.arch import Arch

EXACT_FORMATS = ("f16", "bf16")  # one f16 holds their values (of bf16 those in its range)
MATRIX_FEATURES = ("mma_f16", "wmma_f16", "mfma_f16")
# of a matrix tile: elements of K between two barriers, outputs; threads of a block
DEPTH, OUTPUTS, THREADS = 32, 128, 256
# of raw weights that find room in a lane beside the large tile's operands on gfx11, where every line is there twice
WORDS = 12
# f16 behind each line in LDS: lines start 20 banks apart, so 8 lanes that read 16 bytes each meet all banks once
PADDING = 8
SCALE = 8  # f16 behind a staged row: its scale, and 16-byte alignment of the next


def prefill(bound: Bound, arch: Arch) -> tuple[Geometry, ...]:
    """The launches of a step of many rows: one order of additions for all of them."""
    matrix = max(map(len, groups(bound))) <= 2 and in_lines(bound) and any(map(arch.has, MATRIX_FEATURES))
    made = [stage(bound, arch), _matrix(bound, arch)] if matrix else [*_rotate(bound, arch), _tiled(bound)]
    return (_sort(bound, arch, made[-1].numbers["tile_rows"]), *made) if bound.extra["top"] else tuple(made)


def _sort(bound: Bound, arch: Arch, tile_rows: int) -> Geometry:
    """A block an expert. Each counts all experts' pairs and so needs nothing from the others."""
    numbers = {"tile_rows": tile_rows, "waves": THREADS // arch.wave}
    made = make(bound, "expert_sort", (str(bound.extra["expert_count"]), "1", "1"), THREADS, numbers, suffix="_sort")
    return replace(made, scratch=(_pairs(bound, written=True),), task="sort the pairs of")


def _pairs(bound: Bound, written: bool) -> Scratch:
    """int32: the number of tiles; the pairs by expert; expert, first and end of each tile (there are no more than pairs)."""
    return Scratch("pairs", "int32_t", "i32", 4 * (1 + 4 * bound.extra["top"]), written=written)


def _row_tiles(bound: Bound, tile_rows: int) -> str:
    """Grid expression of the tiles of rows; with experts the most that there can be, each expert's last may be short."""
    if not bound.extra["top"]:
        return f"({bound.rows} + {tile_rows - 1}) / {tile_rows}"
    return f"{bound.rows} * {bound.extra['top']} / {tile_rows} + {bound.extra['expert_count']}"


def stage(bound: Bound, arch: Arch, half: str = "f16") -> Geometry:
    """half: what the pairs are made of. Matrix tiles take f16 whatever the weights are, a library that of the weights."""
    numbers = {
        "waves": 256 // arch.wave,
        "shared_by": _shared_by(bound),
        "staged_stride": staged_stride(bound),
        "half": half,
    }
    rows = bound.rows if _shared_by(bound) == max(1, bound.extra["top"]) else f"{bound.rows} * {bound.extra['top']}"
    made = make(
        bound, "linear_stage", (rows, "1", "1"), 256, numbers, suffix="_stage" if half == "f16" else f"_stage_{half}"
    )
    return replace(made, scratch=(staged(bound, written=True),), task="stage the inputs of")


def _shared_by(bound: Bound) -> int:
    """Neighbouring rows that have one input: all choices of a token, if it is the token's."""
    return bound.extra["top"] if bound.extra["top"] and bound.extra["token_inputs"] else 1


def _rotate(bound: Bound, arch: Arch) -> tuple[Geometry, ...]:
    """A launch that rotates the inputs of rotated weights, where tiles take them from there; else none."""
    if not bound.extra["rotate"]:
        return ()
    rows = bound.rows if _shared_by(bound) == max(1, bound.extra["top"]) else f"{bound.rows} * {bound.extra['top']}"
    made = make(
        bound,
        "linear_rotate",
        (rows, "1", "1"),
        256,
        {"waves": 256 // arch.wave, "shared_by": _shared_by(bound)},
        suffix="_rotate",
    )
    return (replace(made, scratch=(_rotated(bound, written=True),), task="rotate the inputs of"),)


def _rotated(bound: Bound, written: bool) -> Scratch:
    lines = max(1, bound.extra["top"]) // _shared_by(bound)
    return Scratch("rotated", "float", "f32", 4 * bound.extra["k"] * lines, written=written)


def staged_stride(bound: Bound) -> int:
    """Elements from one staged row to the next."""
    return 2 * bound.extra["k"] + SCALE


def staged(bound: Bound, written: bool) -> Scratch:
    """The region's inputs as pairs of f16 (or bf16): high parts of a row, then low parts, then the row's scale as f32."""
    lines = max(1, bound.extra["top"]) // _shared_by(bound)
    return Scratch("staged", "_Float16", "f16", 2 * staged_stride(bound) * lines, written=written)


def _matrix(bound: Bound, arch: Arch) -> Geometry:
    """Eight waves of 32 lanes or four of 64 make 4 x 2 or 4 x 4 products of 16 x 16 each, half of that in a small tile."""
    # A small tile where registers are few, where a usual step would give each compute unit one block only, and for few rows:
    # those of an expert, and those whose logits are wanted.
    partial = bool(bound.extra["top"]) or bound.rows == "R"
    loaders = {p.format.name: half_loader(p.format) if p.format.quantized else PLAIN for p in bound.extra["parts"]}
    crowded = arch.has("wmma_replicated") and any(
        loader.words > WORDS for loader in loaders.values() if loader is not PLAIN
    )
    small = arch.vgprs == 256 or crowded or partial or sum(p.n for p in bound.extra["parts"]) <= 8192
    tile_rows = 64 if small else 128
    together = max(map(len, groups(bound)))
    exact = [all(part.format.name in EXACT_FORMATS for part in group) for group in groups(bound)]
    planes = 1 if all(exact) else 2
    starts, blocks = part_blocks(bound, OUTPUTS // together)
    numbers = {
        "uses": [feature for feature in MATRIX_FEATURES if arch.has(feature)],
        "tile_rows": tile_rows,
        "tile_outputs": OUTPUTS,
        "depth": DEPTH,
        "stride": DEPTH + PADDING,
        "partial": partial,
        "staged_stride": staged_stride(bound),
        "shared_by": _shared_by(bound),
        "buffers": _buffers(arch, tile_rows, planes),
        "planes": planes,
        "down": 2,
        "across": THREADS // arch.wave // 2,
        "distinct": _distinct,
        "exact_groups": exact,
        "parts_together": together,
        "resident": 2,
        "lanes_of": loaders,
        "starts": starts,
        "groups": groups(bound),
    }
    made = make(
        bound, "linear_matrix", (_row_tiles(bound, tile_rows), str(blocks), "1"), THREADS, numbers, suffix="_matrix"
    )
    scratch = (staged(bound, written=False), *([_pairs(bound, written=False)] if bound.extra["top"] else []))
    return replace(made, loaders="\n".join(loader.source for loader in loaders.values()), scratch=scratch)


def _buffers(arch: Arch, tile_rows: int, planes: int) -> int:
    """Tiles in LDS at a time. With two there is one barrier a tile, and a tile is put while the one before is multiplied.

    Two where the pair of compute units of RDNA, 128 KB, still holds two such blocks. Elsewhere (64 KB for a compute unit of
    CDNA, 48 KB static on NVIDIA) the second resident block does that, and the next tile waits in registers.
    """
    nbytes = 2 * (DEPTH + PADDING) * (2 * tile_rows + planes * OUTPUTS)
    return 2 if arch.kind == "amd" and arch.wave == 32 and 2 * nbytes <= arch.lds_bytes else 1


def _distinct(group: list[Part]) -> list[Part]:
    """The first part of each format, if that is one for all; else all parts."""
    return group[:1] if len({part.format.name for part in group}) == 1 else group


def _tiled(bound: Bound) -> Geometry:
    # Every thread makes 4 x 4 outputs: 8 LDS reads for 16 products. More parts at once would need more registers, and
    # an expert has few rows: 16 of a prompt of 512 among 256 experts of which 8 are chosen.
    tile_rows, tile_outputs, depth = 32 if bound.extra["top"] else 64, 64, 32
    if bound.extra["zipped"] and len(bound.extra["parts"]) > 2:
        tile_outputs = 32
    starts, blocks = part_blocks(bound, tile_outputs)
    numbers = {
        "tile_rows": tile_rows,
        "tile_outputs": tile_outputs,
        "depth": depth,
        "starts": starts,
        "groups": groups(bound),
    }
    scratch = [_pairs(bound, written=False)] if bound.extra["top"] else []
    if bound.extra["rotate"]:
        shared_by = _shared_by(bound)
        line = f"(row / {shared_by})" if shared_by > 1 else "row"
        numbers |= {"load": f"rotated[(size_t){line} * {bound.extra['k']} + j]", "stats": ()}
        scratch.append(_rotated(bound, written=False))
    made = make(
        bound, "linear_tiled", (str(blocks), _row_tiles(bound, tile_rows), "1"), THREADS, numbers, suffix="_tiled"
    )
    return replace(made, scratch=tuple(scratch))
