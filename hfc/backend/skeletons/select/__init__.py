"""select: one candidate a row; a wave walks through the rows of one segment."""

from hfc.backend.shape import Geometry
from hfc.backend.skeleton import Skeleton, always
from hfc.backend.skeletons.select.bind import bind
from hfc.backend.skeletons.select.region import SelectRegion
from hfc.backend.spec import Bound
from hfc.backend.template import KernelLimits, Params, template
from hfc.base.dataclass import dataclass
from hfc.target.arch import Arch


@dataclass(frozen=True)
class SelectParams(Params):
    """terms_per_lane: products that a lane adds up, of each candidate."""

    terms_per_lane: int


SELECT = template(__file__, "select", KernelLimits(128, "one wave a segment"), SelectParams)


def launches(bound: Bound[SelectRegion], arch: Arch) -> tuple[Geometry, ...]:
    params = SelectParams(-(-bound.region.rank // arch.wave))
    return (Geometry(SELECT, bound.name, ("G", "1", "1"), arch.wave, params),)


TOLERANCE = 0.0  # tokens, too: the sums of random numbers that are compared lie far apart
SKELETON = Skeleton(
    "select",
    ("select_candidates",),
    SelectRegion,
    bind,
    always(launches),
    (SELECT,),
    tolerance=TOLERANCE,
    host="skeletons/select/host.c.j2",
)
