"""The step buffer's table (hfc/step.py) to C: what kernels and launch tapes read it by."""

from __future__ import annotations

from functools import cache

from hfc.backend.render import render
from hfc.step import COLUMNS, COUNTS, SEGMENT


@cache
def step_words_source() -> str:
    """Needs HFC_FUNCTION and MAX_ROWS."""
    return render("step_words.h.j2", counts=COUNTS, columns=COLUMNS, segment=SEGMENT)
