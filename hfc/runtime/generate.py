"""A prompt to text: chunked prefill, then steps of one token or of a token and its drafts, until something says stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.runtime.decoding.decoder import Decoder, StepResult
from hfc.runtime.decoding.model import Begun, Model
from hfc.runtime.decoding.state import DecodeState, Phase, Work
from hfc.runtime.kept import KeptPrompt
from hfc.runtime.sampler import Sampler, Sampling
from hfc.runtime.speculate.governor import Track
from hfc.runtime.speculate.speculator import Speculation
from hfc.runtime.tokenizer import Tokenizer
from hfc.step import Segment, Step

Clock = Callable[[], float]


@dataclass(frozen=True)
class Request:
    """prompt: token ids.  stop_texts end the text and are no part of it.  max_tokens: None runs until the context ends.
    boundary: tokens that the next prompt of a conversation will share with this one."""

    prompt: tuple[int, ...]
    sampling: Sampling
    max_tokens: int | None = None
    stop_texts: tuple[str, ...] = ()
    slot: int = 0
    boundary: int = 0


@dataclass
class Statistics:
    """What a generation did. reason: "end" (stop token), "stop text", "max tokens", "context full"; "" till then.

    track: what speculation did, None without.  kept_tokens: of the prompt, that were not computed again.
    """

    prompt_tokens: int
    tokens: list[int] = field(default_factory=list)
    prefill_s: float = 0.0
    decode_s: float = 0.0
    reason: str = ""
    track: Track | None = None
    kept_tokens: int = 0

    @property
    def prefill_tok_s(self) -> float:
        return (self.prompt_tokens - self.kept_tokens) / self.prefill_s if self.prefill_s else 0.0

    @property
    def decode_tok_s(self) -> float:
        """The first token comes from the prefill's logits, so it is not counted."""
        return max(0, len(self.tokens) - 1) / self.decode_s if self.decode_s else 0.0

    @property
    def cycles(self) -> int:
        """Verify steps."""
        return self.track.cycles if self.track else 0

    @property
    def drafted(self) -> int:
        return self.track.drafted if self.track else 0

    @property
    def accepted(self) -> int:
        """Drafts that were right."""
        return self.track.accepted if self.track else 0

    @property
    def tau(self) -> float | None:
        """Mean tokens that a verify step brings, its own choice after the accepted drafts included."""
        return self.track.tau if self.track else None

    @property
    def drafting(self) -> str:
        """What the governor did and why; "" without drafters."""
        return self.track.reason if self.track else ""


class Generation:
    """One answer. Iterate over it for pieces of text; `statistics` holds at any time, also after an interruption."""

    def __init__(
        self,
        model: Model,
        tokenizer: Tokenizer,
        request: Request,
        speculation: Speculation | None = None,
        clock: Clock = time.perf_counter,
        kept: KeptPrompt | None = None,
    ):
        """clock: in seconds; what statistics and the governor go by.  kept: what the slot holds of the prompt before."""
        check_prompt(model, request.prompt)
        self.statistics = Statistics(len(request.prompt))
        self._model, self._clock, self._kept = model, clock, kept
        self._request = request
        self._stop_ids = tokenizer.stop_ids
        self._text = tokenizer.stream()
        self._gate = StopTexts(request.stop_texts)
        sampler = Sampler(request.sampling, request.prompt)
        self._sequence = DecodeState(request.prompt, sampler, request.max_tokens, request.slot)
        self._ahead: tuple[list[Work], Begun] | None = None  # the next step, where it is on its way already
        self._ended = 0.0  # when the latest step did
        self._decoder = Decoder(model, speculation, model.max_rows, model.context)
        if speculation:
            self._sequence.speculator = speculation.start(request.prompt)
            self.statistics.track = self._sequence.speculator.track

    def __iter__(self) -> Iterator[str]:
        try:
            yield from self._pieces()
        finally:  # a step more than the answer needed may be on its way; nobody goes on from where it leaves the slot
            ahead, self._ahead = self._ahead, None
            if ahead:
                ahead[1].result()

    def _pieces(self) -> Iterator[str]:
        tokens = [self._prefill()]
        while True:
            for token in tokens:
                piece = self._take(token)
                if piece:
                    yield piece
                if self.statistics.reason:
                    break
            if self.statistics.reason:
                break
            tokens = self._decode()
        if not self._gate.is_closed and (rest := self.rest()):
            yield rest

    def rest(self) -> str:
        """Text that was held back in case a stop text or a character went on. Call it once, after an interruption."""
        return self._gate.push(self._text.close()) + self._gate.close()

    def _take(self, token: int) -> str:
        """Add a token; the text that may be shown with it. Sets the statistics' reason when it is the last."""
        statistics, limit = self.statistics, self._request.max_tokens
        statistics.tokens.append(token)
        if token in self._stop_ids:
            statistics.reason = "end"
            return ""
        piece = self._gate.push(self._text.push(token))
        if self._gate.is_closed:
            statistics.reason = "stop text"
        elif statistics.prompt_tokens + len(statistics.tokens) > self._model.context:
            statistics.reason = "context full"
        elif limit is not None and len(statistics.tokens) >= limit:
            statistics.reason = "max tokens"
        return piece

    def _prefill(self) -> int:
        """Run the prompt; the first token of the answer."""
        start, sequence, prompt = self._clock(), self._sequence, self._request.prompt
        sequence.phase = Phase.PREFILL
        if self._kept:
            sequence.position = self.statistics.kept_tokens = self._kept.restore(prompt)
            self._snapshot()
        token, _ = self._run_prompt(len(prompt)).choose(-1)
        if self._kept:
            self._kept.note(prompt)
        self._decoder.read(sequence, (token,))
        sequence.tokens.append(token)
        sequence.phase = Phase.DECODE
        self.statistics.prefill_s = self._clock() - start
        return token

    def _snapshot(self) -> None:
        """Run the prompt to where the next one will branch off, if its state must be copied there."""
        prompt, end = self._request.prompt, min(self._request.boundary, len(self._request.prompt) - 1)
        if self._kept and self._kept.needs_snapshots and end > self._sequence.position:
            self._run_prompt(end)
            self._kept.snapshot(prompt, end)

    def _run_prompt(self, end: int) -> StepResult:
        """The prompt's tokens up to a position, in chunks of max_rows; what the last chunk brought."""
        sequence = self._sequence
        while True:
            rows = min(end - sequence.position, self._model.max_rows)
            wanted = int(sequence.position + rows == len(sequence.prompt))
            _, (result,) = self._decoder.run([Work(sequence, rows, wanted)])
            sequence.position += rows
            if sequence.position == end:
                return result

    def _decode(self) -> list[int]:
        """Run the latest token, and drafts after it; the tokens that follow it."""
        decoder, tokens = self._decoder, self._sequence.tokens
        start = self._ended if self._ahead else self._clock()
        work, begun = self._ahead or self._begin()
        self._ahead = None
        if decoder.can_lead(work):
            self._ahead = decoder.extend(work), decoder.lead(work, follows=True)
        _, (result,) = decoder.finish(work, begun)
        count = self._decoder.accept(result, lambda _result, token, _told, _number: tokens.append(token))
        self._ended = self._clock()
        seconds = self._ended - start
        self.statistics.decode_s += seconds
        self._decoder.settle(work, [count], seconds)
        return tokens[-count:]

    def _begin(self) -> tuple[list[Work], Begun]:
        decoder = self._decoder
        work = decoder.extend([Work(self._sequence, 1, 1)])
        return work, (decoder.lead if decoder.can_lead(work) else decoder.start)(work)


