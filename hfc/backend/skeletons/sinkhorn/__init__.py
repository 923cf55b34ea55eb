"""sinkhorn: small matrices whose rows and columns are made to add up to 1; a wave serves one row of the step."""

from hfc.backend.shape import Geometry, one_row_per_block
from hfc.backend.skeleton import Skeleton, always
from hfc.backend.skeletons.sinkhorn.bind import bind
from hfc.backend.skeletons.sinkhorn.region import SinkhornRegion
from hfc.backend.spec import Bound
from hfc.backend.template import KernelLimits, Params, template
from hfc.base.dataclass import dataclass
from hfc.target.arch import Arch


@dataclass(frozen=True)
class SinkhornParams(Params):
    """lanes: neighbours over which a column is added up, a power of two; each holds a row of the matrix."""

    lanes: int


SINKHORN = template(__file__, "sinkhorn", KernelLimits(128, "one wave a row, a dozen registers a lane"), SinkhornParams)


def launches(bound: Bound[SinkhornRegion], arch: Arch) -> tuple[Geometry, ...]:
    params = SinkhornParams(1 << (bound.region.size - 1).bit_length())
    return (Geometry(SINKHORN, bound.name, one_row_per_block(bound), arch.wave, params),)


TOLERANCE = 1e-4
SKELETON = Skeleton(
    "sinkhorn",
    ("sinkhorn",),
    SinkhornRegion,
    bind,
    always(launches),
    (SINKHORN,),
    tolerance=TOLERANCE,
    host="skeletons/sinkhorn/host.c.j2",
)
