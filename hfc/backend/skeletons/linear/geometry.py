"""Which variant serves a linear region: the first of its class that does not refuse."""

from __future__ import annotations

from collections.abc import Mapping

from hfc.backend.skeleton import RowsClass, Variant
from hfc.backend.skeletons.linear.dot import geometry as dot
from hfc.backend.skeletons.linear.mma import geometry as mma
from hfc.backend.skeletons.linear.scalar import geometry as scalar
from hfc.backend.skeletons.linear.skinny import geometry as skinny
from hfc.backend.skeletons.linear.tiled import geometry as tiled
from hfc.backend.skeletons.linear.wide import geometry as wide

VARIANTS: Mapping[RowsClass, tuple[Variant, ...]] = {
    "decode": (
        Variant("skinny", skinny.launches, skinny.refuses),
        Variant("dot", dot.launches, dot.refuses),
        Variant("wide", wide.launches, wide.refuses),
        Variant("scalar", scalar.launches),
    ),
    "prefill": (
        Variant("mma", mma.launches, mma.refuses),
        Variant("tiled", tiled.launches),
    ),
}
