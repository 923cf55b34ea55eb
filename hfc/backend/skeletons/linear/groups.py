"""The matrices of a linear region as thread blocks see them: which block makes which outputs."""

from __future__ import annotations

from hfc.backend.lanes.loaders import CONTIGUOUS, half_loader, lane_loader
from hfc.backend.skeletons.linear.region import LinearRegion

PLAIN_FORMATS = ("f32", "f16", "bf16")  # with a run loader in device/codes.h


def refuses_words(region: LinearRegion) -> str | None:
    """Why lanes cannot take 32 elements of every weight at once; None: they can."""
    if region.k % CONTIGUOUS.elements:
        return f"K of {region.k} is no multiple of {CONTIGUOUS.elements}"
    for form in region.weight_formats:
        if not (lane_loader(form) and half_loader(form) if form.quantized else form.name in PLAIN_FORMATS):
            return f"{form.name} has no loader of whole words"
    return None


def group_blocks(region: LinearRegion, outputs: int) -> tuple[tuple[int, ...], int]:
    """First block of each group, and the number of blocks; a block makes `outputs` of every matrix of its group."""
    counts = [-(-group[0].n // outputs) for group in region.groups]
    return tuple(sum(counts[:i]) for i in range(len(counts))), sum(counts)
