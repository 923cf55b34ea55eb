"""entries: attention over a window of one cache and entries of another; a block serves a few query heads of one row."""

from hfc.backend.lanes.kv_runs import RUN, run_of
from hfc.backend.shape import Geometry
from hfc.backend.skeleton import Skeleton, Variant
from hfc.backend.skeletons.attend.geometry import LOG2E
from hfc.backend.skeletons.entries.bind import bind
from hfc.backend.skeletons.entries.region import EntriesRegion
from hfc.backend.spec import Bound
from hfc.backend.template import KernelLimits, Params, template
from hfc.base.dataclass import dataclass
from hfc.target.arch import Arch

THREADS = 256
LEAST_HEADS = 8  # of a KV head, that waves of a block share out


@dataclass(frozen=True)
class EntriesParams(Params):
    """runs: of eight elements, of a lane: a wave takes a whole key.  together: query heads of a wave.  apart: each wave has heads of its own
    and takes all positions; else the waves of a block share its heads and take positions in turn.  head_blocks: blocks that share the query
    heads of a KV head, `block_heads` each.  ahead: positions whose keys and values a wave fetches before it uses one.  words: registers of
    a run of keys, and of values, of either cache, at most.  factor: of the queries, for scores to base 2."""

    runs: int
    together: int
    apart: bool
    head_blocks: int
    block_heads: int
    ahead: int
    words: int
    factor: float
    log2e: float


ENTRIES = template(
    __file__,
    "entries",
    KernelLimits(
        128, "bound by memory: keys and values of a few positions are under way", tunables=("ahead", "together")
    ),
    EntriesParams,
)


def in_turn(bound: Bound[EntriesRegion], arch: Arch) -> tuple[Geometry, ...]:
    """Few rows: many blocks, whose waves share the positions."""
    return _launches(bound, arch, apart=False)


def by_heads(bound: Bound[EntriesRegion], arch: Arch) -> tuple[Geometry, ...]:
    """Many rows: the waves of a block read the same keys, which lie in its compute unit's cache then. Predicted for 512 tokens of V4 Flash on
    an RX 7900 XTX, us of a layer with an indexer: 7,495 -> 1,085, of one without 5,065 -> 734."""
    return _launches(bound, arch, apart=True)


def refuses_heads(bound: Bound[EntriesRegion], arch: Arch) -> str | None:
    if bound.region.entries.walsh or (bound.region.near and bound.region.near.walsh):
        return "keys lie rotated: the queries of so many heads would not fit LDS beside each other"
    heads = bound.region.heads // bound.region.kv_heads
    return None if heads >= LEAST_HEADS else f"{heads} query heads share a KV head, less than {LEAST_HEADS}"


def _launches(bound: Bound[EntriesRegion], arch: Arch, apart: bool) -> tuple[Geometry, ...]:
    region = bound.region
    runs = -(-region.size // (RUN * arch.wave))
    group = region.heads // region.kv_heads
    # A query and its sums are 16 registers of each run; what waves that share heads leave in LDS stays within 32 kB.
    most = max(1, (2 if arch.scarce_registers else 4) // runs)
    waves = THREADS // arch.wave
    blocks_of = most * waves if apart else most
    head_blocks = -(-group // blocks_of)
    block_heads = -(-group // head_blocks)
    together = -(-block_heads // waves) if apart else block_heads
    ahead = 1 if arch.scarce_registers or runs > 2 else 2
    words = max(run_of(form, region.size).words for form in region.kv_formats)
    factor = region.scale * LOG2E
    params = EntriesParams(runs, together, apart, head_blocks, block_heads, ahead, words, factor, LOG2E)
    grid = (str(region.kv_heads * head_blocks), bound.rows, "1")
    return (Geometry(ENTRIES, bound.name + "_heads" * apart, grid, THREADS, params),)


SKELETON = Skeleton(
    "entries",
    ("attend_entries",),
    EntriesRegion,
    bind,
    {
        "decode": (Variant("in turn", "the waves of a block share the positions", in_turn),),
        "prefill": (
            Variant(
                "by heads", "each wave of a block has heads of its own, over the same keys", by_heads, refuses_heads
            ),
            Variant("in turn", "the waves of a block share the positions", in_turn),
        ),
    },
    (ENTRIES,),
    tolerance=1e-3,
    host="skeletons/entries/host.c.j2",
)
