"""Sequences decoded in steps whose rows are committed later, in part or never: the same bits as one row after the other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hfc.step import Segment, Step

LENGTH = 30  # tokens of a slot's sequence; then it begins anew


def plain_logits(forward: Callable[[Step], np.ndarray], tokens: np.ndarray) -> np.ndarray:
    """Every slot's sequence row by row, all slots in one step. tokens: i32 [slots, LENGTH] -> f32 [LENGTH, slots, vocab]"""
    slots = np.arange(len(tokens), dtype=np.int32)
    made = []
    for at in range(tokens.shape[1]):
        made.append(forward(Step(tokens[:, at], tuple(Segment(int(s), int(s), 1, at) for s in slots), slots)))
    return np.stack(made)


class Speculation:
    """Random steps: segments that wait, segments that are committed at once, slots that only commit, slots that rest."""

    def __init__(self, tokens: np.ndarray, vocab: int, max_rows: int, journal_rows: int, seed: int):
        self.tokens, self.vocab, self.max_rows, self.journal_rows = tokens, vocab, max_rows, journal_rows
        self.rng = np.random.default_rng(seed)
        self.position = np.zeros(len(tokens), int)  # of each slot's next token
        self.replay = np.zeros(len(tokens), int)  # rows that count and are not committed

    def step(self) -> tuple[Step, list[tuple[int, int, int]]]:
        """A step, and (row, slot, position) of each of its rows that the sequence really has."""
        rng, ids, segments, real = self.rng, [], [], []
        for slot in rng.permutation(len(self.tokens)).tolist():
            kind = rng.choice(["wait", "wait", "wait", "apply", "commit", "rest"])
            room = self.max_rows - len(ids)
            if kind == "rest" or (kind == "commit" and not self.replay[slot]) or not room:
                continue
            position, replay = int(self.position[slot]), int(self.replay[slot])
            if kind == "commit":
                segments.append(Segment(slot, len(ids), 0, position, replay))
                self.replay[slot] = 0
                continue
            if position == self.tokens.shape[1]:
                position = replay = 0
            left = self.tokens.shape[1] - position
            rows = int(rng.integers(1, min(room, left, self.journal_rows) + 1))
            right = rows if kind == "apply" else int(rng.integers(0, rows + 1))
            row = len(ids)
            ids += self.tokens[slot, position : position + right].tolist()
            ids += rng.integers(0, self.vocab, rows - right).tolist()
            segments.append(Segment(slot, row, rows, position, replay, kind == "apply"))
            real += [(row + i, slot, position + i) for i in range(right)]
            self.position[slot], self.replay[slot] = position + right, 0 if kind == "apply" else right
            if position + right == 0:
                self.replay[slot] = 0
        return Step(np.array(ids, np.int32), tuple(segments), np.arange(len(ids), dtype=np.int32)), real

    def last(self) -> Step:
        """Commits whatever counts."""
        waiting = np.flatnonzero(self.replay).tolist()
        segments = tuple(Segment(s, 0, 0, int(self.position[s]), int(self.replay[s])) for s in waiting)
        return Step(np.zeros(0, np.int32), segments, np.zeros(0, np.int32))
