"""What the passes may ask about the plan to be: the target and the choices made for it, all resolved."""

from __future__ import annotations

from dataclasses import dataclass

from hfc.target.arch import Arch


@dataclass(frozen=True)
class Settings:
    """context: tokens a slot holds.  slots: lanes of the batch.  max_rows: rows (and segments) of the largest step.

    journal_rows: rows of a slot that recurrent states keep uncommitted for speculation, 0 for none.
    is_draft: the graph guesses for another one, and every row of its steps is wanted.
    max_outputs: most rows of one step whose logits are wanted.  taps: values besides the logits that the plan gives out.
    """

    arch: Arch
    context: int
    slots: int
    max_rows: int
    max_outputs: int
    k_format: str
    v_format: str
    taps: tuple[str, ...] = ()
    journal_rows: int = 0
    is_draft: bool = False
