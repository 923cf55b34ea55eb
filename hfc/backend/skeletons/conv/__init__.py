"""conv: a causal depthwise convolution that stands alone."""

from hfc.backend.shape import Geometry
from hfc.backend.skeleton import Skeleton, always
from hfc.backend.skeletons.conv.bind import bind
from hfc.backend.skeletons.conv.region import ConvRegion
from hfc.backend.spec import Bound
from hfc.backend.template import LITTLE_WORK, Params, template
from hfc.target.arch import Arch

THREADS = 128
CONV = template(__file__, "conv", LITTLE_WORK)


def launches(bound: Bound[ConvRegion], arch: Arch) -> tuple[Geometry, ...]:
    grid = (str(-(-bound.region.channels // THREADS)), "G", "1")
    return (Geometry(CONV, bound.name, grid, THREADS, Params()),)


TOLERANCE = 1e-4
SKELETON = Skeleton(
    "conv",
    ("causal_conv",),
    ConvRegion,
    bind,
    always(launches),
    (CONV,),
    tolerance=TOLERANCE,
    host="skeletons/conv/host.c.j2",
)
