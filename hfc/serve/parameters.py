"""Request fields that several endpoints share, and their meaning as a Job's sampling and guides."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Field, PrivateAttr, ValidatorFunctionWrapHandler, WrapValidator

from hfc.base.diagnostics import HfcError
from hfc.runtime.sampler import Sampling
from hfc.sampling import BIASED, TokenLimits
from hfc.serve.dialects import CHAT
from hfc.serve.errors import CONTEXT_EXCEEDED, ApiError
from hfc.serve.grammar import Grammar
from hfc.serve.job import Guide
from hfc.serve.order import check_order, left_out
from hfc.serve.prompt import encode
from hfc.serve.reasoning import Thought
from hfc.serve.schema import cleaned
from hfc.serve.served import Served, ServerSettings
from hfc.serve.tolerance import Tolerant, refusal
from hfc.serve.workers.ticket import TICKET

SEED_LIMIT = 1 << 63
DIGITS = 10  # of a token id
FORBIDS = -100  # the bias that forbids a token, as OpenAI documents it
Text = Annotated[str, Field(min_length=1)]
TokenId = Annotated[int, Field(ge=0, le=2**31 - 1)]
# Every new token is held against each: a text of megabytes would take the steps of all.
StopText = Annotated[str, Field(max_length=1024)]  # an empty one ends nothing
Stops = StopText | Annotated[list[StopText], Field(max_length=16)]
BiasPair = Annotated[tuple[int | str, float | Literal[False]], Field(strict=False)]
Count = Annotated[int, Field(ge=1, le=1 << 30)]
# -1: no limit but the context; 0: the prompt is computed, for the prefix cache, and nothing is answered
MaxTokens = Annotated[int, Field(ge=-1, le=1 << 30)]


Truncation = Literal["auto", "disabled"]  # "auto": a prompt that is too long loses its oldest part; else it is refused


def first_given(*values: Any) -> Any:
    """The first that is not None."""
    return next((value for value in values if value is not None), None)


def _biases_by_id(biases: Any, others: ValidatorFunctionWrapHandler) -> Any:
    """A dict is checked here and not by pydantic, which would make an error of each number, and hold the GIL for all of them."""
    if not isinstance(biases, dict):
        return others(biases)
    for key, value in biases.items():
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not -100 <= value <= 100:
            raise refusal("should be a number from -100 to 100", key, "invalid_value")
    return biases


Temperature = Annotated[float, Field(ge=0, le=100)]


class StreamOptions(Tolerant, dialect=CHAT, noun="stream_options"):
    """include_usage: a last chunk with the usage of the whole request."""

    include_usage: bool | None = None


class SamplingFields(Tolerant):
    """OpenAI's fields, and those that hfc, llama.cpp and vLLM have beyond them. repetition_penalty is vLLM's name of repeat_penalty.

    top_k, max_tokens: -1 is no limit, as llama.cpp has it."""

    temperature: Temperature | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=1 << 30)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    repeat_penalty: Annotated[float, Field(ge=0.01, le=100)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=100)] | None = None
    repeat_last_n: Annotated[int, Field(ge=-1, le=1 << 30)] | None = None
    samplers: Annotated[list[str] | str, AfterValidator(check_order)] | None = Field(
        None, description="llama-server's: those that choose; the others are off. Their order is hfc's."
    )
    seed: Annotated[int, Field(ge=-SEED_LIMIT, lt=SEED_LIMIT)] | None = None
    logit_bias: Annotated[dict[str, float] | list[BiasPair], WrapValidator(_biases_by_id)] | None = None
    grammar: str | None = Field(None, description="GBNF, as llama.cpp writes it, or Lark; an empty one is none.")
    json_schema: dict[str, Any] | None = Field(None, description="llama.cpp's: a schema that the answer follows.")
    min_tokens: Annotated[int, Field(ge=0, le=1 << 30)] | None = None
    stop: Stops | None = None
    stop_token_ids: Annotated[list[TokenId], Field(max_length=64)] | None = None
    ignore_eos: bool | None = None
    truncation: Truncation | None = None
    timeout: Annotated[float, Field(gt=0, le=86400)] | None = Field(
        None, description="Seconds for the whole request, waiting included."
    )

    service_tier: Annotated[str, Field(max_length=64)] | None = Field(
        None, description="priority goes before others, if the key may; flex after them."
    )
    _bias: Bias | None = PrivateAttr(None)

    def priority(self) -> int:
        """Of the request's jobs. Who may not go first is served like the others, as OpenAI's flexible tiers are."""
        if self.service_tier == "priority":
            return int(TICKET.get().may_go_first)
        return -1 if self.service_tier == "flex" else 0

    def stop_texts(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.stop,) if isinstance(self.stop, str) else self.stop or ()))

    def stop_ids(self, served: Served) -> frozenset[int]:
        """ApiError 400 for ids that the vocabulary does not have."""
        vocab = served.engine.model.vocab
        if beyond := [i for i in self.stop_token_ids or () if i >= vocab]:
            text = f"stop_token_ids: {beyond[0]} is not in the vocabulary of {vocab} tokens"
            raise ApiError(400, text, "stop_token_ids", "invalid_value")
        return (frozenset() if self.ignore_eos else served.stop_ids) | frozenset(self.stop_token_ids or ())

    def sampling(self, served: Served, choice: int = 0) -> Sampling:
        """What is given over the model's defaults. Each of several choices has the next seed.

        Penalties look at the whole answer, as OpenAI's do; with repeat_penalty at the latest 64 tokens, the prompt's too."""
        fields = ("temperature", "min_p", "frequency_penalty", "presence_penalty")
        given: dict[str, Any] = {name: getattr(self, name) for name in fields if getattr(self, name) is not None}
        if self.top_k is not None:
            given["top_k"] = max(self.top_k, 0)
        if self._repetition is not None:
            given["repeat_penalty"] = self._repetition
        if self.top_p is not None:
            given["top_p"] = max(self.top_p, 1e-9)  # 0 asks for the likeliest token alone
        seed = served.default.seed if self.seed is None else self.seed
        given["seed"] = None if seed in (None, -1) else (seed + choice) % SEED_LIMIT
        off = {} if self.samplers is None else left_out(self.samplers)
        context = served.engine.limits.context
        if self.repeat_last_n is not None:
            given["repeat_window"] = context if self.repeat_last_n < 0 else min(self.repeat_last_n, context)
        elif not self.penalizes_prompt():
            given["repeat_window"] = context
        try:
            return Sampling(**{**_fields_of(served.default), **given, **off})
        except HfcError as error:
            raise ApiError(400, error.message) from error

    def penalizes_prompt(self) -> bool:
        return self._repetition not in (None, 1)

    @property
    def _repetition(self) -> float | None:
        return self.repetition_penalty if self.repeat_penalty is None else self.repeat_penalty

    def guides(self, served: Served) -> tuple[Guide, ...]:
        """Of one answer. The bias is that of all: it has no state, and may be of every token of a vocabulary."""
        guides: list[Guide] = []
        if self.logit_bias and (bias := self._bias or self._bias_of(served)):
            self._bias = bias
            guides.append(bias)
        if self.min_tokens:
            guides.append(AtLeast(self.min_tokens, self.stop_ids(served)))
        return tuple(guides)

    def _bias_of(self, served: Served) -> Bias | None:
        biases = self.biases(served)
        if len(biases) == served.engine.model.vocab and all(value <= FORBIDS for value in biases.values()):
            raise ApiError(400, "logit_bias forbids every token", "logit_bias", "invalid_value")
        return Bias(biases) if biases else None

    def deadline_s(self, settings: ServerSettings) -> float:
        """That of the whole request, which began before it was planned."""
        usual = time.monotonic() + min(self.timeout or math.inf, settings.timeout_s)
        return min(usual, TICKET.get().ends_s)

    def biases(self, served: Served) -> dict[int, float]:
        """logit_bias by token."""
        if isinstance(self.logit_bias, dict):
            return {_token(key, served): float(value) for key, value in self.logit_bias.items()}
        return biases_of(served, self.logit_bias or ())

    def grammar_format(self) -> dict[str, Any] | None:
        """As an Ask's response_format. ApiError 400 for two of them."""
        if self.grammar and self.json_schema is not None:
            raise ApiError(400, "give json_schema or grammar, not both", "grammar", "invalid_value")
        if self.grammar:
            return {"type": "gbnf", "grammar": self.grammar}
        if self.json_schema is not None:
            return {"type": "json_schema", "schema": self.json_schema, "param": "json_schema"}
        return None

    def text_grammar(self, served: Served) -> tuple[Guide, ...]:
        """The grammar of an answer that has no thought before it."""
        format = self.grammar_format()
        if format is None:
            return ()
        if format["type"] == "gbnf":
            matcher = served.grammars.gbnf(format["grammar"], "grammar")
        else:
            matcher = served.grammars.json_schema(cleaned(format["schema"]).schema, "json_schema")
        return (Grammar(matcher, served.tokenizer, served.engine.model.vocab, Thought(False)),)


