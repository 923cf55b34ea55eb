"""beside: regions that do not read each other, whose thread blocks share launches where rows are few."""

from hfc.backend.members import APART, member_launches
from hfc.backend.skeleton import Skeleton, Variant
from hfc.backend.skeletons.beside.geometry import bind, launches, launches_of_one_row, refuses
from hfc.backend.skeletons.beside.region import BesideRegion

__all__ = ["SKELETON", "launches_of_one_row"]

SKELETON = Skeleton(
    "beside",
    (),
    BesideRegion,
    bind,
    {
        "decode": (
            Variant("joined", "the kernels of all regions in one launch", launches, refuses),
            Variant("apart", APART, member_launches("decode")),
        ),
        "prefill": (Variant("apart", APART, member_launches("prefill")),),
    },
    (),
    tolerance=1e-3,  # the widest of its members'
    of_bytes=2.5e-2,  # likewise
)
