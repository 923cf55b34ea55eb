"""route: the best experts of a row and their shares; a wave serves one row."""

from hfc.backend.shape import Geometry, one_row_per_block
from hfc.backend.skeleton import Skeleton, always
from hfc.backend.skeletons.route.bind import bind
from hfc.backend.skeletons.route.region import RouteRegion
from hfc.backend.spec import Bound
from hfc.backend.template import KernelLimits, Params, template
from hfc.base.dataclass import dataclass
from hfc.target.arch import Arch


@dataclass(frozen=True)
class RouteParams(Params):
    """A lane holds the logits of `experts_per_lane` experts and keeps `choices_per_lane` of the choices."""

    experts_per_lane: int
    choices_per_lane: int


ROUTE = template(__file__, "route", KernelLimits(128, "one wave a row"), RouteParams)


def launches(bound: Bound[RouteRegion], arch: Arch) -> tuple[Geometry, ...]:
    region = bound.region
    params = RouteParams(-(-region.experts // arch.wave), -(-region.top // arch.wave))
    return (Geometry(ROUTE, bound.name, one_row_per_block(bound), arch.wave, params),)


TOLERANCE = 1e-4
SKELETON = Skeleton(
    "route",
    ("route",),
    RouteRegion,
    bind,
    always(launches),
    (ROUTE,),
    tolerance=TOLERANCE,
    host="skeletons/route/host.c.j2",
)
