"""The skeletons, discovered: every folder here is one and exports SKELETON."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator

from hfc.backend.shape import Geometry, LibraryCall
from hfc.backend.skeleton import ROWS_CLASSES, RowsClass, Skeleton, Variant
from hfc.backend.spec import Bound
from hfc.target.arch import Arch


def discover(folders: Iterable[str], prefix: str) -> dict[str, Skeleton]:
    """SKELETON of every package in `folders`, by stem. prefix: of the packages' names."""
    found = (importlib.import_module(f"{prefix}{module.name}").SKELETON for module in pkgutil.iter_modules(folders))
    return {skeleton.stem: skeleton for skeleton in found}


SKELETONS: dict[str, Skeleton] = discover(__path__, f"{__name__}.")


def geometry(bound: Bound, arch: Arch, rows_class: RowsClass) -> tuple[Geometry, ...]:
    """The launches of `bound` on `arch`, in order. Most regions are the same for few rows and many."""
    return chosen(bound, arch, rows_class).launches(bound, arch)


def chosen(bound: Bound, arch: Arch, rows_class: RowsClass) -> Variant:
    """The first variant that serves the region; the last one of every skeleton refuses nothing."""
    assert rows_class in ROWS_CLASSES, rows_class
    return next(v for v in SKELETONS[bound.stem].variants[rows_class] if v.refuses(bound, arch) is None)


def by_library(bound: Bound, arch: Arch) -> tuple[Geometry | LibraryCall, ...]:
    """The launches of a prefill that leaves products to a library; () where the region's own kernels serve it."""
    return SKELETONS[bound.stem].by_library(bound, arch)


def verdicts(bound: Bound, arch: Arch, rows_class: RowsClass) -> Iterator[tuple[Variant, str | None]]:
    """Every variant in the order of preference, with why it refuses the region."""
    return ((v, v.refuses(bound, arch)) for v in SKELETONS[bound.stem].variants[rows_class])
