"""Thread blocks of attention: by splits of the context (decode), by rows (prefill)."""

from __future__ import annotations

from dataclasses import replace

from hfc.backend.geometry.shape import Geometry, Scratch, make
from hfc.backend.spec import Bound
from hfc.target.arch import Arch

SPLIT, MOST_SPLITS = 256, 256  # positions; splits of a slot
DECODE_ROWS = 16
VECTOR = 8  # elements of a head that a lane holds: 16 bytes of f16


def attend(bound: Bound, arch: Arch, rows_class: str) -> tuple[Geometry, ...]:
    if rows_class == "decode":
        return _split(bound, arch), _join(bound, arch)
    return (_rows(bound, arch),)


def _split(bound: Bound, arch: Arch) -> Geometry:
    extra, threads = bound.extra, 256
    ahead = 2 if arch.vgprs == 256 else 4  # positions: 64 bytes of f16 a lane under way, or 128
    size, group = extra["size"], extra["heads"] // extra["kv_heads"]
    vector = VECTOR if size <= VECTOR * arch.wave else -(-size // arch.wave)
    lanes = _power(-(-size // vector))
    # Queries and sums are 2 * vector registers a head; what the waves of a block leave in LDS stays below 33 kB.
    most = max(1, 32 // vector)
    head_blocks = -(-group // most)
    together = -(-group // head_blocks)
    numbers = {
        "waves": threads // arch.wave,
        "vector": vector,
        "lanes": lanes,
        "side": arch.wave // lanes,
        "ahead": ahead,
        "group": group,
        "together": together,
        "heads_padded": _power(together),
        "head_blocks": head_blocks,
        "bottom": "-1e30f",  # below every score, and finite: the difference of two is a number
        **_splits(bound),
    }
    grid = (str(extra["kv_heads"] * head_blocks), str(numbers["splits"]), bound.rows)
    made = make(bound, "attend_split", grid, threads, numbers, suffix="_split")
    return replace(made, scratch=(_scratch(bound, written=True),), task="attend to each split for")


def _join(bound: Bound, arch: Arch) -> Geometry:
    threads = 512
    groups = max(1, min(8, threads // -(-bound.extra["size"] // arch.wave) // arch.wave))
    groups = 1 << groups.bit_length() - 1
    made = make(bound, "attend_join", (str(bound.extra["heads"]), bound.rows, "1"), threads, {"groups": groups, **_splits(bound)}, suffix="_join")
    return replace(made, scratch=(_scratch(bound, written=False),))


def _splits(bound: Bound) -> dict[str, int]:
    """Splits begin at multiples of `split` positions of the context, whatever a step looks like."""
    capacity = bound.extra["capacity"]
    split = max(1, -(-capacity // (SPLIT * MOST_SPLITS))) * SPLIT
    return {"split": split, "splits": -(-capacity // split)}


def _scratch(bound: Bound, written: bool) -> Scratch:
    """For each row, head and split: the sum of values, then maximum and weight."""
    row_bytes = bound.extra["heads"] * _splits(bound)["splits"] * (bound.extra["size"] + 4) * 4
    return Scratch("attend_splits", "float", "f32", row_bytes, DECODE_ROWS, written)


def _rows(bound: Bound, arch: Arch) -> Geometry:
    extra = bound.extra
    vector = -(-extra["size"] // arch.wave)
    group = extra["heads"] // extra["kv_heads"]
    # Each head keeps query and sum in registers: 2 * vector a lane. 96 registers leave room for the loop.
    most = 64 if arch.kind == "nvidia" else 48 if arch.vgprs == 256 else 96  # of 256, so that two waves fit a SIMD
    together = max(h for h in range(1, group + 1) if group % h == 0 and (h == 1 or 2 * vector * h <= most))
    numbers = {"waves": 256 // arch.wave, "vector": vector, "together": together, "group": group, "ahead": 2}
    return make(bound, "attend", (str(extra["heads"] // together), bound.rows, "1"), 256, numbers, "_rows")


def _power(count: int) -> int:
    """The least power of two that is not below `count`."""
    return 1 << (count - 1).bit_length()
