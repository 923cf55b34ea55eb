"""Options that say how to choose tokens -> Sampling; what they leave open comes from a base."""

from __future__ import annotations

from dataclasses import replace

from hfc.runtime.sampler import Sampling


def chosen_sampling(base: Sampling, **given: float | int | None) -> Sampling:
    """`base` with the values that are not None."""
    return replace(base, **{name: value for name, value in given.items() if value is not None})
