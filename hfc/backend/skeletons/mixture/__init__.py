"""mixture: a mixture of experts, its router included, in three launches where rows are few."""

from hfc.backend.members import APART, member_launches
from hfc.backend.skeleton import Skeleton, Variant
from hfc.backend.skeletons.mixture.bind import bind
from hfc.backend.skeletons.mixture.geometry import DOWN, PREPARE, STAGE, UP, launches, refuses
from hfc.backend.skeletons.mixture.region import MixtureRegion

LAUNCHES = 3  # with the router, where it is one of the regions; a fourth stages inputs of second products that do not fit into LDS

SKELETON = Skeleton(
    "mixture",
    (),
    MixtureRegion,
    bind,
    {
        "decode": (
            Variant("joined", "all experts in one launch a product", launches, refuses),
            Variant("apart", APART, member_launches("decode")),
        ),
        "prefill": (Variant("apart", APART, member_launches("prefill")),),
    },
    (PREPARE, UP, STAGE, DOWN),
    tolerance=2e-3,  # two products one after another, each as the skeleton `linear` makes it
    of_bytes=5e-2,  # likewise
)
