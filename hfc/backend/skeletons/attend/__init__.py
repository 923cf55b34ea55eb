"""attend: attention over the KV cache."""

from hfc.backend.skeleton import Skeleton, Variant
from hfc.backend.skeletons.attend import geometry
from hfc.backend.skeletons.attend.bind import bind
from hfc.backend.skeletons.attend.region import AttendRegion

SKELETON = Skeleton(
    "attend",
    ("attend",),
    AttendRegion,
    bind,
    {
        "decode": (
            Variant("tiles", geometry.decode_by_tiles, geometry.refuses_decode_tiles),
            Variant("splits", geometry.decode_by_splits),
        ),
        "prefill": (
            Variant("tiles", geometry.prefill_by_tiles, geometry.refuses_tiles),
            Variant("lines", geometry.prefill_by_lines),
        ),
    },
    (geometry.SPLIT, geometry.COMBINE, geometry.TILE, geometry.PER_LINE, geometry.ROTATE),
    host="skeletons/attend/host.c.j2",
)
