"""Thread blocks of attention: by splits of the context (decode), by tiles of queries (prefill)."""

from __future__ import annotations

import math
from dataclasses import replace

from hfc.backend.geometry.shape import Geometry, Scratch, make
from hfc.backend.spec import Bound
from hfc.formats.kv_run import RUN, run_of
from hfc.step import DECODE_ROWS
from hfc.target.arch import Arch

MOST_SPLITS = 1024  # of a slot
MATRIX_FEATURES = ("mma_f16", "wmma_f16", "mfma_f16")
LINES = 64  # queries of a block in prefill: rows x heads of a KV head
# Features with which decode, too, uses matrix units. ("mma_f16",) turns it on for sm_90, where at 16k positions steps of one row of 9B
# took 10 % longer and of eight 11 % less (docs/performance.md).
FEW_ON: tuple[str, ...] = ()


def attend(bound: Bound, arch: Arch, rows_class: str) -> tuple[Geometry, ...]:
    if rows_class == "decode" and _has_few(bound, arch):
        return _few(bound, arch), _join(bound, arch)
    if rows_class == "decode":
        return _split(bound, arch), _join(bound, arch)
    turn = (_turn(bound),) if bound.extra["walsh"] else ()
    if _has_tiles(bound, arch):
        return *turn, _tile(bound, arch)
    return *turn, _lines(bound, arch)


def _has_tiles(bound: Bound, arch: Arch) -> bool:
    """Whether prefill uses matrix units; a cache in f32 keeps its precision without them."""
    extra = bound.extra
    exact = "f32" in (extra["k_format"].scalar, extra["v_format"].scalar)
    small = extra["size"] <= 256 and extra["heads"] <= LINES // 2 * extra["kv_heads"]
    return any(map(arch.has, MATRIX_FEATURES)) and small and not exact


def _has_few(bound: Bound, arch: Arch) -> bool:
    """Whether decode uses matrix units, so that the rows of a sequence read its keys and values once: on archs where that pays, and
    where f16 holds keys and values as they are, so that pairs of f16 for the rest keep the precision of f32."""
    extra = bound.extra
    return (
        any(map(arch.has, FEW_ON))
        and _has_tiles(bound, arch)
        and extra["k_format"].scalar == extra["v_format"].scalar == "f16"
    )


def _coded(bound: Bound) -> bool:
    """Whether keys lie rotated, as levels of a table or in steps."""
    return bool(bound.extra["k_format"].turns or bound.extra["k_format"].walsh)


