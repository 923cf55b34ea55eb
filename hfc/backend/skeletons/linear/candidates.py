"""The ways to multiply a dense linear region in decode that are compared: by prediction (scripts/choose_decode.py) or on a card (`hfc tune`)."""

from __future__ import annotations

from itertools import product

from hfc.backend.shape import Geometry
from hfc.backend.skeletons.linear.choices import Candidate
from hfc.backend.skeletons.linear.dot import geometry as dot
from hfc.backend.skeletons.linear.region import LinearRegion
from hfc.backend.skeletons.linear.skinny import geometry as skinny
from hfc.backend.spec import Bound
from hfc.target.arch import Arch

SPLITS = (1, 2, 4, 8)
BLOCKS = (
    (2, True),
    (2, False),
    (3, False),
    (4, False),
)  # resident, ahead: registers for prefetched weights, or for more waves

RINGS = (
    (1, 4, 0), (1, 8, 0), (2, 2, 0), (2, 3, 0), (2, 4, 0), (3, 2, 0), (3, 3, 0),
    (1, 2, 24), (1, 3, 24), (1, 3, 16), (1, 4, 16), (1, 5, 16),
)  # fmt: skip  # resident, stages: of weights on their way in LDS, waves: of a block, 0: as many as without


def dots(arch: Arch) -> list[Candidate]:
    """By integer dot products."""
    splits = (1, 2, 4) if arch.wave == 32 else (1, 2)
    outputs = (2, 3, 4) if arch.wave == 32 else (2,)
    every = product(outputs, splits, (True, False))
    made = [Candidate("dot", False, split, count, inputs_first=first) for count, split, first in every]
    return [*made, *(Candidate("dot", True, split, 2) for split in splits)]


def serves(region: LinearRegion, arch: Arch, wanted: Candidate) -> bool:
    """False: what the candidate asks for cannot be had, so its kernels are another one's."""
    return not wanted.inputs_first or dot.reads_first(region, arch)


def candidates(bound: Bound[LinearRegion], arch: Arch) -> list[Candidate]:
    """Those that can serve the region, each with everything that it may choose; none for experts."""
    if bound.region.top:
        return []
    found = dots(arch) if dot.refuses(bound, arch) is None else []
    found = [way for way in found if serves(bound.region, arch, way)]
    if skinny.cannot(bound, arch) is None:
        most = skinny.most_split(bound.region, arch)
        found += [
            Candidate("skinny", split=split, resident=resident, ahead=ahead)
            for split, (resident, ahead) in product(SPLITS, BLOCKS)
            if split <= most
        ]
        rings = [
            Candidate("skinny", split=split, resident=resident, stages=stages, waves=waves)
            for split, (resident, stages, waves) in product(SPLITS, RINGS)
            if split <= most
        ]
        found += [ring for ring in rings if skinny.has_ring(bound, arch, ring)]
    return found


def launches_as(bound: Bound[LinearRegion], arch: Arch, wanted: Candidate) -> tuple[Geometry, ...]:
    """The launches of the region in this way."""
    return (skinny if wanted.variant == "skinny" else dot).launches_of(bound, arch, wanted)
