"""top: the largest few of each row and where they stand; a thread block serves one row."""

from hfc.backend.shape import Geometry, one_row_per_block
from hfc.backend.skeleton import Skeleton, always
from hfc.backend.skeletons.top.bind import bind
from hfc.backend.skeletons.top.region import TopRegion
from hfc.backend.spec import Bound
from hfc.backend.template import KernelLimits, Params, template
from hfc.target.arch import Arch

TOP = template(__file__, "top", KernelLimits(256, "scans the vocabulary: only many lanes hide the latency"))


def launches(bound: Bound[TopRegion], arch: Arch) -> tuple[Geometry, ...]:
    return (Geometry(TOP, bound.name, one_row_per_block(bound), 512, Params()),)


TOLERANCE = 0.0  # places: the same or not; values are copied
SKELETON = Skeleton(
    "top",
    ("argmax", "top_candidates"),
    TopRegion,
    bind,
    always(launches),
    (TOP,),
    tolerance=TOLERANCE,
    host="skeletons/top/host.c.j2",
)
