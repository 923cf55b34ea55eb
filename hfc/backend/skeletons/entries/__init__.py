"""entries: attention over a window of one cache and entries of another; a block serves a few query heads of one row."""

from hfc.backend.lanes.kv_runs import RUN, run_of
from hfc.backend.shape import Geometry
from hfc.backend.skeleton import Skeleton, always
from hfc.backend.skeletons.entries.bind import bind
from hfc.backend.skeletons.entries.region import EntriesRegion
from hfc.backend.spec import Bound
from hfc.backend.template import KernelLimits, Params, template
from hfc.base.dataclass import dataclass
from hfc.target.arch import Arch

THREADS = 256
LOG2E = 1.4426950408889634


@dataclass(frozen=True)
class EntriesParams(Params):
    """runs: of eight elements, of a lane: a wave takes a whole key.  together: query heads of a block, of which a KV head has `head_blocks`.
    ahead: positions whose keys and values a wave fetches before it uses one.  words: registers of a run of keys, and of values, of either
    cache, at most.  factor: of the queries, for scores to base 2."""

    runs: int
    together: int
    head_blocks: int
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


def launches(bound: Bound[EntriesRegion], arch: Arch) -> tuple[Geometry, ...]:
    region = bound.region
    runs = -(-region.size // (RUN * arch.wave))
    group = region.heads // region.kv_heads
    # A query and its sums are 16 registers of each run; what the waves of a block leave in LDS stays within 32 kB.
    most = max(1, (2 if arch.scarce_registers else 4) // runs)
    head_blocks = -(-group // most)
    ahead = 1 if arch.scarce_registers or runs > 2 else 2
    words = max(run_of(form, region.size).words for form in region.kv_formats)
    params = EntriesParams(runs, -(-group // head_blocks), head_blocks, ahead, words, region.scale * LOG2E, LOG2E)
    grid = (str(region.kv_heads * head_blocks), bound.rows, "1")
    return (Geometry(ENTRIES, bound.name, grid, THREADS, params),)


SKELETON = Skeleton(
    "entries",
    ("attend_entries",),
    EntriesRegion,
    bind,
    always(launches),
    (ENTRIES,),
    tolerance=1e-3,
    host="skeletons/entries/host.c.j2",
)
