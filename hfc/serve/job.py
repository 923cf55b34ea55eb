"""What a client wants generated, and what comes back token by token. Pure data between the API and the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import NamedTuple, Protocol

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.runtime.sampler import Sampling
from hfc.sampling import TokenLimits


class Unanswerable(HfcError):
    """What a request asks for has no answer: its own fault, not the server's."""


class Guide(Protocol):
    """Steers one sequence: sees every logits row, or what a device limits its choice to, before the choice and every token
    after it. suits_device: whether `restrict` can say all that `limit` does."""

    suits_device: bool

    def limit(self, logits: np.ndarray) -> np.ndarray:
        """Logits f32 [vocab] to choose from: the argument, or a changed copy; -inf forbids a token."""
        ...

    def restrict(self, limits: TokenLimits) -> None:
        """The same for a device that chooses: add to `limits`."""
        ...

    def accept(self, token: int) -> bool:
        """Take note of a chosen token; True when the answer is complete with it."""
        ...


@dataclass(frozen=True)
class Job:
    """prompt: token ids.  max_tokens: None runs until the context ends.  stop_ids end the answer and are no part of it.

    logprobs: how many alternatives to report for each token, None for no log probabilities at all.  prompt_logprobs: also
    for the prompt's tokens.  marks: positions of the prompt at which another prompt is likely to branch off.  deadline_s:
    on time.monotonic()'s clock.  penalize_prompt: penalties look at the prompt's tokens too.  pool: "last" or "mean" asks
    for the prompt's hidden states as one vector instead of an answer.  shown: control tokens that stand in the text.  priority: 1 goes
    before others, -1 after them.  tells_progress: the reader wants to know how far the prompt is.
    """

    prompt: tuple[int, ...]
    sampling: Sampling
    max_tokens: int | None = None
    stop_texts: tuple[str, ...] = ()
    stop_ids: frozenset[int] = frozenset()
    logprobs: int | None = None
    prompt_logprobs: bool = False
    guides: tuple[Guide, ...] = ()
    marks: tuple[int, ...] = ()
    deadline_s: float | None = None
    penalize_prompt: bool = False
    keep_special: bool = False
    shown: Mapping[int, str] = field(default_factory=dict)
    pool: str | None = None
    priority: int = 0
    tells_progress: bool = False

    @property
    def needs_every_row(self) -> bool:
        """Whether each row of the prompt must run, so that a cached beginning is of no use."""
        return self.prompt_logprobs or self.pool == "mean"


def check_job(job: Job, vocab: int, context: int) -> None:
    """HfcError for what an engine of this size cannot run: whoever made the job, no id or length reaches a step unchecked."""
    if not 0 < len(job.prompt) <= context:
        raise HfcError(f"a prompt has {len(job.prompt)} tokens; it must have 1 to {context}")
    for name, ids in (("prompt", job.prompt), ("stop_ids", job.stop_ids)):
        if ids and not (0 <= min(ids) and max(ids) < vocab):
            raise HfcError(f"{name}: {min(ids)} to {max(ids)} are not ids of a vocabulary of {vocab} tokens")
    if job.max_tokens is not None and job.max_tokens < 0:
        raise HfcError(f"max_tokens is {job.max_tokens}; it must be 0 or more")
    if job.logprobs is not None and not 0 <= job.logprobs <= vocab:
        raise HfcError(f"logprobs is {job.logprobs}; it must be 0 to {vocab}")
    if job.pool not in (None, "last", "mean"):
        raise HfcError(f"pool is {job.pool!r}; it must be last or mean")


@dataclass(frozen=True, slots=True)
class Logprob:
    """Natural log of a token's probability at temperature 1; top: (token, log probability), best first."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


class Piece(NamedTuple):
    """One chosen token and the text that may be shown with it, "" while a character or a stop text is incomplete."""

    text: str
    token: int | None
    logprob: Logprob | None = None


@dataclass(frozen=True, slots=True)
class PromptPart:
    """Log probabilities of prompt tokens, in order; the first token of a prompt has none."""

    logprobs: tuple[Logprob, ...]


@dataclass(frozen=True, slots=True)
class Pooled:
    """The hidden states of a prompt as one vector, f64 [width], not normalized."""

    values: np.ndarray


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a prompt is: its tokens, those that were cached, those whose state is there now; seconds since it has a slot."""

    total: int
    cached: int
    processed: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Finish:
    """reason: "stop" | "length" | "timeout" | "overloaded" | "cancelled" | "error".  stop: the stop text that was found.  message, status: of errors."""

    reason: str
    stop: str | None = None
    message: str = ""
    status: int = 500


@dataclass
class Usage:
    """Tokens of one sequence. cached: prompt tokens whose state was there already.

    cycles: steps that checked drafts; drafted, accepted: their drafts.  drafting: what the governor did and why.
    """

    prompt: int
    cached: int = 0
    completion: int = 0
    reasoning: int = 0
    cycles: int = 0
    drafted: int = 0
    accepted: int = 0
    drafting: str = ""
    timings: dict[str, float] = field(default_factory=dict)


Event = Piece | PromptPart | Pooled | Progress | Finish