def biases_of(served: Served, pairs: Iterable[BiasPair]) -> dict[int, float]:
    """llama.cpp's pairs by token: a text means its tokens, and false never."""
    biases: dict[int, float] = {}
    for key, value in pairs:
        tokens = encode(served, key) if isinstance(key, str) else [_token(str(key), served)]
        biases |= dict.fromkeys(tokens, float(FORBIDS) if value is False else value)
    return biases


def _token(key: str, served: Served) -> int:
    vocab = served.engine.model.vocab
    if not (key.isascii() and key.isdigit() and len(key) <= DIGITS) or int(key) >= vocab:
        text = f"logit_bias: {key[:40]!r} is not a token id below {vocab}"
        raise ApiError(400, text, "logit_bias", "invalid_value")
    return int(key)


class Bias:
    """Adds to logits; FORBIDS forbids a token."""

    def __init__(self, biases: dict[int, float]):
        self._tokens = np.fromiter(biases, np.int64)
        self._values = np.array([-np.inf if v <= FORBIDS else v for v in biases.values()], np.float32)
        self._forbidden = np.array([token for token, v in biases.items() if v <= FORBIDS], np.int64)
        self._added = {token: v for token, v in biases.items() if v > FORBIDS}
        self.suits_device = len(self._added) <= BIASED

    def limit(self, logits: np.ndarray) -> np.ndarray:
        out = logits.copy()
        out[self._tokens] += self._values
        return out

    def restrict(self, limits: TokenLimits) -> None:
        for token, value in self._added.items():
            limits.add(token, value)
        if len(self._forbidden):
            limits.forbid(self._forbidden)

    def accept(self, token: int) -> bool:
        return False


