"""A loaded model as the API sees it: name, vocabulary, template and engine."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Sequence as Items
from dataclasses import dataclass, field

from fastapi import Request

from hfc.runtime.chat import ChatTemplate, chat_template
from hfc.runtime.guard import Guard
from hfc.runtime.sampler import Sampling
from hfc.runtime.tokenizer import Tokenizer
from hfc.runtime.vocabulary import Vocabulary
from hfc.serve.engine import Closed, Engine, QueueFull
from hfc.serve.errors import ApiError
from hfc.serve.grammar import GrammarCompiler
from hfc.serve.job import Job
from hfc.serve.metrics import Metrics
from hfc.serve.sequence import Sequence
from hfc.serve.stream import Stream


@dataclass(frozen=True)
class Served:
    """default: the sampling of a request that says nothing.  template: None for a model without a chat template."""

    name: str
    vocabulary: Vocabulary
    engine: Engine
    default: Sampling = Sampling()
    aliases: tuple[str, ...] = ()
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def tokenizer(self) -> Tokenizer:
        return self.vocabulary.tokenizer

    @functools.cached_property
    def stop_ids(self) -> frozenset[int]:
        """Tokens that end an answer. A checkpoint may name some that its model cannot give."""
        return frozenset(i for i in self.tokenizer.stop_ids if 0 <= i < self.engine.model.vocab)

    @property
    def metrics(self) -> Metrics:
        return self.engine.metrics

    @functools.cached_property
    def grammars(self) -> GrammarCompiler:
        return GrammarCompiler(self.tokenizer, self.engine.model.vocab)

    @functools.cached_property
    def guard(self) -> Guard:
        return Guard(self.tokenizer)

    def chat(self) -> ChatTemplate:
        if not self.vocabulary.template:
            raise ApiError(400, f"{self.name} has no chat template; use /v1/completions", "model", "no_chat_template")
        return chat_template(self.vocabulary.template, self.tokenizer)

    def start(self, jobs: Items[Job]) -> list[Sequence]:
        """Queue the sequences of one request; those with an equal prompt wait for the first one's. ApiError 429, 503."""
        loop = asyncio.get_running_loop()
        sequences: list[Sequence] = []
        leaders: dict[tuple[int, ...], Sequence] = {}
        for job in jobs:
            sequence = Sequence(job, self.tokenizer, Stream(loop, self.engine.resume), leaders.get(job.prompt))
            leaders.setdefault(job.prompt, sequence)
            sequences.append(sequence)
        try:
            self.engine.submit(sequences)
        except QueueFull as full:
            headers = {"Retry-After": str(full.retry_after_s)}
            raise ApiError(429, "too many requests wait; try again later", None, "queue_full", headers) from full
        except Closed as closed:
            raise ApiError(503, str(closed), None, "unavailable", {"Retry-After": "5"}) from closed
        return sequences


@dataclass(frozen=True)
class Settings:
    """Limits of the server. timeout_s: of a whole request, waiting included."""

    api_keys: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    timeout_s: float = 600.0
    stall_s: float = 60.0
    max_body_bytes: int = 16 << 20
    keep_alive_s: float = 10.0


def settings_of(request: Request) -> Settings:
    return request.app.state.settings
