"""delta: the gated delta rule with its convolution, norms and gate, states in place."""

from hfc.backend.skeleton import Skeleton, Variant
from hfc.backend.skeletons.delta import geometry
from hfc.backend.skeletons.delta.bind import bind
from hfc.backend.skeletons.delta.region import DeltaRegion

SKELETON = Skeleton(
    "delta",
    ("linear_recurrence",),
    DeltaRegion,
    bind,
    {
        "decode": (
            Variant(
                "short", "a block carries a key head, or columns of a value head, through a segment", geometry.decode
            ),
        ),
        "prefill": (
            Variant("columns", "long segments in four launches, the state's columns in parallel", geometry.prefill),
        ),
    },
    (geometry.DELTA, geometry.PARTS, geometry.JOIN, geometry.STAGE, geometry.COLUMNS, geometry.FINISH),
    tolerance=1e-3,  # chunks of products in reduced precision
    host="skeletons/delta/host.c.j2",
)
