"""The context of a model where nobody names one: what it was trained for, fitted to the memory that there is."""

from __future__ import annotations

from collections.abc import Callable

from hfc.compiler import DEFAULT_CONTEXT
from hfc.runtime.fit import Need

STEP = 256  # tokens; a fitted context is a multiple


def fitted_context(trained: int, memory: int, need_at: Callable[[int], Need]) -> int:
    """The longest context, at most `trained`, with which a plan fits into `memory` bytes; the usual one where not even that fits.

    need_at: of a plan with this context. Scratch grows with the context too, so that what is left must be tried."""
    usual = min(DEFAULT_CONTEXT, trained)
    least = need_at(usual)
    if least.total > memory:
        return usual
    tried = min(trained, max(usual, _rounded(least.largest_context(memory))))
    while tried > usual:
        total = need_at(tried).total
        if total <= memory:
            return tried
        # Memory grows evenly with the context, nearly: where the line between the two meets what there is.
        meets = usual + (memory - least.total) * (tried - usual) // (total - least.total)
        tried = _rounded(min(meets, tried - STEP))
    return usual


def _rounded(tokens: int) -> int:
    return tokens // STEP * STEP
