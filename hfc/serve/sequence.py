"""One running answer: its place in the model's state, its sampler, and its text with stop texts cut out."""

from __future__ import annotations

import itertools
import logging
import time
from collections import deque

import numpy as np

from hfc.base.diagnostics import HfcError
from hfc.runtime.decoding.state import DecodeState, Phase
from hfc.runtime.generate import StopTexts
from hfc.runtime.sampler import Sampler
from hfc.runtime.tokenizer import Tokenizer
from hfc.sampling import TokenLimits
from hfc.serve.job import Finish, Job, Logprob, Piece, Pooled, Progress, PromptPart, Unanswerable, Usage
from hfc.serve.stream import Stream

LOG = logging.getLogger("hfc.serve")
_NUMBERS = itertools.count()


class Sequence(DecodeState):
    """Owned by the engine's thread once submitted.

    awaited: of those that compute what its prompt begins with, by number, how far they must have come (see Sharing).
    is_awaited: others wait for what it computes.  pooled: the vector of a text that is embedded.
    """

    def __init__(self, job: Job, tokenizer: Tokenizer, stream: Stream):
        sampler = Sampler(job.sampling, job.prompt if job.penalize_prompt else ())
        super().__init__(job.prompt, sampler, job.max_tokens)
        self.job, self.stream = job, stream
        self.number = next(_NUMBERS)
        self.usage = Usage(len(job.prompt))
        self.is_guided = bool(job.guides)
        self.marks = deque(sorted({m for m in job.marks if 0 < m < len(job.prompt)}))
        self.needs_logits = (
            job.logprobs is not None or job.prompt_logprobs or not all(g.suits_device for g in job.guides)
        )
        self.is_cancelled = self.is_damaged = False  # damaged: its own work failed, its state is of no use
        self.awaited: dict[int, int] = {}
        self.is_awaited = False
        self.pooled: Pooled | None = None
        self.submitted_s = time.monotonic()
        self.last_token_s = 0.0
        self._hidden_sum, self._hidden_rows = np.zeros(()), 0
        self._text = tokenizer.stream(job.keep_special)
        self._gate = StopTexts(job.stop_texts)

    def limit(self, vocab: int) -> None:
        """Set `limits` for the next choice of a device. HfcError for a grammar that fails."""
        if self.job.guides:
            self.limits = TokenLimits(vocab)
            for guide in self.job.guides:
                guide.restrict(self.limits)
            if self.limits.mask is not None and not self.limits.mask.any():
                raise _nothing_allowed()

    @property
    def history(self) -> np.ndarray:
        """The tokens that the slot's state holds, i32 [position]."""
        return np.concatenate([self.prompt, np.asarray(self.tokens, np.int32)])[: self.position]

    @property
    def is_leaving(self) -> bool:
        """Cancelled, or too late."""
        return self.is_cancelled or (self.job.deadline_s is not None and time.monotonic() > self.job.deadline_s)

    def next_mark(self) -> int | None:
        while self.marks and self.marks[0] <= self.position:
            self.marks.popleft()
        return self.marks[0] if self.marks else None

    def keep_marks(self, first: int) -> None:
        """Of the places where state is to be kept those from `first` on, and the last one in any case."""
        self.marks = deque([m for m in self.marks if m >= first] or [*self.marks][-1:])

    def mark_at(self, position: int, near: int) -> int:
        """Have the state kept at a position of the prompt that is not reached yet, or at one less than `near` below: where that is."""
        known = [m for m in self.marks if self.position < m and position - near < m <= position]
        if known:
            return known[-1]
        self.marks = deque(sorted({*self.marks, position}))
        return position

    def choose(self, logits: np.ndarray) -> tuple[int, Logprob | None]:
        """The next token of f32 logits [vocab], on the host."""
        limited = logits
        for guide in self.job.guides:
            limited = guide.limit(limited)
        if limited is not logits and limited.max() == -np.inf and np.isfinite(logits).any():
            raise _nothing_allowed()
        token = self.sampler.choose(limited)
        return token, None if self.job.logprobs is None else logprob_of(logits, token, self.job.logprobs)

    def put_prompt_logprobs(self, logits: np.ndarray, first: int) -> None:
        """Logits of prompt rows [first, first + n): each tells about the token after it."""
        following = self.prompt[first + 1 : first + 1 + len(logits)]
        parts = tuple(logprob_of(row, int(t), self.job.logprobs or 0) for row, t in zip(logits, following))
        if parts:
            self.stream.put(PromptPart(parts))

    def put_progress(self) -> None:
        seconds = time.monotonic() - self.submitted_s - self.usage.timings["queue_s"]
        self.stream.put(Progress(len(self.prompt), self.usage.cached, self.position, seconds))

    def put_hidden(self, rows: np.ndarray) -> None:
        """Hidden states that count, f32 [n, width]; the prompt's end sends their mean and ends the sequence."""
        self._hidden_sum = self._hidden_sum + rows.sum(0, dtype=np.float64)
        self._hidden_rows += len(rows)
        if self.position == len(self.prompt):
            self.take_vector(Pooled(self._hidden_sum / self._hidden_rows))

    def take_vector(self, pooled: Pooled) -> None:
        self.pooled = pooled
        self.stream.put(pooled)
        self.finish("stop")

    def take(self, token: int, logprob: Logprob | None, context: int) -> bool:
        """Add a chosen token: its text goes to the reader. True when the answer is complete."""
        self.tokens.append(token)
        self.usage.completion += 1
        is_complete = [guide.accept(token) for guide in self.job.guides]
        if token in self.job.stop_ids:
            return self.finish("stop")
        text = self._text.push(token)
        if not self.job.keep_special:
            text += self.job.shown.get(token, "")
        text = self._gate.push(text)
        self.stream.put(Piece(text, token, logprob))
        if self._gate.is_closed:
            return self.finish("stop", self._gate.found)
        if any(is_complete):
            return self.finish("stop")
        is_long = self.job.max_tokens is not None and len(self.tokens) >= self.job.max_tokens
        if is_long or self.position >= context:
            return self.finish("length")
        return False

    def finish(self, reason: str, stop: str | None = None, message: str = "") -> bool:
        """Send the text that was held back and the end; always True."""
        if self.phase is not Phase.DONE:
            rest = "" if self._gate.is_closed else self._gate.push(self._text.close()) + self._gate.close()
            if rest:
                self.stream.put(Piece(rest, None))
            self.stream.put(Finish(reason, stop or self._gate.found, message))
            self.phase = Phase.DONE
        return True

    def abort(self, finish: Finish) -> None:
        """End without what was held back: nothing of this sequence's own is asked any more."""
        self.is_damaged = True
        if self.phase is not Phase.DONE:
            self.phase = Phase.DONE
            self.stream.put(finish)

    def fail(self, error: BaseException) -> None:
        """End with an error of this sequence's own. The client sees our own words, and of others' errors the type alone."""
        if isinstance(error, HfcError):
            self.abort(Finish("error", message=error.message, status=400 if isinstance(error, Unanswerable) else 500))
            return
        LOG.error("a sequence failed", exc_info=error)
        self.abort(Finish("error", message=f"the server failed at this answer ({type(error).__name__})"))


def _nothing_allowed() -> Unanswerable:
    return Unanswerable("logit_bias, min_tokens and the grammar of this request together leave no token to choose")


def logprob_of(logits: np.ndarray, token: int, top: int) -> Logprob:
    """log softmax at temperature 1 of f32 logits [vocab]."""
    largest = float(logits.max())
    total = largest + float(np.log(np.exp(logits - largest, dtype=np.float32).sum(dtype=np.float64)))
    if not np.isfinite(total):
        raise HfcError("the model gave logits that are not numbers", hint="the weights may be damaged")
    best: tuple[tuple[int, float], ...] = ()
    if top := min(top, len(logits)):
        ids = np.argpartition(logits, len(logits) - top)[len(logits) - top :]
        ids = ids[np.lexsort((ids, -logits[ids]))]
        best = tuple((int(i), float(logits[i]) - total) for i in ids)
    return Logprob(token, float(logits[token]) - total, best)
