"""Which variant serves a linear region: the first of its class that does not refuse."""

from __future__ import annotations

from collections.abc import Mapping

from hfc.backend.skeleton import RowsClass, Variant
from hfc.backend.skeletons.linear.choices import chosen_by
from hfc.backend.skeletons.linear.dot import geometry as dot
from hfc.backend.skeletons.linear.mma import geometry as mma
from hfc.backend.skeletons.linear.scalar import geometry as scalar
from hfc.backend.skeletons.linear.skinny import geometry as skinny
from hfc.backend.skeletons.linear.tiled import geometry as tiled
from hfc.backend.skeletons.linear.warpgroup import geometry as warpgroup
from hfc.backend.skeletons.linear.wide import geometry as wide

VARIANTS: Mapping[RowsClass, tuple[Variant, ...]] = {
    "decode": (
        Variant(
            "skinny",
            "16 outputs x 16 rows a wave on matrix units: every weight is read once a step",
            skinny.launches,
            skinny.refuses,
            chosen_by,
        ),
        Variant("dot", "integer dot products with inputs of 15 bits", dot.launches, dot.refuses, chosen_by),
        Variant("wide", "whole words of 32 weights, multiplied as f32", wide.launches, wide.refuses),
        Variant("scalar", "weights one by one: any size and format", scalar.launches),
    ),
    "prefill": (
        Variant(
            "warpgroup",
            "products of warpgroups: weights become f16 in registers, inputs come by asynchronous copies",
            warpgroup.launches,
            warpgroup.refuses,
        ),
        Variant("mma", "tiles on matrix units, inputs staged as pairs of f16", mma.launches, mma.refuses),
        Variant("tiled", "tiles multiplied as f32: any size and format", tiled.launches),
    ),
}
