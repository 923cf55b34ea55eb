"""The launch between a draft and the step that verifies it: the guesses become the step's tokens without leaving the device."""

from __future__ import annotations

from hfc.backend.spec import Arg, Bound, KernelRegion
from hfc.base.dataclass import dataclass
from hfc.pointer import STEP, TOKENS, Pointer


@dataclass(frozen=True)
class AdoptRegion(KernelRegion):
    """outputs: tokens that a step chooses, in front of its own in TOKENS."""

    outputs: int


def adopt_bound(max_outputs: int) -> Bound[AdoptRegion]:
    """The kernel's parameters."""
    args = (
        Arg("guesses", "buffer", "int32_t", None),
        Arg("verified", "io", "int32_t", None, written=True),
        Arg("tokens", "io", "int32_t", None, written=True),
    )
    return Bound("adopt", "adopt", args, "T", AdoptRegion(max_outputs))


def adopt_pointers(guesses: str) -> tuple[Pointer, Pointer, Pointer]:
    """guesses: the draft's buffer of tokens."""
    return (Pointer.buffer(guesses), STEP, TOKENS)
