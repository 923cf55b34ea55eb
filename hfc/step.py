"""One step: the rows that run together, as segments of sequences. The only thing that changes from step to step."""

from __future__ import annotations

from itertools import chain
from typing import NamedTuple

import numpy as np

from hfc.base.dataclass import dataclass

DECODE_ROWS = 16  # rows that decode in a step: one program, and one order of additions, for all numbers of them
JOURNAL_ROWS = 16  # rows of a slot that can wait to be committed, where a plan is made for it


class Segment(NamedTuple):  # made for every sequence of every step: four times as fast as a frozen dataclass
    """`rows` consecutive tokens of one sequence, from row `row` of the step on.

    slot: lane of the running batch that owns the state.  position: absolute position of the first token, in tokens;
    0 means that the slot's state starts empty (recurrent state counts as zero).
    commit: False reads recurrent state without applying the rows to it: they wait in the slot's journal, in place of what
    waited there before.  replay: rows of the journal that count; they are applied first and lie before `position`.
    rows = 0 with a replay commits them and does nothing else.
    """

    slot: int
    row: int
    rows: int
    position: int
    replay: int = 0
    commit: bool = True


# The step buffer, i32: one word for each count, max_rows words for each column, and the fields of each segment. Its only declaration:
# Step.encode writes it, and backend/step_words.h.j2 makes the accessors that kernels and launch tapes read it by.
COUNTS = ("rows", "segments", "outputs", "guessed")
COLUMNS = ("token", "position", "slot", "output_row")  # of each row of the step; the last of each wanted row
SEGMENT = Segment._fields


def column_at(name: str, max_rows: int) -> int:
    """The first word of a column."""
    return len(COUNTS) + COLUMNS.index(name) * max_rows


def segments_at(max_rows: int) -> int:
    """The first word of the first segment."""
    return len(COUNTS) + len(COLUMNS) * max_rows


def step_words(max_rows: int) -> int:
    """i32 words of the step buffer."""
    return segments_at(max_rows) + len(SEGMENT) * max_rows


@dataclass(frozen=True)
class Step:
    """Token ids [T], the segments that cover rows 0..T-1 in order, and the rows whose logits are wanted [R].

    guessed: segments, the first ones of the step, whose tokens but the first stand for guesses of the plan's draft.
    observed: False leaves out what only that draft would read, for sequences that it will not guess for again.
    prompts: its rows are of prompts, and add in their order however few they are, so that no cut of a prompt changes its numbers.
    """

    tokens: np.ndarray
    segments: tuple[Segment, ...]
    output_rows: np.ndarray
    guessed: int = 0
    observed: bool = True
    prompts: bool = False

    @classmethod
    def single(cls, tokens, position: int = 0, slot: int = 0, outputs: str = "all") -> "Step":
        """One segment; `outputs` is "all" or "last"."""
        tokens = np.asarray(tokens, np.int32)
        rows = np.arange(len(tokens), dtype=np.int32)
        return cls(tokens, (Segment(slot, 0, len(tokens), position),), rows if outputs == "all" else rows[-1:])

    @property
    def rows_class(self) -> str:
        """The program that runs it on a device which has two: "decode" or "prefill"."""
        return "prefill" if self.prompts or len(self.tokens) > DECODE_ROWS else "decode"

    def follows(self, before: Step) -> bool:
        """Whether its rows are the tokens that rows of a step before choose, in their order: each sequence goes on by one."""
        rows = len(self.tokens)
        return (
            self.segments == tuple(s._replace(position=s.position + 1) for s in before.segments)
            and all(s.rows == 1 and s.commit and not s.replay for s in before.segments)
            and rows == len(self.segments) == len(self.output_rows) == len(before.output_rows)
            and not (self.guessed or before.guessed or self.prompts)
        )

    @property
    def positions(self) -> np.ndarray:
        """Absolute position of every row, i32 [T]."""
        return np.concatenate([np.arange(s.position, s.position + s.rows, dtype=np.int32) for s in self.segments])

    @property
    def reach(self) -> int:
        """Tokens of the longest context, rounded up to 128, 512, 2048 …: few enough values for a launch to depend on them."""
        longest = max((s.position + s.rows for s in self.segments), default=1)
        return next(reach for reach in (128 * 4**n for n in range(16)) if reach >= longest)

    def encode(self, max_rows: int, out: np.ndarray | None = None) -> np.ndarray:
        """The device-side step buffer, i32 [step_words(max_rows)]: COUNTS, COLUMNS of max_rows words each, SEGMENT of each segment.

        Kernels read everything that changes from step to step from here; max_rows is a constant of the plan.
        """
        buffer = np.zeros(step_words(max_rows), np.int32) if out is None else out
        rows, outputs = len(self.tokens), len(self.output_rows)
        assert rows <= max_rows, f"{rows} rows in a plan for {max_rows}"
        counts = {"rows": rows, "segments": len(self.segments), "outputs": outputs, "guessed": self.guessed}
        buffer[: len(COUNTS)] = [counts[name] for name in COUNTS]
        end = segments_at(max_rows)
        column = dict(zip(COLUMNS, buffer[len(COUNTS) : end].reshape(len(COLUMNS), max_rows)))
        column["token"][:rows], column["output_row"][:outputs] = self.tokens, self.output_rows
        words = list(chain.from_iterable(self.segments))
        table = buffer[end : end + len(words)]
        table[:] = words
        segment = dict(zip(SEGMENT, table.reshape(-1, len(SEGMENT)).T))
        column["slot"][:rows] = segment["slot"].repeat(segment["rows"])
        order = _ORDER[:rows] if rows <= len(_ORDER) else np.arange(rows, dtype=np.int32)
        column["position"][:rows] = order + (segment["position"] - segment["row"]).repeat(segment["rows"])
        return buffer


# np.arange releases the GIL, and a server's other threads would hold it for a millisecond before each step.
_ORDER = np.arange(4096, dtype=np.int32)
