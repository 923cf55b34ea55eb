"""Thread blocks of regions that carry a segment's state: the delta rule and causal convolutions."""

from __future__ import annotations

from dataclasses import replace

from hfc.backend.geometry.shape import Geometry, Scratch, make
from hfc.backend.spec import Bound
from hfc.base.diagnostics import HfcError
from hfc.target.arch import Arch

FEW_ROWS = 16  # segments of so many rows are one kernel's, of more several launches': what decodes is always the former


def delta(bound: Bound, arch: Arch, rows_class: str) -> tuple[Geometry, ...]:
    few = _few(bound, arch)
    if rows_class == "decode":
        return (few,)
    first = replace(few, task="the short segments of")
    return first, _stage(bound, arch), _columns(bound, arch, few.numbers), _finish(bound, arch)


def _few(bound: Bound, arch: Arch) -> Geometry:
    """All of a region in one launch: a block a key head, as its value heads share a window."""
    extra = bound.extra
    # A column of the state is cut over neighbouring lanes so that each holds at most 32 of its elements; where registers are
    # few also until there are threads for all inputs of a head: 64-wide heads with a journal need 142 of 128 otherwise.
    split, inputs = 1, 2 * extra["dk"] + extra["dv"]
    while -(-extra["dk"] // (4 * split)) * 4 > 32 or (
        arch.vgprs == 256 and extra["dv"] * split < inputs and 8 * split <= extra["dk"]
    ):
        split *= 2
    block = -(-extra["dv"] * split // arch.wave) * arch.wave
    if block > 1024 or split > arch.wave:
        raise HfcError(
            f"gated_delta: head sizes {extra['dk']} x {extra['dv']} do not fit one thread block of 1024 threads"
        )
    if extra["taps"] > FEW_ROWS:
        raise HfcError(f"gated_delta: a convolution of {extra['taps']} taps; at most {FEW_ROWS}")
    depth = -(-extra["dk"] // (4 * split)) * 4
    # Tokens whose q, k, v and y lie in LDS together: between barriers.
    tokens = max(1, min(16, 32768 // (8 * (split * depth + extra["dv"]))))
    numbers = {
        "few": FEW_ROWS,
        "split": split,
        "depth": depth,
        "block": block,
        "tokens": tokens,
        # Inputs loaded together: each costs scalar registers for its predicate on AMD, which has about 100.
        "batch": min(tokens, 16 if arch.kind == "nvidia" else 4),
        "turns": -(-inputs // block),
    }
    return make(bound, "delta", (str(extra["k_heads"]), "G", "1"), block, numbers)


def _stage(bound: Bound, arch: Arch) -> Geometry:
    extra, threads, tile_rows = bound.extra, 256, 8
    waves, vectors = threads // arch.wave, 2 * extra["k_heads"] + extra["v_heads"]
    numbers = {"few": FEW_ROWS, "waves": waves, "tile_rows": tile_rows, "staged_stride": _staged_stride(bound)}
    grid = f"((T + {tile_rows - 1}) / {tile_rows} * {vectors} + {waves - 1}) / {waves}"
    made = make(bound, "delta_stage", (grid, "1", "1"), threads, numbers, "_stage")
    return replace(made, scratch=(_staged(bound, written=True),), task="convolve q, k and v of")


def _columns(bound: Bound, arch: Arch, few: dict) -> Geometry:
    """Blocks of few columns: even one long segment fills a card."""
    extra = bound.extra
    columns = max(32, arch.wave // few["split"])
    column_blocks = -(-extra["dv"] // columns)
    starts = (extra[name] for name in ("q0", "k0", "v0", "dk", "dv"))
    numbers = {
        "few": FEW_ROWS,
        "split": few["split"],
        "depth": few["depth"],
        # Loads on their way cost registers. Measured on an H200, 2,048 rows of 9B: 4 rows 772 us, 8 636, 16 593.
        "tokens": 16 if arch.kind == "nvidia" else 4 if arch.vgprs == 256 else 8,
        "columns": columns,
        "column_blocks": column_blocks,
        "wide": all(start % 4 == 0 for start in starts),
        "staged_stride": _staged_stride(bound),
    }
    grid = (str(extra["v_heads"] * column_blocks), "G", "1")
    made = make(bound, "delta_columns", grid, columns * few["split"], numbers, "_columns")
    return replace(made, scratch=(_staged(bound, written=True),), task="carry the state through")


def _finish(bound: Bound, arch: Arch) -> Geometry:
    threads = 256
    waves = threads // arch.wave
    numbers = {"few": FEW_ROWS, "waves": waves, "staged_stride": _staged_stride(bound)}
    grid = f"(T * {bound.extra['v_heads']} + {waves - 1}) / {waves}"
    made = make(bound, "delta_finish", (grid, "1", "1"), threads, numbers, "_finish")
    return replace(made, scratch=(_staged(bound, written=False),))


def _staged_stride(bound: Bound) -> int:
    """Floats of a row: q, k and v as the convolution has its channels; scales of q and k by key head, decay and beta by value head."""
    extra = bound.extra
    return -(-(extra["channels"] + 2 * extra["k_heads"] + 2 * extra["v_heads"]) // 4) * 4


def _staged(bound: Bound, written: bool) -> Scratch:
    return Scratch("delta_rows", "float", "f32", 4 * _staged_stride(bound), written=written)


def conv(bound: Bound, arch: Arch, rows_class: str) -> tuple[Geometry, ...]:
    return (make(bound, "conv", (str(-(-bound.extra["channels"] // 128)), "G", "1"), 128, {}),)
