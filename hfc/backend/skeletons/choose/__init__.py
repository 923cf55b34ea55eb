"""choose: the positions of a cache whose keys a row scores highest: one launch scores, one chooses. Rows that see no more than they may
choose have no scores."""

from hfc.backend.lanes.kv_runs import RUN, run_of
from hfc.backend.shape import Geometry, Scratch
from hfc.backend.skeleton import Skeleton, always
from hfc.backend.skeletons.choose.bind import bind
from hfc.backend.skeletons.choose.region import ChooseRegion
from hfc.backend.spec import Bound
from hfc.backend.template import KernelLimits, Params, template
from hfc.base.dataclass import dataclass
from hfc.target.arch import Arch

THREADS = 256
ROUNDS = 1  # keys that a thread block scores with the same lanes, one after the other: of more there are few blocks


@dataclass(frozen=True)
class KeyScoreParams(Params):
    """lanes: neighbours that share a key, `runs` runs of eight elements each.  words: registers of a run.  keys: of a block."""

    lanes: int
    runs: int
    words: int
    keys: int


SCORES = template(
    __file__,
    "choose_scores",
    KernelLimits(128, "bound by arithmetic: a key lies in registers, queries in LDS"),
    KeyScoreParams,
)
BEST = template(
    __file__, "choose_best", KernelLimits(256, "reads scores again and again: only many lanes hide the latency")
)


def launches(bound: Bound[ChooseRegion], arch: Arch) -> tuple[Geometry, ...]:
    region = bound.region
    runs = -(-region.size // RUN)
    lanes = min(arch.wave, 1 << (-(-runs // 4) - 1).bit_length())
    keys = THREADS // lanes * ROUNDS
    params = KeyScoreParams(lanes, -(-runs // lanes), run_of(region.k_format, region.size).words, keys)
    # nothing to score, nothing to launch
    blocks = f"(C / {region.every} > {region.top}) * ((C / {region.every} + {keys - 1}) / {keys})"
    return (
        Geometry(
            SCORES,
            bound.name + "_scores",
            (blocks, bound.rows, "1"),
            THREADS,
            params,
            scratch=(_scores(region, written=True),),
            task="score keys for",
        ),
        Geometry(
            BEST, bound.name, (bound.rows, "1", "1"), THREADS, Params(), scratch=(_scores(region, written=False),)
        ),
    )


def _scores(region: ChooseRegion, written: bool) -> Scratch:
    return Scratch("key_scores", "float", "f32", 4 * region.capacity, written=written)


SKELETON = Skeleton(
    "choose",
    ("choose",),
    ChooseRegion,
    bind,
    always(launches),
    (SCORES, BEST),
    tolerance=0.0,
    host="skeletons/choose/host.c.j2",
)
