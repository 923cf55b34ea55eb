"""Pointer: a piece of memory that a plan's launches are given. A plan names memory in no other way."""

from __future__ import annotations

from typing import Literal, NamedTuple

PointerKind = Literal["buffer", "weight", "const", "state", "io"]


class Pointer(NamedTuple):
    """In a manifest it is the array [kind, name, plane], in messages the text kind:name, or kind:name.plane.

    plane: of a state ("k", "v" or "journal"; "" where it has one piece), "" of everything else."""

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

    @property
    def is_read_only(self) -> bool:
        """No kernel writes it: it is made when the model is loaded."""
        return self.kind in ("weight", "const")


# What the runtime hands a step and takes from it, in memory of its own.
# The step buffer is the first argument of every kernel, and a pointer of the one that fills in guesses.
STEP = Pointer("io", "step")
PARAMETERS = Pointer("io", "parameters")  # of sampling, for each wanted row
TOKENS = Pointer("io", "tokens")  # the chosen ones, and after them the step's own
