"""Logits of one row to a token.

Order: repeat, frequency and presence penalties; then, if temperature is 0, the largest logit (the lowest id of equals);
else top-k, top-p, min-p on the probabilities at temperature 1, and a draw from the rest at the temperature asked for.
"""

from __future__ import annotations

import secrets
from collections import Counter, deque
from collections.abc import Iterable, Sequence

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.sampling import encode_row, fixed_words, random_bits

NOT_NUMBERS = -1  # what a device answers instead of a token when the logits are NaN or infinite


class NotNumbers(HfcError):
    """A model's logits are NaN or infinite."""


@dataclass(frozen=True)
class Sampling:
    """How to choose. Values that switch a filter off: top_k 0, top_p 1, min_p 0, penalties 1, 0 and 0.

    repeat_window: how many of the latest tokens (the prompt's too) the penalties look at.  seed: None draws a fresh one.
    """

    temperature: float = 0.7
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    repeat_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repeat_window: int = 64
    seed: int | None = None

    def __post_init__(self):
        for name, (is_valid, wanted) in _LIMITS.items():
            value = getattr(self, name)
            if not is_valid(value):
                raise HfcError(f"{name.replace('_', '-')} is {value}; it must be {wanted}")


_LIMITS = {
    "temperature": (lambda v: 0 <= v < float("inf"), "0 (greedy) or more"),
    "top_k": (lambda v: v >= 0, "0 (off) or more"),
    "top_p": (lambda v: 0 < v <= 1, "above 0 and at most 1 (off)"),
    "min_p": (lambda v: 0 <= v <= 1, "between 0 (off) and 1"),
    "repeat_penalty": (lambda v: 0 < v < float("inf"), "above 0 (1 is off)"),
    "frequency_penalty": (np.isfinite, "a number (0 is off)"),
    "presence_penalty": (np.isfinite, "a number (0 is off)"),
    "repeat_window": (lambda v: v >= 0, "0 or more tokens"),
    "seed": (lambda v: v is None or v >= 0, "0 or more"),
}


class Sampler:
    """One sequence's chooser: keeps the latest tokens and the place in its sequence of random numbers."""

    limits = None  # a device may choose any token; see RowSampler

    def __init__(self, sampling: Sampling, prompt: Iterable[int] = ()):
        self._sampling = sampling
        self._seed = secrets.randbits(63) if sampling.seed is None else sampling.seed
        self._draws = 0
        self._latest = deque(prompt, maxlen=sampling.repeat_window)
        penalties = (sampling.repeat_penalty, sampling.frequency_penalty, sampling.presence_penalty)
        self._fixed = fixed_words(sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p, penalties)
        self.has_penalties = penalties != (1, 0, 0)  # whether a choice depends on which tokens came before

    def choose(self, logits: np.ndarray) -> int:
        """The next token of f32 logits [vocab], chosen on the host; remembers it."""
        logits = penalize(logits, self._latest, self._sampling)
        if np.isnan(logits).any() or not np.isfinite(logits.max()):
            return self.accept(NOT_NUMBERS)
        if self._sampling.temperature == 0:
            return self.accept(int(np.argmax(logits)))
        tokens, probabilities = distribution(logits, self._sampling)
        order = np.argsort(tokens)  # the draw runs over ids upwards, as on a device
        uniform = random_bits(self._seed, self._draws) / 2.0**64
        picked = np.searchsorted(np.cumsum(probabilities[order])[:-1], uniform, side="right")
        return self.accept(int(tokens[order[picked]]))

    def encode(self, row: np.ndarray, ahead: Sequence[int] = ()) -> None:
        """Write what a device needs to choose the next token, or the one after tokens that may be chosen before it.

        `accept` the device's answer, in order, before the next call.
        """
        window = self._sampling.repeat_window
        counts = Counter(deque((*self._latest, *ahead), window)) if self.has_penalties else {}
        encode_row(row, self._fixed, random_bits(self._seed, self._draws + len(ahead)), counts)

    def accept(self, token: int) -> int:
        """Remember a chosen token."""
        if token == NOT_NUMBERS:
            raise NotNumbers(
                "the model gave logits that are not numbers",
                hint="the weights may be damaged; compare with: hfc logits MODEL --device interpret",
            )
        self._draws += 1
        self._latest.append(token)
        return token


def penalize(logits: np.ndarray, latest: Iterable[int], sampling: Sampling) -> np.ndarray:
    """logit / repeat (or * repeat below 0) - count * frequency - presence, for each token in `latest`."""
    counts = Counter(latest)
    off = sampling.repeat_penalty == 1 and sampling.frequency_penalty == 0 and sampling.presence_penalty == 0
    if off or not counts:
        return logits
    tokens = np.fromiter(counts.keys(), np.int64)
    times = np.fromiter(counts.values(), np.float32)
    old = logits[tokens]
    new = np.where(old > 0, old / sampling.repeat_penalty, old * sampling.repeat_penalty)
    out = logits.copy()
    out[tokens] = new - times * sampling.frequency_penalty - sampling.presence_penalty
    return out


def distribution(logits: np.ndarray, sampling: Sampling) -> tuple[np.ndarray, np.ndarray]:
    """The tokens that pass the filters, most probable first, and their probabilities (f64, sum 1)."""
    count = min(sampling.top_k or len(logits), len(logits))
    border = np.partition(logits, len(logits) - count)[len(logits) - count]
    tokens = np.flatnonzero(logits >= border)  # equals of the border too: the sort decides among them by id
    tokens = tokens[np.lexsort((tokens, -logits[tokens]))][:count]
    kept = logits[tokens].astype(np.float64)
    plain = _softmax(kept)
    keep = plain >= sampling.min_p * plain[0]
    if sampling.top_p < 1:  # a sum that rounds to 1 must not cut the tail when the filter is off
        keep &= np.cumsum(plain) - plain < sampling.top_p  # the token that crosses the sum stays
    tokens, kept = tokens[keep], kept[keep]
    with np.errstate(over="ignore"):  # a temperature next to 0 leaves the largest alone
        return tokens, _softmax((kept - kept[0]) / sampling.temperature)


def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max())
    return e / e.sum()