def _split(bound: Bound, arch: Arch) -> Geometry:
    extra, threads = bound.extra, 256
    size, group = extra["size"], extra["heads"] // extra["kv_heads"]
    coded = _coded(bound)  # keys are chosen from levels: many conditions, each a pair of
    few = arch.vgprs == 256 or arch.kind == "nvidia" or (coded and arch.wave == 64)  # scalar registers in a wave of 64
    ahead = 2 if few else 4  # positions of a lane's turn; the next turn's are under way
    vector = -(-size // (RUN * arch.wave)) * RUN
    lanes = _power(-(-size // vector))
    # Queries and sums are 2 * vector registers a head; what the waves of a block leave in LDS stays below 33 kB.
    most = max(1, 32 // vector)
    if arch.vgprs == 256 and not extra["k_format"].scalar == extra["v_format"].scalar == "f16":
        most = min(most, 2)
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
        **_scores(bound),
        **_splits(bound),
    }
    grid = (str(extra["kv_heads"] * head_blocks), _split_count(bound), bound.rows)
    made = make(bound, "attend_split", grid, threads, numbers, suffix="_split")
    return replace(made, scratch=(_scratch(bound, written=True),), task="attend to each split for")


def _join(bound: Bound, arch: Arch) -> Geometry:
    threads = 512
    groups = max(1, min(8, threads // -(-bound.extra["size"] // arch.wave) // arch.wave))
    groups = 1 << groups.bit_length() - 1
    splits = _splits(bound)
    # nothing to join, nothing to launch
    grid = (str(bound.extra["heads"]), f"{bound.rows} * (C > {splits['split']})", "1")
    made = make(bound, "attend_join", grid, threads, {"groups": groups, **splits}, suffix="_join")
    return replace(made, scratch=(_scratch(bound, written=False),))


def _splits(bound: Bound) -> dict[str, int]:
    """Splits begin at multiples of `split` positions of the context, whatever a step looks like: about 128 kB of f16 each."""
    capacity, size = bound.extra["capacity"], bound.extra["size"]
    least = min(512, max(128, 128 * 256 // _power(size)))
    split = max(1, -(-capacity // (least * MOST_SPLITS))) * least
    return {"split": split, "splits": -(-capacity // split)}


def _split_count(bound: Bound) -> str:
    """A step's splits end with its longest context, not with the plan's."""
    numbers = _splits(bound)
    count, splits = f"((C + {numbers['split'] - 1}) / {numbers['split']})", numbers["splits"]
    return f"({count} < {splits}) * {count} + ({count} >= {splits}) * {splits}"


def _scratch(bound: Bound, written: bool) -> Scratch:
    """For each row, head and split: the sum of values, then maximum and weight."""
    row_bytes = bound.extra["heads"] * _splits(bound)["splits"] * (bound.extra["size"] + 4) * 4
    return Scratch("attend_splits", "float", "f32", row_bytes, DECODE_ROWS, written)


def _scores(bound: Bound) -> dict[str, object]:
    """Scores are logarithms to base 2. factor: of the queries.  bottom: below every score, and finite: differences are numbers.

    key_words, value_words: registers of a run of eight elements."""
    softcap, scale = bound.extra["softcap"], bound.extra["scale"]
    size = bound.extra["size"]
    words = {
        "key_words": run_of(bound.extra["k_format"], size).words,
        "value_words": run_of(bound.extra["v_format"], size).words,
    }
    return {
        "factor": scale / softcap if softcap else scale * math.log2(math.e),
        "log2e": math.log2(math.e),
        "bottom": "-1e30f",
        **words,
    }


def _turn(bound: Bound) -> Geometry:
    made = make(bound, "attend_turn", (str(bound.extra["heads"]), bound.rows, "1"), 128, {}, suffix="_turn")
    return replace(made, scratch=(_turned(bound, written=True),), task="rotate the queries of")


def _turned(bound: Bound, written: bool) -> Scratch:
    return Scratch("turned", "float", "f32", 4 * bound.extra["heads"] * bound.extra["size"], written=written)


def _tile(bound: Bound, arch: Arch) -> Geometry:
    made = _tiles(bound, arch, "_tile", LINES, {"weight_planes": 1, "split": 0})
    return replace(made, scratch=(_turned(bound, written=False),) if bound.extra["walsh"] else ())


def _few(bound: Bound, arch: Arch) -> Geometry:
    """The tiles of prefill, cut by splits of the context; weights, too, are pairs of f16."""
    # queries and pairs of weights lie in LDS together on some archs
    room = LINES if arch.has("mma_f16") else LINES // 2
    made = _tiles(bound, arch, "_few", room, {"weight_planes": 2, **_splits(bound)})
    return replace(
        made,
        grid=(*made.grid[:2], _split_count(bound)),
        scratch=(_scratch(bound, written=True),),
        task="attend to each split for",
    )


def _tiles(bound: Bound, arch: Arch, suffix: str, most_lines: int, more: dict[str, int]) -> Geometry:
    """Groups of 16 lines, and two waves for each, so that its sums fit their registers."""
    extra = bound.extra
    group, padded = extra["heads"] // extra["kv_heads"], -(-extra["size"] // 16) * 16
    wide, share = padded > 128, 2
    # Queries stay in registers where the operands of a line are few; in LDS there is room for both parts of 32 lines of 256.
    held = not arch.has("wmma_replicated") and not (wide and arch.has("wmma_f16"))
    lines = min(most_lines, LINES // 2 if wide and not held else LINES)
    numbers = {
        "uses": [feature for feature in MATRIX_FEATURES if arch.has(feature)],
        "lines": lines,
        "rows_tile": lines // group,
        "group": group,
        "padded": padded,
        "planes": 2,  # queries as pairs of f16
        "held": held,
        # Keys of the next turn are fetched before this one's values are used, unless their levels need the registers.
        "early": held and not wide and not (_coded(bound) and arch.has("wmma_f16")),
        "share": share,
        "keys": 16 * share * (1 if wide else 2),
        "across": arch.has("mma_f16"),
        **more,
        **_scores(bound),
    }
    grid = (f"{bound.rows} / {lines // group} + G", str(extra["kv_heads"]), "1")
    return make(bound, "attend_tile", grid, lines // 16 * share * arch.wave, numbers, suffix=suffix)


def _lines(bound: Bound, arch: Arch) -> Geometry:
    """Without matrix units: a few lanes work on a query, each with up to 32 elements of it, or 16 where registers are few."""
    extra, threads = bound.extra, 256
    group, runs = extra["heads"] // extra["kv_heads"], -(-extra["size"] // 8)
    lanes = _power(-(-runs // (2 if arch.vgprs == 256 else 4)))
    vector = -(-runs // lanes) * 8
    # else keys and values pass through LDS as f16
    exact = "f32" in (extra["k_format"].scalar, extra["v_format"].scalar)
    keys = max(4, 32768 // (2 * lanes * vector * (4 if exact else 2)))
    numbers = {
        "lines": threads // lanes,
        "rows_tile": max(1, threads // lanes // group),
        "lanes": lanes,
        "vector": vector,
        "group": group,
        "exact": exact,
        "keys": min(64, 1 << keys.bit_length() - 1),
        "ahead": 4,
        **_scores(bound),
    }
    grid = (f"{bound.rows} / {numbers['rows_tile']} + G", str(extra["kv_heads"]), "1")
    made = make(bound, "attend_lines", grid, threads, numbers, suffix="_lines")
    return replace(made, scratch=(_turned(bound, written=False),) if extra["walsh"] else ())


def _power(count: int) -> int:
    """The least power of two that is not below `count`."""
    return 1 << (count - 1).bit_length()
