"""A target's checkpoint and its draft's as one, for recipes of both."""

from __future__ import annotations

from dataclasses import replace

from hfc.formats.checkpoint.checkpoint import Checkpoint
from hfc.formats.recipe import DRAFT_TENSORS


def joined(target: Checkpoint, draft: Checkpoint) -> Checkpoint:
    """The target with the draft's tensors beside its own, their names after DRAFT_TENSORS. Closing it closes both."""
    first = len(target.files)
    moved = {
        DRAFT_TENSORS + name: replace(info, name=DRAFT_TENSORS + name, file=first + info.file)
        for name, info in draft.tensors.items()
    }
    published = {
        DRAFT_TENSORS + name: replace(
            made,
            info=moved[DRAFT_TENSORS + name],
            parts={role: replace(part, file=first + part.file) for role, part in made.parts.items()},
        )
        for name, made in draft.published.items()
    }
    return replace(
        target,
        files=[*target.files, *draft.files],
        tensors={**target.tensors, **moved},
        published={**target.published, **published},
    )
