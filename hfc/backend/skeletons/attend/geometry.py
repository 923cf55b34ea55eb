"""Launches of attention: by splits of the context (decode), by tiles of queries (prefill)."""

from __future__ import annotations

import math
from dataclasses import replace

from hfc.backend.lanes.kv_runs import RUN, run_of
from hfc.backend.shape import Geometry, Scratch
from hfc.backend.skeletons.attend.region import AttendRegion
from hfc.backend.skeletons.attend.splits import power_above, split_count, split_scratch, splits_of
from hfc.backend.spec import Bound
from hfc.backend.template import READS_AND_WRITES, KernelLimits, Params, template
from hfc.base.dataclass import dataclass
from hfc.target.arch import Arch

MATRIX_FEATURES = ("mma_f16", "wmma_f16", "mfma_f16")
PART = 64  # elements of a head that one block joins
QUERY_ROWS = 64  # queries of a block in prefill: rows x heads of a KV head
LOG2E = math.log2(math.e)
WIDEST_HEAD = 256  # elements, on matrix units
# Features with which decode, too, uses matrix units. ("mma_f16",) turns it on for sm_90, where at 16k positions steps of one row of 9B
# took 10 % longer and of eight 11 % less (docs/performance.md).
DECODE_ON: tuple[str, ...] = ()


@dataclass(frozen=True)
class SoftmaxParams(Params):
    """Scores are logarithms to base 2. factor: of the queries.  bottom: below every score, and finite: differences are numbers.
    group: query heads of a KV head."""

    factor: float
    log2e: float
    bottom: str
    group: int


@dataclass(frozen=True)
class ScoreParams(SoftmaxParams):
    """key_words, value_words: registers of a run of eight elements."""

    key_words: int
    value_words: int


@dataclass(frozen=True)
class SplitParams(ScoreParams):
    """vector: elements of a lane; `lanes` of them make a head, `side` of those groups a wave, `waves` a block.
    ahead: positions that a lane reads in one iteration.  together: query heads of a block, heads_padded: at least as many, for the order of sums.
    pairs: codes of keys are looked up in LDS two at a time, in a table of so many; 0: they are not.  always: there is a next iteration's load
    behind the last position, too.
    head_blocks: blocks that share the query heads of a KV head.  split: positions of the first splits (splits.j2), of which a context has `splits` at most."""

    waves: int
    vector: int
    lanes: int
    side: int
    ahead: int
    together: int
    heads_padded: int
    head_blocks: int
    split: int
    splits: int
    pairs: int
    always: bool


@dataclass(frozen=True)
class CombineParams(Params):
    """groups: of threads, which take splits in turn and add them up.  part: elements of a block, of which `parts` make a head.  split, splits: as in
    SplitParams.  log2e: as in ScoreParams."""

    groups: int
    part: int
    parts: int
    log2e: float
    split: int
    splits: int


@dataclass(frozen=True)
class TileParams(ScoreParams):
    """query_rows: queries of a block (M of its MMAs), those of `rows_tile` rows.  padded: elements of a head, rounded up to whole MMAs.  planes: of queries (pairs
    of f16), weight_planes: of softmax weights.  queries_in_registers: queries stay in registers.  early: the keys of the next iteration are fetched before
    the values of this one are used.  share: waves for 16 queries.  keys: of an iteration.  across: values are MMA operands in the layout in which they lie.  split, splits: as in
    SplitParams; 0: the whole context."""

    query_rows: int
    rows_tile: int
    padded: int
    planes: int
    queries_in_registers: bool
    early: bool
    share: int
    keys: int
    across: bool
    weight_planes: int
    split: int
    splits: int


@dataclass(frozen=True)
class VectorParams(ScoreParams):
    """rows_tile: rows of a block, `together` heads of each, for which a KV head has `head_blocks`; `lanes` work on each query, with
    `vector` elements.  exact: keys and values pass
    through LDS as f32, else as f16; `keys` of them at a time.  ahead: keys whose scores are made together."""

    rows_tile: int
    together: int
    head_blocks: int
    lanes: int
    vector: int
    exact: bool
    keys: int
    ahead: int


