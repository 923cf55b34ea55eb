"""How many rows of prompts a step takes beside sequences that decode: as many as keeps their rhythm, by measured times of steps."""

from __future__ import annotations

from hfc.runtime.speculate.costs import STEP, Costs

# What prompts may add to a step, in times of the step without them: what writers are promised beside one is 3 in all, and steps vary.
# When many come at once, further ones make it more, by their square: small steps of all would be many and dear. Mean time to the first token
# of 32 prompts of 512 at once, with set times of steps, by 1 and by the square: 4.04 -> 3.89 s, the last answer's end 8.24 -> 7.87 s.
USUAL, FURTHER, MOST = 1.5, 4.0, 24.0
FIRST_ROWS = 16  # before any was measured
PROBE_EVERY = 64  # steps with prompts, after which one without shows what decoding costs by now
LATEST = 0.3  # weight of the latest step in what a row costs


class Pace:
    """Used by the engine's thread only. most: rows that a step may take at all.  least: fewer cost as much.

    row_s: seconds that a row of a prompt adds to a step; None before any was measured."""

    def __init__(self, most: int, least: int = 1):
        self._most, self._least, self._costs = most, least, Costs()
        self._since_probe = 0
        self.row_s: float | None = None

    def rows(self, decoding: int, prompts: int = 1) -> int:
        """Rows of `prompts` prompts in the next step, beside `decoding` sequences that decode. 0: that step is to show what decoding alone costs."""
        if not decoding:
            return self._most
        alone_s = self._costs.estimate(STEP, decoding)
        if alone_s is None or self._since_probe >= PROBE_EVERY:
            return 0
        if self.row_s is None:
            return min(self._most, FIRST_ROWS)
        times = min(max(USUAL, FURTHER * (prompts - 1) ** 2 / decoding), MOST)
        room = times * alone_s / max(self.row_s, 1e-9)
        return int(min(self._most, max(self._least, room)))

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
