"""Logits on a text -> perplexity, and how far they are from those of a reference: KL divergence, top-1 agreement."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from typing import Protocol

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.step import Segment, Step

DEFAULT_CHUNK = 512  # tokens that see each other; llama.cpp's perplexity tool takes as many


class LogitsModel(Protocol):
    """What is measured; see hfc.runtime.generate.Model. max_outputs: most rows of one step whose logits are wanted."""

    vocab: int
    context: int
    max_rows: int
    max_outputs: int

    def forward(self, step: Step) -> np.ndarray: ...


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """f64, over the last axis."""
    x = logits.astype(np.float64)
    x -= x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


@dataclass
class Tally:
    """Sums up position by position. surprise: -log p of the token that follows, of ours and of the reference."""

    positions: int = 0
    ours: list[np.ndarray] = field(default_factory=list)
    theirs: list[np.ndarray] = field(default_factory=list)
    divergence: list[np.ndarray] = field(default_factory=list)
    agree: list[np.ndarray] = field(default_factory=list)

    def add(self, logits: np.ndarray, following: np.ndarray, reference: np.ndarray | None = None) -> None:
        """logits, reference: f32 [rows, vocab].  following: the next tokens, i32 [rows], or one fewer at the end of a text."""
        self.positions += len(logits)
        mine = _checked(log_softmax(logits), "the model")
        self.ours.append(-mine[np.arange(len(following)), following])
        if reference is None:
            return
        other = _checked(log_softmax(reference), "the reference")
        self.theirs.append(-other[np.arange(len(following)), following])
        self.divergence.append((np.exp(other) * (other - mine)).sum(axis=-1))
        self.agree.append(mine.argmax(axis=-1) == other.argmax(axis=-1))

    def report(self) -> dict[str, float]:
        """perplexity; with a reference also its perplexity, the relative change, KL(reference || ours) and top-1 agreement."""
        ours = np.concatenate(self.ours)
        found = {"tokens": self.positions, "perplexity": float(np.exp(ours.mean()))}
        if not self.theirs:
            return found
        divergence = np.concatenate(self.divergence)
        # The standard error of the difference is small where both err at the same words.
        difference = ours - np.concatenate(self.theirs)
        return found | {
            "perplexity_reference": float(np.exp(np.concatenate(self.theirs).mean())),
            "perplexity_change": float(np.expm1(difference.mean())),
            "perplexity_change_error": float(difference.std() / np.sqrt(len(difference))),
            "kl_mean": float(divergence.mean()),
            "kl_p99": float(np.quantile(divergence, 0.99)),
            "kl_max": float(divergence.max()),
            "top1_agreement": float(np.concatenate(self.agree).mean()),
        }


def _checked(log_probabilities: np.ndarray, whose: str) -> np.ndarray:
    if not np.isfinite(log_probabilities).all():
        row = int(np.argmin(np.isfinite(log_probabilities).all(axis=-1)))
        raise HfcError(
            f"{whose} gives logits that are not numbers (row {row} of a step)", hint="its weights may be damaged"
        )
    return log_probabilities


def chunks(tokens: Sequence[int], size: int) -> list[np.ndarray]:
    """The text in pieces of `size` tokens, each a text of its own; a rest of one token predicts nothing and is dropped."""
    pieces = [np.asarray(tokens[at : at + size], np.int32) for at in range(0, len(tokens), size)]
    return [piece for piece in pieces if len(piece) > 1]


def logits_of(model: LogitsModel, piece: np.ndarray, rows: int, prompts: bool = True) -> Iterator[np.ndarray]:
    """Logits of a text from position 0, f32 [<= rows, vocab] at a time. prompts: by the program of prompts, else of decoding."""
    for start in range(0, len(piece), rows):
        some = piece[start : start + rows]
        wanted = np.arange(len(some), dtype=np.int32)
        yield model.forward(Step(some, (Segment(0, 0, len(some), start),), wanted, prompts=prompts))


def rows_at_a_time(*models: LogitsModel) -> int:
    """Rows that a step of each model can take and give logits of."""
    return min(min(m.max_rows, m.max_outputs) for m in models)


def evaluate(
    model: LogitsModel,
    pieces: Sequence[np.ndarray],
    reference: LogitsModel | np.ndarray | None = None,
    update: Callable[[int, int], None] = lambda done, total: None,
    keep: np.ndarray | None = None,
    decode_rows: int | None = None,
) -> dict[str, float]:
    """Run the pieces through the model [and the reference]. reference: or saved logits f32 [tokens, vocab].

    The last position of a piece predicts nothing that is known; it counts for divergence only.
    keep: f32 [tokens, vocab] to write the model's logits into.  decode_rows: tokens a step, as decoding takes them."""
    saved = reference if isinstance(reference, np.ndarray) else None
    other = None if saved is not None else reference
    rows = decode_rows or rows_at_a_time(model, *([other] if other else []))
    tally, done, total = Tally(), 0, sum(map(len, pieces))
    for piece in pieces:
        theirs = logits_of(other, piece, rows) if other else None
        at = 0
        for logits in logits_of(model, piece, rows, prompts=not decode_rows):
            place = slice(done, done + len(logits))
            expected = saved[place] if saved is not None else next(theirs) if theirs else None
            tally.add(logits, piece[at + 1 : at + 1 + len(logits)], expected)
            if keep is not None:
                keep[place] = logits
            at, done = at + len(logits), done + len(logits)
            update(done, total)
    return tally.report()
