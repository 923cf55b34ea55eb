"""Pointer: a piece of memory that a plan's launches are given. A plan names memory in no other way."""

from __future__ import annotations

from typing import Literal, NamedTuple

PointerKind = Literal["buffer", "weight", "const", "state", "peer", "meeting", "io"]


class Pointer(NamedTuple):
    """In a manifest it is the array [kind, name, plane], in messages the text kind:name, or kind:name.plane.

    plane: of a state ("k", "v" or "journal"; "" where it has one piece), of a peer's buffer the number of its rank, "" of everything else."""

    kind: PointerKind
    name: str
    plane: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" + (f".{self.plane}" if self.plane else "")

    @classmethod
    def buffer(cls, name: str) -> Pointer:
        """Scratch of the plan, by its name there; `weight`, `const` and `state` likewise."""
        return cls("buffer", name)

    @classmethod
    def weight(cls, name: str) -> Pointer:
        return cls("weight", name)

    @classmethod
    def const(cls, name: str) -> Pointer:
        return cls("const", name)

    @classmethod
    def state(cls, name: str, plane: str = "") -> Pointer:
        return cls("state", name, plane)

    @classmethod
    def peer(cls, name: str, rank: int) -> Pointer:
        """The buffer of that name in the memory of another rank, or what was brought of it."""
        return cls("peer", name, str(rank))

    @classmethod
    def meeting(cls, name: str) -> Pointer:
        """MeetingWords of the meeting behind which other ranks' values of that name are read."""
        return cls("meeting", name)

    @property
    def is_read_only(self) -> bool:
        """No kernel writes it: it is made when the model is loaded."""
        return self.kind in ("weight", "const", "peer")


# What the runtime hands a step and takes from it, in memory of its own.
# The step buffer is the first argument of every kernel, and a pointer of the one that fills in guesses.
STEP = Pointer("io", "step")
PARAMETERS = Pointer("io", "parameters")  # of sampling, for each wanted row
RANKS = Pointer("io", "ranks")  # where the ranks of a model meet, see HfcRanks
TOKENS = Pointer("io", "tokens")  # the chosen ones, and after them the step's own
