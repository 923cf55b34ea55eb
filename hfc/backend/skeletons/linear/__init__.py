"""linear: matrix products of weights with rows of inputs."""

from hfc.backend.skeleton import Skeleton
from hfc.backend.skeletons.linear import experts
from hfc.backend.skeletons.linear.bind import bind
from hfc.backend.skeletons.linear.codes import geometry as codes
from hfc.backend.skeletons.linear.dot import geometry as dot
from hfc.backend.skeletons.linear.geometry import VARIANTS
from hfc.backend.skeletons.linear.library import geometry as library
from hfc.backend.skeletons.linear.mma import geometry as mma
from hfc.backend.skeletons.linear.region import LinearRegion
from hfc.backend.skeletons.linear.scalar import geometry as scalar
from hfc.backend.skeletons.linear.skinny import geometry as skinny
from hfc.backend.skeletons.linear.tiled import geometry as tiled
from hfc.backend.skeletons.linear.warpgroup import geometry as warpgroup
from hfc.backend.skeletons.linear.wide import geometry as wide

TEMPLATES = (
    *(scalar.SCALAR, wide.WIDE, dot.STAGE, dot.DOT, skinny.STAGE, skinny.ROW, skinny.SEVERAL, skinny.ring.RING),
    *(
        mma.STAGE,
        mma.MMA,
        warpgroup.WARPGROUP,
        codes.STAGE,
        codes.CODES,
        tiled.ROTATE,
        tiled.TILED,
        experts.SORT,
        library.FINISH,
    ),
)

SKELETON = Skeleton(
    "linear",
    ("linear", "expert_linear"),
    LinearRegion,
    bind,
    VARIANTS,
    TEMPLATES,
    tolerance=1e-3,  # activations in 15 bits with a scale a block, or pairs of f16
    of_bytes=2.5e-2,  # 8e-3 of inputs of all sizes alike, 1.4e-2 behind a gate; more where one of 32 is much larger than the others
    host="skeletons/linear/host.c.j2",
    by_library=library.by_library,
)
