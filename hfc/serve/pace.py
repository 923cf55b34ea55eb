"""How many rows of prompts a step takes beside sequences that decode: as many as keeps their rhythm, by measured times of steps."""

from __future__ import annotations

from hfc.runtime.speculate.costs import STEP, Costs

SLOWER = 2.5  # times a step without prompts: what writers are promised is 3, and steps vary
LEAST_ROWS = 16  # one tile of the products: fewer cost as much
PROBE_EVERY = 64  # steps with prompts, after which one without shows what decoding costs by now
LATEST = 0.3  # weight of the latest step in what a row costs


class Pace:
    """Used by the engine's thread only. most: rows that a step may take at all.

    row_s: seconds that a row of a prompt adds to a step; None before any was measured."""

    def __init__(self, most: int):
        self._most, self._costs = most, Costs()
        self._since_probe = 0
        self.row_s: float | None = None

    def rows(self, decoding: int) -> int:
        """Of prompts in the next step, beside so many sequences that decode. 0: that step is to show what decoding alone costs."""
        if not decoding:
            return self._most
        alone_s = self._costs.estimate(STEP, decoding)
        if alone_s is None or self._since_probe >= PROBE_EVERY:
            return 0
        if self.row_s is None:
            return min(self._most, LEAST_ROWS)
        room = (SLOWER - 1) * alone_s / self.row_s
        return int(min(self._most, max(LEAST_ROWS, room)))

    def stepped(self, decoding: int, prompt_rows: int, seconds: float) -> None:
        """A step is over. decoding: its sequences that decoded."""
        if not prompt_rows:
            self._costs.record(STEP, decoding, seconds)
            self._since_probe = 0
            return
        alone_s = (self._costs.estimate(STEP, decoding) or 0.0) if decoding else 0.0
        self._since_probe += decoding > 0
        row_s = max(seconds - alone_s, 0.0) / prompt_rows
        self.row_s = row_s if self.row_s is None else (1 - LATEST) * self.row_s + LATEST * row_s
