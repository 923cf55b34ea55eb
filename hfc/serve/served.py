"""A loaded model as the API sees it: name, vocabulary, template and engine."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Mapping
from collections.abc import Sequence as Items
from dataclasses import field
from typing import Any

from fastapi import Request

from hfc.base.dataclass import dataclass
from hfc.runtime.chat import named_texts
from hfc.runtime.guard import Guard
from hfc.runtime.pieces import Pieces
from hfc.runtime.sampler import Sampling
from hfc.runtime.tokenizer import Tokenizer
from hfc.runtime.vocabulary import Vocabulary
from hfc.serve.engine import Closed, Engine, QueueFull
from hfc.serve.errors import ApiError
from hfc.serve.grammar import GrammarCompiler
from hfc.serve.job import Job
from hfc.serve.limits import ServerLimits
from hfc.serve.metrics import Metrics
from hfc.serve.render import Renderer
from hfc.serve.sequence import Sequence
from hfc.serve.stream import Stream
from hfc.serve.workers.pool import workers_of


@dataclass(frozen=True)
class Served:
    """default: the sampling of a request that says nothing.  usual_tokens: of an answer whose request sets no limit; None: the context
    is the only one.  variables: what the chat template sees of a request that says nothing else."""

    name: str
    vocabulary: Vocabulary
    engine: Engine
    default: Sampling = Sampling()
    aliases: tuple[str, ...] = ()
    limits: ServerLimits = ServerLimits()
    created: int = field(default_factory=lambda: int(time.time()))
    usual_tokens: int | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)

    def most_tokens(self, asked: int | None) -> int | None:
        """Of an answer: -1 asks for no limit but the context, and so is the result's None."""
        most = self.usual_tokens if asked is None else asked
        return None if most == -1 else most

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
        return GrammarCompiler(self.tokenizer, self.engine.model.vocab, self.limits)

    @functools.cached_property
    def guard(self) -> Guard:
        return Guard(self.tokenizer)

    @functools.cached_property
    def pieces(self) -> Pieces:
        return Pieces(self.tokenizer)

    @functools.cached_property
    def renderer(self) -> Renderer:
        """ApiError 400 for a model without a chat template."""
        if not self.vocabulary.template:
            raise ApiError(400, f"{self.name} has no chat template; use /v1/completions", "model", "no_chat_template")
        return Renderer(self.vocabulary.template, named_texts(self.tokenizer), workers_of(self.limits).templates)

    def warm(self) -> None:
        """Do now what the first request would wait for."""
        self.pieces, self.guard  # noqa: B018
        self.grammars.warm()
        if self.vocabulary.template:
            self.renderer.warm()

    def start(self, jobs: Items[Job]) -> list[Sequence]:
        """Queue the sequences of one request. ApiError 429, 503."""
        loop = asyncio.get_running_loop()
        sequences = [Sequence(job, self.tokenizer, Stream(loop, self.engine.resume)) for job in jobs]
        try:
            self.engine.submit(sequences)
        except QueueFull as full:
            headers = {"Retry-After": str(full.retry_after_s)}
            raise ApiError(429, "too many requests wait; try again later", None, "queue_full", headers) from full
        except Closed as closed:
            raise ApiError(503, str(closed), None, "unavailable", {"Retry-After": "5"}) from closed
        return sequences


MAY_GO_FIRST = "hfc.may_go_first"  # in the scope of a request: whether it may ask for priority


@dataclass(frozen=True)
class ServerSettings:
    """Who may ask, and how much. timeout_s: of a whole request, waiting included.  hosts: names beside this machine's own that clients
    without a key may call the server by.  priority_keys: those of api_keys whose requests may go first; without any keys all may."""

    api_keys: tuple[str, ...] = ()
    priority_keys: frozenset[str] = frozenset()
    cors_origins: tuple[str, ...] = ()
    hosts: frozenset[str] = frozenset()
    timeout_s: float = 600.0
    stall_s: float = 60.0
    keep_alive_s: float = 10.0
    limits: ServerLimits = ServerLimits()


def settings_of(request: Request) -> ServerSettings:
    return request.app.state.settings
