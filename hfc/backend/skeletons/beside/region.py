"""Regions that do not read each other and share launches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from hfc.backend.spec import Arg, Bound, KernelRegion
from hfc.base.dataclass import dataclass
from hfc.formats.block import BlockFormat
from hfc.formats.kv_format import KvFormat

Thing = TypeVar("Thing", bound="BlockFormat | KvFormat")


@dataclass(frozen=True)
class BesideRegion(KernelRegion):
    """members: the regions that were joined."""

    members: tuple[Bound, ...] = ()

    @property
    def matrix_args(self) -> tuple[Arg, ...]:
        return tuple(arg for member in self.members for arg in member.region.matrix_args)

    @property
    def weight_formats(self) -> tuple[BlockFormat, ...]:
        return _by_name(form for member in self.members for form in member.region.weight_formats)

    @property
    def kv_formats(self) -> tuple[KvFormat, ...]:
        return _by_name(form for member in self.members for form in member.region.kv_formats)

    @property
    def journals(self) -> tuple[tuple[Arg, int], ...]:
        return tuple(journal for member in self.members for journal in member.region.journals)

    @property
    def gated_formats(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for member in self.members for name in member.region.gated_formats))


def _by_name(found: Iterable[Thing]) -> tuple[Thing, ...]:
    return tuple({form.name: form for form in found}.values())
