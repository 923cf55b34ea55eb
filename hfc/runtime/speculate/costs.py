"""What steps cost, in seconds by kind and rows, learned while they run."""

from __future__ import annotations

from collections import deque

STEP = "step"  # the kind of plain and verifying steps; others are drafters whose own work is part of a cycle
SAMPLES = 7  # the median of the latest ones: a busy machine must not look like a slow step
PER_ROW = 0.06  # what another row adds to a step of one, before any has been measured
DRAFTING = 1.25  # a drafter's cycle over its verify step, before any has been measured


class Costs:
    """Medians of the latest steps of each kind and number of rows."""

    def __init__(self):
        self._samples: dict[tuple[str, int], deque[float]] = {}
        self._medians: dict[str, dict[int, float]] = {}

    def record(self, kind: str, rows: int, seconds: float) -> None:
        """The first of a kind and number of rows does not count: it may have recorded a graph or touched new memory."""
        samples = self._samples.get((kind, rows))
        if samples is None:
            self._samples[kind, rows] = deque(maxlen=SAMPLES)
            return
        samples.append(seconds)
        self._medians.setdefault(kind, {})[rows] = sorted(samples)[len(samples) // 2]

    def measured(self, kind: str, rows: int) -> float | None:
        """Seconds of such a step, or None before it was measured."""
        return self._medians.get(kind, {}).get(rows)

    def estimate(self, kind: str, rows: int) -> float | None:
        """Seconds of a step of `rows` rows: measured, on the line between measured neighbours, or beyond them by PER_ROW.
        None while nothing is known."""
        found = _on_line(self._medians.get(kind, {}), rows)
        if found is not None or kind == STEP:
            return found
        step = self.estimate(STEP, rows)
        return None if step is None else DRAFTING * step


def _on_line(known: dict[int, float], rows: int) -> float | None:
    if rows in known or not known:
        return known.get(rows)
    below, above = [n for n in known if n < rows], [n for n in known if n > rows]
    if below and above:
        a, b = max(below), min(above)
        return known[a] + (known[b] - known[a]) * (rows - a) / (b - a)
    nearest = max(below) if below else min(above)
    return known[nearest] * (1 + PER_ROW * (rows - 1)) / (1 + PER_ROW * (nearest - 1))
