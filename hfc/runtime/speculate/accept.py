"""Which tokens of a verify step count: those that plain decoding would have chosen.

A verify step runs the latest token and its drafts. From every row a token is chosen with the parameters and random bits that
plain decoding would use at that place. As long as drafts equal the tokens chosen before them, the rows are those of plain
decoding, and so are the choices; the first that differs is the last that counts. For drafts that are points, not
distributions, this is rejection sampling: a draft passes with its probability under the target, and what replaces it follows
the target's distribution without it. It is more than equal in distribution: the tokens are plain decoding's own.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hfc.runtime.sampler import Sampler
from hfc.sampling import TokenLimits


class RowSampler(NamedTuple):
    """A sampler as a device sees it for one row of a verify step: as if `drafts` had been chosen. Remembers nothing.

    limits: what else restricts the choice at this place."""

    sampler: Sampler
    drafts: tuple[int, ...]
    limits: TokenLimits | None = None

    def encode(self, row: np.ndarray) -> None:
        self.sampler.encode(row, self.drafts)

    def accept(self, token: int) -> int:
        return token


def row_samplers(sampler: Sampler, drafts: tuple[int, ...]) -> list[RowSampler]:
    """One for each row of a verify step."""
    return [RowSampler(sampler, drafts[:i]) for i in range(len(drafts) + 1)]
