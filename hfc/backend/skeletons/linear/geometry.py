"""Which variant serves a linear region: the first of its class that does not refuse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hfc.backend.shape import Geometry
from hfc.backend.skeleton import RowsClass, Variant
from hfc.backend.skeletons.linear.choices import chosen_by
from hfc.backend.skeletons.linear.codes import geometry as codes
from hfc.backend.skeletons.linear.dot import geometry as dot
from hfc.backend.skeletons.linear.mma import geometry as mma
from hfc.backend.skeletons.linear.region import LinearRegion
from hfc.backend.skeletons.linear.scalar import geometry as scalar
from hfc.backend.skeletons.linear.skinny import geometry as skinny
from hfc.backend.skeletons.linear.tiled import geometry as tiled
from hfc.backend.skeletons.linear.warpgroup import geometry as warpgroup
from hfc.backend.skeletons.linear.wide import geometry as wide
from hfc.backend.spec import Bound
from hfc.target.arch import Arch

DECODE = (
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
)


def _as_decode(bound: Bound[LinearRegion], arch: Arch) -> tuple[Geometry, ...]:
    """By decode's own kernels; where those multiply bytes, by what they are in profile "exact", which a prompt's one row can afford."""
    if arch.has("mma_i8"):
        bound = replace(bound, name=f"{bound.name}_exact", region=replace(bound.region, single_product=False))
    return next(v for v in DECODE if v.refuses(bound, arch) is None).launches(bound, arch)


def _not_as_decode(bound: Bound[LinearRegion], arch: Arch) -> str | None:
    """Why the rows whose logits are wanted take a prompt's tiles.

    A prompt wants the logits of one row, for which tiles are half empty; and no product shows its rounding as directly: with one f16
    a weight the head made more than half of SmolLM2's divergence."""
    if bound.rows != "R":
        return "all rows of a step are multiplied, not only those whose logits are wanted"
    return None if bound.region.single_product else "the profile wants a prompt's products as they are, of pairs of f16"


VARIANTS: Mapping[RowsClass, tuple[Variant, ...]] = {
    "decode": DECODE,
    "prefill": (
        Variant("decode", "the rows whose logits are wanted, by the kernels of decode", _as_decode, _not_as_decode),
        Variant(
            "warpgroup",
            "products of warpgroups: weights become f16 in registers, inputs come by asynchronous copies",
            warpgroup.launches,
            warpgroup.refuses,
        ),
        Variant(
            "codes",
            "tiles of codes, multiplied by inputs of 8 bits in integer dot products",
            codes.launches,
            codes.refuses,
        ),
        Variant("mma", "tiles on matrix units, inputs staged as pairs of f16", mma.launches, mma.refuses),
        Variant("tiled", "tiles multiplied as f32: any size and format", tiled.launches),
    ),
}