SPLIT = template(
    __file__,
    "attend_split",
    KernelLimits(
        128,
        "bound by memory: a lane fetches the keys and values of four positions before it uses one",
        tunables=("ahead", "together"),
    ),
    SplitParams,
)
COMBINE = template(
    __file__,
    "attend_combine",
    KernelLimits(128, "reads a few sums a row: eight loads of a lane are under way together"),
    CombineParams,
)
TILE = template(
    __file__,
    "attend_tile",
    KernelLimits(
        128,
        "bound by arithmetic: two products are under way for each pair of queries and keys, and a block loads while it multiplies",
        tunables=("query_rows",),
    ),
    TileParams,
)
VECTOR = template(
    __file__,
    "attend_vector",
    KernelLimits(128, "bound by arithmetic: the elements of a lane are independent sums", tunables=("ahead", "keys")),
    VectorParams,
)
ROTATE = template(__file__, "rotate_queries", READS_AND_WRITES)


def refuses_tiles(bound: Bound[AttendRegion], arch: Arch) -> str | None:
    """Why prefill cannot use matrix units; None: it can."""
    region = bound.region
    if not any(map(arch.has, MATRIX_FEATURES)):
        return f"{arch.name} has no matrix units for f16"
    if region.size > WIDEST_HEAD:
        return f"heads of {region.size} elements, more than {WIDEST_HEAD}"
    if region.group > QUERY_ROWS // 2:
        return f"{region.group} query heads share a KV head, more than {QUERY_ROWS // 2}"
    return "a cache in f32 keeps its precision without matrix units" if region.exact else None


def refuses_decode_tiles(bound: Bound[AttendRegion], arch: Arch) -> str | None:
    """Why decode does not use matrix units, so that the rows of a sequence read its keys and values once: on archs where that pays, and
    where f16 holds keys and values as they are, so that pairs of f16 for the rest keep the precision of f32."""
    if not any(map(arch.has, DECODE_ON)):
        return "off: one row takes longer than by splits on vectors (docs/performance.md)"
    if not bound.region.plain_f16:
        return "keys and values are not f16 as they lie"
    return refuses_tiles(bound, arch)


def decode_by_tiles(bound: Bound[AttendRegion], arch: Arch) -> tuple[Geometry, ...]:
    return _decode_tile(bound, arch), combine(bound, arch)


def decode_by_splits(bound: Bound[AttendRegion], arch: Arch) -> tuple[Geometry, ...]:
    """Few rows with short contexts have blocks of one query head, which are more and do less; the same bits.

    Predicted for 9B in asym3 on gfx1100, us of one head and of four: one row at 100 tokens 5.0 and 8.2, at 500 7.8 and 7.9; two rows at
    500 10.8 and 8.5; four at 100 7.0 and 8.3; 16 at 100 15.5 and 10.6."""
    region, whole = bound.region, _split(bound, arch)
    assert isinstance(whole.params, SplitParams)
    if not arch.tuning.blocks_of_a_head or whole.params.together == 1:
        return whole, combine(bound, arch)
    most = arch.tuning.blocks_of_a_head * splits_of(region)[0] // region.heads  # rows times context
    short = _split(bound, arch, one_head=True)
    return _where(f"T * C <= {most}", short), _where(f"T * C > {most}", whole), combine(bound, arch)


def _where(condition: str, shape: Geometry) -> Geometry:
    """Launched where a step is so."""
    heads, splits, rows = shape.grid
    return replace(shape, grid=(heads, f"({condition}) * ({splits})", rows))


def prefill_by_tiles(bound: Bound[AttendRegion], arch: Arch) -> tuple[Geometry, ...]:
    return *_rotate(bound), _tile(bound, arch)


def prefill_on_vectors(bound: Bound[AttendRegion], arch: Arch) -> tuple[Geometry, ...]:
    return *_rotate(bound), _vector(bound, arch)


