"""Scales of the groups that one of four lanes scales alone (device/int8_row.h), out of the words that its loader read, in C."""

from __future__ import annotations

import numpy as np

from hfc.backend.lanes.loaders import LaneLoader, scale_words, starts_of_calls
from hfc.backend.lanes.scales import scale_lines
from hfc.base.dataclass import dataclass

PARTS = 4  # lanes that share a weight row


def own_symbol(loader: LaneLoader, number: int) -> str:
    """Of the function for set `number` of groups."""
    return f"{loader.symbol}_own{number or ''}"


@dataclass(frozen=True)
class OwnGroups:
    """The groups of each lane in one set, as elements from a call's first. begins: of a lane's first group.  step: from it to its next."""

    begins: tuple[int, ...]
    step: int

    @property
    def c(self) -> str:
        """`begins` in C, in `part`: a chain of choices would become a table in memory."""
        first, one, two, both = self.begins
        assert both - two == one - first, f"{self.begins}: no sum of two steps"
        return f"{first} + part % 2 * {one - first} + part / 2 * {two - first}"


def own_groups(loader: LaneLoader, each: int) -> list[OwnGroups]:
    """One for every PARTS * each groups of a call."""
    begins = [loader.map.offsets[loader.groups.index(g)] for g in range(loader.group_count)]
    found = []
    for first in range(0, loader.group_count, PARTS * each):
        own = [begins[at : at + each] for at in range(first, first + PARTS * each, each)]
        steps = {some[-1] - some[0] for some in own}
        assert len(steps) == 1, f"{loader.symbol}: lanes differ in their groups"
        found.append(OwnGroups(tuple(some[0] for some in own), steps.pop()))
    return found


def own_scales_source(loader: LaneLoader, each: int) -> str:
    """Functions that make scale[each] (and low[each]) of lane `part`, one for every PARTS * each groups of call c."""
    return "".join(_source(loader, each, number, own) for number, own in enumerate(own_groups(loader, each)))


def _source(loader: LaneLoader, each: int, number: int, own: OwnGroups) -> str:
    form, lanes = loader.form, loader.map
    starts = (starts_of_calls(form, lanes)[:, None] + np.array(own.begins)).ravel()
    low = f", float (&low)[{each}]" if loader.has_low else ""
    return "\n".join([
        f"HFC_FUNCTION void {own_symbol(loader, number)}(const uint32_t (&raw)[{loader.words}], int c, int part, "
        f"float (&scale)[{each}]{low}) {{",
        f"  const int i = ({lanes.base}) + {own.c};",
        "  (void)i;",
        *scale_words(form, lanes),
        *scale_lines(form, starts, [0, own.step][:each]),
        "}",
        "",
    ])  # fmt: skip
