"""delta: the gated delta rule with its convolution, norms and gate, states in place."""

from hfc.backend.skeleton import Skeleton, Variant
from hfc.backend.skeletons.delta import geometry
from hfc.backend.skeletons.delta.bind import bind
from hfc.backend.skeletons.delta.region import DeltaRegion

SKELETON = Skeleton(
    "delta",
    ("gated_delta",),
    DeltaRegion,
    bind,
    {
        "decode": (
            Variant("whole", "one launch: a block carries a key head through a short segment", geometry.decode),
        ),
        "prefill": (
            Variant("columns", "long segments in four launches, the state's columns in parallel", geometry.prefill),
        ),
    },
    (geometry.DELTA, geometry.STAGE, geometry.COLUMNS, geometry.FINISH),
    tolerance=1e-3,  # chunks of products in reduced precision
    host="skeletons/delta/host.c.j2",
)
