"""Program: the names of a plan's launch lists. The values are their form in a manifest."""

from __future__ import annotations

from enum import StrEnum


class Program(StrEnum):
    """STEP takes any step (host). On GPUs DECODE takes up to step.DECODE_ROWS rows and PREFILL the others; PREFILL_ROCBLAS stands in
    for PREFILL where the library is found. ADOPT puts a draft's guesses into the step buffer, SAMPLE chooses tokens."""

    STEP = "step"
    DECODE = "decode"
    PREFILL = "prefill"
    PREFILL_ROCBLAS = "prefill_rocblas"
    ADOPT = "adopt"
    SAMPLE = "sample"
    DRAFT_STEP = "draft_step"
    DRAFT_DECODE = "draft_decode"
    DRAFT_PREFILL = "draft_prefill"

    @property
    def of_draft(self) -> Program:
        """The program of a plan's draft that runs over the same steps."""
        return DRAFTS[self]

    @property
    def is_draft(self) -> bool:
        return self in DRAFTS.values()


DRAFTS = {
    Program.STEP: Program.DRAFT_STEP,
    Program.DECODE: Program.DRAFT_DECODE,
    Program.PREFILL: Program.DRAFT_PREFILL,
}
