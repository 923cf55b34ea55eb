"""attend: attention over the KV cache."""

from hfc.backend.skeleton import Skeleton, Variant
from hfc.backend.skeletons.attend import geometry, group
from hfc.backend.skeletons.attend.bind import bind
from hfc.backend.skeletons.attend.region import AttendRegion

SKELETON = Skeleton(
    "attend",
    ("attend",),
    AttendRegion,
    bind,
    {
        "decode": (
            Variant(
                "tiles",
                "tiles of queries on matrix units, cut by splits",
                geometry.decode_by_tiles,
                geometry.refuses_decode_tiles,
            ),
            Variant(
                "group",
                "query heads of a KV head together on matrix units, keys and values by bulk copies",
                group.launches,
                group.refuses,
            ),
            Variant(
                "splits", "split-KV: blocks share the context, lanes the elements of a head", geometry.decode_by_splits
            ),
        ),
        "prefill": (
            Variant("tiles", "tiles of queries on matrix units", geometry.prefill_by_tiles, geometry.refuses_tiles),
            Variant("vectors", "a few lanes a query, multiplied as f32", geometry.prefill_on_vectors),
        ),
    },
    (group.GROUP, geometry.SPLIT, geometry.COMBINE, geometry.TILE, geometry.VECTOR, geometry.ROTATE),
    tolerance=2e-3,  # scores or weights of values in f16
    host="skeletons/attend/host.c.j2",
)
