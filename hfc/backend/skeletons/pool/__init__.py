"""pool: one entry of each run of tokens, a mean by gates; a thread carries one channel through all rows of a segment."""

from hfc.backend.shape import Geometry
from hfc.backend.skeleton import Skeleton, always
from hfc.backend.skeletons.pool.bind import bind
from hfc.backend.skeletons.pool.region import PoolRegion
from hfc.backend.spec import Bound
from hfc.backend.template import LITTLE_WORK, Params, template
from hfc.target.arch import Arch

THREADS = 128
POOL = template(__file__, "pool", LITTLE_WORK)


def launches(bound: Bound[PoolRegion], arch: Arch) -> tuple[Geometry, ...]:
    grid = (str(-(-bound.region.size // THREADS)), "G", "1")
    return (Geometry(POOL, bound.name, grid, THREADS, Params()),)


TOLERANCE = 1e-4
SKELETON = Skeleton(
    "pool",
    ("pool",),
    PoolRegion,
    bind,
    always(launches),
    (POOL,),
    tolerance=TOLERANCE,
    host="skeletons/pool/host.c.j2",
)