def _split(bound: Bound[AttendRegion], arch: Arch, one_head: bool = False) -> Geometry:
    """one_head: a block takes one query head, with the sums of those that take several."""
    region, threads, size = bound.region, 256, bound.region.size
    # Keys of levels are chosen by many conditions: each takes a pair of scalar registers in a wave of 64.
    short = arch.scarce_registers or (region.coded and arch.wave == 64)
    vector = -(-size // (RUN * arch.wave)) * RUN
    lanes = power_above(-(-size // vector))
    # Queries and sums are 2 * vector registers a head; what the waves of a block leave in LDS stays below 33 kB.
    most = max(1, 32 // vector) if region.exact else -(-32 // vector)
    # Loads of the next iteration are in flight meanwhile: of heads of more than 512 there is room for few.
    ahead = 2 if short or size > 512 else arch.tuning.positions_ahead
    if arch.scarce_registers and not region.plain_f16:
        most = min(most, 2)
    if arch.scarce_registers and vector > RUN:
        most = ahead = 1
    head_blocks = -(-region.group // most)
    together = -(-region.group // head_blocks)
    heads_padded = power_above(together)
    if one_head:
        head_blocks, together = region.group, 1
    split, splits = splits_of(region)
    params = SplitParams(
        **vars(_scores(region)),
        waves=threads // arch.wave,
        vector=vector,
        lanes=lanes,
        side=arch.wave // lanes,
        ahead=ahead,
        together=together,
        heads_padded=heads_padded,
        head_blocks=head_blocks,
        split=split,
        splits=splits,
        pairs=run_of(region.k_format, size).pairs if arch.tuning.blocks_of_a_head else 0,
        always=arch.tuning.counts_loads and vector == RUN and not (arch.scarce_registers and region.plain_f16),
    )
    return Geometry(
        SPLIT,
        bound.name + ("_short" if one_head else "_split"),
        (str(region.kv_heads * head_blocks), split_count(region), bound.rows),
        threads,
        params,
        scratch=(split_scratch(region, written=True),),
        task="attend to each split for",
        declared=_split_lds(region, params),
    )


def _split_lds(region: AttendRegion, params: SplitParams) -> int:
    """Bytes of LDS: sums, best and total of each part of a block; rotated queries; the table of pairs of codes."""
    parts = params.waves * params.side
    sums = parts * (params.together * region.size + 2 * params.heads_padded)
    return 4 * (sums + (params.together * region.size if region.walsh else 0) + 2 * params.pairs)


def combine(bound: Bound[AttendRegion], arch: Arch) -> Geometry:
    threads, (split, splits) = 512, splits_of(bound.region)
    size = bound.region.size
    part = PART if size % PART == 0 else size
    groups = max(1, min(8, threads // -(-part // arch.wave) // arch.wave))
    return Geometry(
        COMBINE,
        bound.name + "_join",
        # nothing to combine, nothing to launch
        (str(bound.region.heads * (size // part)), f"{bound.rows} * (C > {split})", "1"),
        threads,
        CombineParams(1 << groups.bit_length() - 1, part, size // part, LOG2E, split, splits),
        scratch=(split_scratch(bound.region, written=False),),
    )


def softmax_of(region: AttendRegion) -> SoftmaxParams:
    factor = region.scale / region.softcap if region.softcap else region.scale * LOG2E
    return SoftmaxParams(factor, LOG2E, "-1e30f", region.group)


def _scores(region: AttendRegion) -> ScoreParams:
    return ScoreParams(
        **vars(softmax_of(region)),
        key_words=run_of(region.k_format, region.size).words,
        value_words=run_of(region.v_format, region.size).words,
    )


def _rotate(bound: Bound[AttendRegion]) -> tuple[Geometry, ...]:
    """The launch that rotates the queries where keys lie rotated by Walsh's functions; else none."""
    region = bound.region
    if not region.walsh:
        return ()
    grid, scratch, task = (str(region.heads), bound.rows, "1"), _rotated(region, written=True), "rotate the queries of"
    return (Geometry(ROTATE, bound.name + "_rotate", grid, 128, Params(), scratch=scratch, task=task),)


def _rotated(region: AttendRegion, written: bool) -> tuple[Scratch, ...]:
    if not region.walsh:
        return ()
    return (Scratch("rotated", "float", "f32", 4 * region.heads * region.size, written=written),)


def _tile(bound: Bound[AttendRegion], arch: Arch) -> Geometry:
    params = _tile_params(bound.region, arch, QUERY_ROWS, weight_planes=1, split=0, splits=0)
    return _tiles(bound, arch, "_tile", params, "1", _rotated(bound.region, written=False))


def _decode_tile(bound: Bound[AttendRegion], arch: Arch) -> Geometry:
    """The tiles of prefill, cut by splits of the context; weights, too, are pairs of f16."""
    # queries and pairs of weights lie in LDS together on some archs
    most = QUERY_ROWS if arch.has("mma_f16") else QUERY_ROWS // 2
    split, splits = splits_of(bound.region)
    params = _tile_params(bound.region, arch, most, weight_planes=2, split=split, splits=splits)
    scratch = (split_scratch(bound.region, written=True),)
    count = split_count(bound.region)
    return _tiles(bound, arch, "_split_tile", params, count, scratch, task="attend to each split for")


def _tile_params(
    region: AttendRegion, arch: Arch, most_query_rows: int, weight_planes: int, split: int, splits: int
) -> TileParams:
    """Groups of 16 queries, and two waves for each, so that the accumulators fit their registers."""
    padded, share = -(-region.size // 16) * 16, 2
    wide = padded > 128
    # Queries stay in registers where the operands of a query are few; in LDS there is room for both parts of 32 queries of 256.
    queries_in_registers = not arch.has("wmma_replicated") and not (wide and arch.has("wmma_f16"))
    query_rows = min(most_query_rows, QUERY_ROWS // 2 if wide and not queries_in_registers else QUERY_ROWS)
    return TileParams(
        **vars(_scores(region)),
        query_rows=query_rows,
        rows_tile=query_rows // region.group,
        padded=padded,
        planes=2,
        queries_in_registers=queries_in_registers,
        # Keys of the next iteration are fetched before this one's values are used, unless their levels need the registers.
        early=queries_in_registers and not wide and not (region.coded and arch.has("wmma_f16")),
        share=share,
        keys=16 * share * (1 if wide else 2),
        across=arch.has("mma_f16"),
        weight_planes=weight_planes,
        split=split,
        splits=splits,
    )


def _tiles(
    bound: Bound[AttendRegion],
    arch: Arch,
    suffix: str,
    params: TileParams,
    splits: str,
    scratch: tuple[Scratch, ...],
    task: str = "",
) -> Geometry:
    return Geometry(
        TILE,
        bound.name + suffix,
        (f"{bound.rows} / {params.rows_tile} + G", str(bound.region.kv_heads), splits),
        params.query_rows // 16 * params.share * arch.wave,
        params,
        promises=tuple(feature for feature in MATRIX_FEATURES if arch.has(feature)),
        scratch=scratch,
        task=task,
    )


def _vector(bound: Bound[AttendRegion], arch: Arch) -> Geometry:
    """Without matrix units: several lanes share a query, each with up to 32 elements of it, or 16 where registers are scarce."""
    region, threads, runs = bound.region, 256, -(-bound.region.size // 8)
    lanes = power_above(-(-runs // (2 if arch.scarce_registers else 4)))
    vector = -(-runs // lanes) * 8
    head_blocks = -(-region.group // (threads // lanes))
    together = -(-region.group // head_blocks)
    keys = max(4, 32768 // (2 * lanes * vector * (4 if region.exact else 2)))
    params = VectorParams(
        **vars(_scores(region)),
        rows_tile=threads // lanes // together,
        together=together,
        head_blocks=head_blocks,
        lanes=lanes,
        vector=vector,
        exact=region.exact,
        keys=min(64, 1 << keys.bit_length() - 1),
        ahead=4,
    )
    return Geometry(
        VECTOR,
        bound.name + "_vector",
        (f"{bound.rows} / {params.rows_tile} + G", str(region.kv_heads * head_blocks), "1"),
        threads,
        params,
        scratch=_rotated(region, written=False),
    )