class AtLeast:
    """No stop token before `count` tokens."""

    suits_device = True

    def __init__(self, count: int, stop_ids: frozenset[int]):
        self._left, self._stops = count, np.array(sorted(stop_ids), np.int64)

    def limit(self, logits: np.ndarray) -> np.ndarray:
        if self._left <= 0 or not len(self._stops):
            return logits
        out = logits.copy()
        out[self._stops] = -np.inf
        return out

    def restrict(self, limits: TokenLimits) -> None:
        if self._left > 0 and len(self._stops):
            limits.forbid(self._stops)

    def accept(self, token: int) -> bool:
        self._left -= 1
        return False


def _fields_of(sampling: Sampling) -> dict[str, Any]:
    return {name: getattr(sampling, name) for name in sampling.__dataclass_fields__}


def check_prompt(served: Served, prompt: Sequence[int], param: str) -> None:
    """ApiError 400 for a prompt that cannot run. OpenAI's code and words for a full context: clients look for both."""
    context, vocab = served.engine.limits.context, served.engine.model.vocab
    if not prompt:
        raise ApiError(400, "the prompt is empty", param, "empty_prompt")
    if max(prompt) >= vocab or min(prompt) < 0:
        raise ApiError(400, f"token {max(prompt)} is not in the vocabulary of {vocab} tokens", param, "invalid_value")
    if len(prompt) > context:
        text = f"this model's maximum context length is {context} tokens; the prompt has {len(prompt)}"
        raise ApiError(400, text, param, CONTEXT_EXCEEDED, sizes=(len(prompt), context))