def check_prompt(model: Model, prompt: tuple[int, ...]) -> None:
    """Refuse what cannot run before anything runs."""
    if not prompt:
        raise HfcError("the prompt is empty: it has no tokens", hint="give at least one word")
    if len(prompt) > model.context:
        raise HfcError(
            f"the prompt has {len(prompt)} tokens; the context holds {model.context}",
            hint="shorten the prompt, or compile with a larger --ctx",
        )
    largest = max(prompt)
    if largest >= model.vocab or min(prompt) < 0:
        raise HfcError(f"the prompt has token {largest}; the model's vocabulary has {model.vocab} tokens")


def prompt_steps(
    prompt: Sequence[int], max_rows: int, slot: int = 0, observed: bool = True, position: int = 0
) -> list[Step]:
    """A prompt from a position on, in chunks of max_rows; only its last token's logits are wanted. observed: see Step."""
    steps = []
    for start in range(position, len(prompt), max_rows):
        chunk = np.asarray(prompt[start : start + max_rows], np.int32)
        is_last = start + len(chunk) == len(prompt)
        wanted = np.array([len(chunk) - 1] if is_last else [], np.int32)
        steps.append(Step(chunk, (Segment(slot, 0, len(chunk), start),), wanted, observed=observed, prompts=True))
    return steps


def prefill(model: Model, prompt: Sequence[int], slot: int = 0) -> np.ndarray:
    """Run a prompt; the logits of its last token, f32 [vocab]."""
    for step in prompt_steps(prompt, model.max_rows, slot):
        logits = model.forward(step)
    return logits[0]


class StopTexts:
    """Lets text through until one of `stops` appears; holds back an ending that may become one."""

    def __init__(self, stops: tuple[str, ...]):
        self._stops = tuple(s for s in stops if s)
        self._held = ""
        self.is_closed = False
        self.found: str | None = None  # the text that closed it

    def push(self, text: str) -> str:
        """The text that may be shown now."""
        if self.is_closed:
            return ""
        if not self._stops:
            return text
        self._held += text
        found = [(i, s) for i, s in ((self._held.find(s), s) for s in self._stops) if i >= 0]
        if found:
            self.is_closed = True
            at, self.found = min(found)
            out, self._held = self._held[:at], ""
            return out
        keep = max((_overlap(self._held, s) for s in self._stops), default=0)
        cut = len(self._held) - keep
        out, self._held = self._held[:cut], self._held[cut:]
        return out

    def close(self) -> str:
        """The text that was held back."""
        out, self._held = self._held, ""
        return out


def _overlap(text: str, stop: str) -> int:
    """Length of the longest ending of `text` that begins `stop`, in characters."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
