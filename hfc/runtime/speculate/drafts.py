"""What `--draft` means for a loaded plan: its drafters, and how large a block it can verify."""

from __future__ import annotations

from hfc.base.diagnostics import HfcError, unknown
from hfc.plan import Plan
from hfc.runtime.speculate.ngram import NgramDrafter
from hfc.runtime.speculate.speculator import Speculation

OFF, AUTO, NGRAM = "off", "auto", "ngram"
DRAFTS = (AUTO, NGRAM, OFF)


def check_draft(draft: str) -> None:
    if draft not in DRAFTS:
        raise unknown("draft", draft, DRAFTS)


def speculation_for(plan: Plan | None, draft: str) -> Speculation | None:
    """None decodes plainly: asked for, or the plan cannot verify and nobody insists. plan: None for the interpreter."""
    if draft == OFF:
        return None
    rows = min(plan.uncommitted_rows, plan.max_rows, plan.max_outputs) if plan else 0
    if rows > 1:
        return Speculation([NgramDrafter], rows)
    if draft == AUTO:
        return None
    if plan is None:
        raise HfcError(f"--draft {draft}: the interpreter decodes plainly", hint="leave --draft out")
    raise HfcError(
        f"--draft {draft}: the plan keeps no rows of its recurrent state uncommitted, so it cannot verify drafts",
        hint="compile the model again without --draft off",
    )
