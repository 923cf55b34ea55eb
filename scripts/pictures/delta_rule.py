"""DeltaNet's state, token by token, as the interpreter computes it (hfc/ir/ops/recurrent.py), beside the same writes without the delta rule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hfc.ir.ops.recurrent import linear_recurrence
from hfc.step import Step
from scripts.pictures.drawing import FAINT, INK, SERIES, line, rect, svg, text

SIZE, CELL = 8, 13


@dataclass(frozen=True)
class Write:
    """One token: writes a row of `pattern` under key number `key`, after the state has kept `keep` of itself."""

    title: str
    key: int
    pattern: tuple[int, ...]
    keep: float = 1.0


STEPS = (
    Write("key 1", 1, (1, 0, 1, 0, 1, 0, 1, 0)),
    Write("key 5", 5, (1, 1, 0, 0, 1, 1, 0, 0)),
    Write("key 1 again", 1, (0, 1, 0, 1, 0, 1, 0, 1)),
    Write("key 1 once more", 1, (0, 1, 0, 1, 0, 1, 0, 1)),
    Write("decay 0.5, key 6", 6, (1, 1, 1, 1, 0, 0, 0, 0), keep=0.5),
)


def history(delta: bool) -> list[np.ndarray]:
    """f32 [key, value] behind every token of STEPS."""
    count = len(STEPS)
    k = np.zeros((count, 1, SIZE), np.float32)
    v = np.zeros((count, 1, SIZE), np.float32)
    for row, write in enumerate(STEPS):
        k[row, 0, write.key], v[row, 0] = 1, write.pattern
    g = np.log(np.array([[write.keep] for write in STEPS], np.float32))
    beta, memory, states = np.ones((count, 1), np.float32), np.zeros((1, 1, SIZE, SIZE), np.float32), []
    for row in range(count):
        one, step = slice(row, row + 1), Step.single([0], position=row)
        _, memory = linear_recurrence.meaning(k[one], k[one], v[one], g[one], beta[one], memory, delta=delta, step=step)
        states.append(memory[0, 0])
    return states


def states() -> str:
    """A heat map of the state behind each token, with the delta rule above and without it below."""
    parts, step = [], SIZE * CELL + 34
    for lane, (name, delta) in enumerate((("delta rule", True), ("sum", False))):
        top = 56 + lane * (SIZE * CELL + 40)
        parts.append(text(10, top + SIZE * CELL / 2, name))
        for number, state in enumerate(history(delta)):
            left = 90 + number * step
            if lane == 0:
                parts.append(text(left, 20, STEPS[number].title))
                parts.append(
                    text(
                        left,
                        38,
                        "".join("\N{FULL BLOCK}" if p else "\N{LIGHT SHADE}" for p in STEPS[number].pattern),
                        INK,
                    )
                )
            parts += _heat(left, top, state)
    return svg(
        90 + step * len(STEPS), 56 + 2 * (SIZE * CELL + 40), "The state of a DeltaNet head, token by token", parts
    )


def _heat(left: int, top: int, state: np.ndarray) -> list[str]:
    """Above 1, which no value that was written is, the color changes."""
    parts = [line(left, top + CELL * n, left + SIZE * CELL, top + CELL * n, FAINT) for n in range(SIZE + 1)]
    for (key, value), number in np.ndenumerate(np.round(state, 2)):
        if number:
            color = SERIES[0] if number <= 1 else SERIES[1]
            parts.append(rect(left + value * CELL, top + key * CELL, CELL - 1, CELL - 1, color, opacity=min(number, 1)))
    return parts
