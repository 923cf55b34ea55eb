"""What `--draft` means for a loaded plan: its drafters, and how large a block it can verify."""

from __future__ import annotations

from pathlib import Path

from hfc.base.diagnostics import HfcError, unknown
from hfc.base.path_text import has_separator
from hfc.plan import Plan
from hfc.runtime.speculate.ngram import NgramDrafter
from hfc.runtime.speculate.speculator import Speculation

OFF, AUTO, NGRAM, OWN_HEAD = "off", "auto", "ngram", "mtp"
DRAFTS = (AUTO, NGRAM, OWN_HEAD, OFF)


def check_draft(draft: str) -> None:
    """HfcError unless it is one of DRAFTS or the place of a draft."""
    if draft in DRAFTS or Path(draft).exists():
        return
    if has_separator(draft):
        raise HfcError(f"--draft {draft}: no such file or folder", hint=f"or one of {', '.join(DRAFTS)}")
    raise unknown("draft", draft, DRAFTS)


def speculation_for(plan: Plan | None, draft: str) -> Speculation | None:
    """None decodes plainly: asked for, or the plan cannot verify and nobody insists. plan: None for the interpreter."""
    if draft == OFF:
        return None
    if plan and plan.draft is None and draft not in (AUTO, NGRAM):
        raise HfcError(
            f"--draft {draft}: the plan was compiled without it", hint=f"compile the model again with --draft {draft}"
        )
    rows = min(plan.uncommitted_rows, plan.max_rows, plan.max_outputs) if plan else 0
    if rows > 1:
        return Speculation(
            [NgramDrafter] if draft in (AUTO, NGRAM) else [], rows, own=None if draft == NGRAM else plan.draft
        )
    if draft == AUTO:
        return None
    if plan is None:
        raise HfcError(f"--draft {draft}: the interpreter decodes plainly", hint="leave --draft out")
    raise HfcError(
        f"--draft {draft}: the plan keeps no rows of its recurrent state uncommitted, so it cannot verify drafts",
        hint="compile the model again without --draft off",
    )
