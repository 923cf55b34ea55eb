"""Joined regions: their launches one by one, as if nothing had joined them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hfc.backend import skeletons
from hfc.backend.shape import Geometry
from hfc.backend.skeleton import RowsClass
from hfc.backend.spec import Bound
from hfc.target.arch import Arch

APART = "each of the joined regions by itself"


def launches_of_members(bound: Bound, arch: Arch, rows_class: RowsClass) -> list[tuple[Geometry, ...]]:
    """Of each member, in order."""
    return [
        tuple(replace(made, member=number) for made in skeletons.geometry(member, arch, rows_class))
        for number, member in enumerate(bound.region.members)
    ]


def member_launches(rows_class: RowsClass) -> Callable[[Bound, Arch], tuple[Geometry, ...]]:
    """All of them as the launches of a variant."""

    def launches(bound: Bound, arch: Arch) -> tuple[Geometry, ...]:
        return tuple(made for launches in launches_of_members(bound, arch, rows_class) for made in launches)

    return launches
