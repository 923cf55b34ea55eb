"""`/v1/completions`: texts or token ids continued as they stand."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from hfc import __version__
from hfc.serve.answer import (
    DONE,
    KEEP_ALIVE,
    STREAM,
    Answer,
    check,
    large_json,
    merged,
    sse,
    sse_error,
    sse_response,
    whole,
)
from hfc.serve.body import BodyRoute
from hfc.serve.chat import new_id
from hfc.serve.dialects import COMPLETIONS
from hfc.serve.errors import ApiError, documented
from hfc.serve.infill import fill_in
from hfc.serve.job import Event, Finish, Job, Logprob, Piece, PromptPart
from hfc.serve.logprobs import completion_logprobs
from hfc.serve.models import borrow
from hfc.serve.parameters import MaxTokens, SamplingFields, StreamOptions, TokenId, check_prompt, first_given
from hfc.serve.planning import planned
from hfc.serve.prompt import encode
from hfc.serve.sequence import Sequence
from hfc.serve.served import Served, ServerSettings, settings_of
from hfc.serve.truncate import fit_tokens
from hfc.serve.usage import openai_usage

ROUTE = APIRouter(route_class=BodyRoute, tags=["completions"])
USUAL_TOKENS = 16  # OpenAI's default
MOST_SEQUENCES = 64

Ids = Annotated[list[TokenId], Field(min_length=1, fail_fast=True)]
Texts = Annotated[list[str], Field(min_length=1, fail_fast=True)]


class CompletionRequest(SamplingFields, dialect=COMPLETIONS):
    """OpenAI's request. prompt: a text, texts, token ids, or lists of token ids."""

    model: str | None = None
    prompt: str | Ids | Texts | Annotated[list[Ids], Field(min_length=1, fail_fast=True)]
    suffix: str | None = None
    max_tokens: Annotated[int, Field(ge=-1, le=1 << 30)] | None = None
    n_predict: MaxTokens | None = Field(None, description="llama-server's name of max_tokens.")
    n: Annotated[int, Field(ge=1, le=16)] | None = None
    best_of: Annotated[int, Field(ge=1, le=16)] | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    def prompts(self, served: Served) -> list[tuple[int, ...]]:
        given = self.prompt
        if isinstance(given, str) or isinstance(given[0], int):
            given = [given]
        most = None if self.truncation == "auto" else served.engine.limits.context
        prompts = [tuple(self._encode(served, p, most) if isinstance(p, str) else p) for p in given]
        if self.truncation == "auto":
            context, begin = served.engine.limits.context, served.tokenizer.bos
            prompts = [tuple(fit_tokens(p, context, max(self._most(served) or 1, 1), begin)) for p in prompts]
        for prompt in prompts:
            check_prompt(served, prompt, "prompt")
        return prompts

    def _encode(self, served: Served, text: str, most: int | None) -> list[int]:
        if not self.suffix:
            return encode(served, text, frame=True, most=most, param="prompt")
        return fill_in(served, text, self.suffix, param="suffix")

    def _most(self, served: Served) -> int | None:
        return served.most_tokens(first_given(self.max_tokens, self.n_predict, served.usual_tokens, USUAL_TOKENS))

    def jobs(self, served: Served, settings: ServerSettings) -> list[Job]:
        """n jobs for each prompt. ApiError 400 where fields contradict each other."""
        if self.best_of is not None and self.best_of != (self.n or 1):
            raise ApiError(400, "best_of other than n is not supported", "best_of", "unsupported_parameter")
        if self.truncation == "auto" and self.suffix:
            raise ApiError(400, "a prompt with a suffix cannot be truncated", "truncation", "unsupported_parameter")
        if self._most(served) == 0 and not self.echo:
            raise ApiError(400, "max_tokens 0 needs echo: true", "max_tokens", "invalid_value")
        prompts, count = self.prompts(served), self.n or 1
        if len(prompts) * count > MOST_SEQUENCES:
            raise ApiError(
                400,
                f"{len(prompts)} prompts times n = {count} is more than {MOST_SEQUENCES}",
                "prompt",
                "invalid_value",
            )
        return [
            Job(
                prompt,
                self.sampling(served, choice),
                self._most(served),
                self.stop_texts(),
                self.stop_ids(served),
                self.logprobs,
                prompt_logprobs=bool(self.echo) and self.logprobs is not None,
                guides=(*self.guides(served), *self.text_grammar(served)),
                marks=(len(prompt) - 1,),
                deadline_s=self.deadline_s(settings),
                priority=self.priority(),
                penalize_prompt=self.penalizes_prompt(),
            )
            for prompt in prompts
            for choice in range(count)
        ]


class CompletionChoice(BaseModel):
    index: int
    text: str
    logprobs: dict[str, Any] | None
    finish_reason: Literal["stop", "length"]


class Completion(BaseModel):
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: dict[str, Any]
    system_fingerprint: str


@ROUTE.post(
    "/v1/completions", responses={**documented(408, 429, 500, 503), 200: {"model": Completion, "content": STREAM}}
)
async def completions(request: Request, body: CompletionRequest):
    served = await borrow(request, body.model)
    sequences = served.start(await planned(request, body.timeout, body.jobs, served, settings_of(request)))
    head = {
        "id": new_id("cmpl-"), "object": "text_completion", "created": int(time.time()), "model": body.model or served.name,
        "system_fingerprint": f"hfc-{__version__}",
    }  # fmt: skip
    if body.stream:
        return sse_response(_chunks(request, served, sequences, head, body))
    answers = await whole(request, served, sequences)

    def answer() -> dict[str, Any]:
        choices = [_choice(served, i, answer, body) for i, answer in enumerate(answers)]
        return {**head, "choices": choices, "usage": openai_usage(sequences)}

    return await large_json(request, answer) if body.logprobs is not None else JSONResponse(answer())


def _choice(served: Served, index: int, answer: Answer, body: CompletionRequest) -> dict[str, Any]:
    tokenizer, prompt = served.tokenizer, list(answer.sequence.job.prompt)
    shown = tokenizer.decode(prompt, keep_special=True) if body.echo else ""
    logprobs = None
    if body.logprobs is not None:
        values: list[Logprob | None] = [p.logprob for p in answer.pieces if p.logprob]
        tokens = [p.logprob.token for p in answer.pieces if p.logprob]
        if body.echo:
            values, tokens = [None, *answer.prompt_logprobs, *values], [*prompt, *tokens]
        logprobs = completion_logprobs(tokenizer, values, tokens)
    return {"index": index, "text": shown + answer.text, "logprobs": logprobs, "finish_reason": answer.finish.reason}


async def _chunks(
    request: Request, served: Served, sequences: list[Sequence], head: dict[str, Any], body: CompletionRequest
) -> AsyncIterator[bytes]:
    tokenizer = served.tokenizer
    wants_usage = bool(body.stream_options and body.stream_options.include_usage)
    common = {**head, **({"usage": None} if wants_usage else {})}
    offsets = [0] * len(sequences)

    def chunk(index: int, text: str, logprobs: dict[str, Any] | None = None, finish: str | None = None) -> bytes:
        return sse(
            {**common, "choices": [{"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish}]}
        )

    def of_events(index: int, events: list[Event]) -> bytes | None:
        """What came in one go; the echo of a prompt comes first."""
        pieces = [e for e in events if isinstance(e, Piece)]
        text = "".join(p.text for p in pieces)
        logprobs = None
        if body.logprobs is not None and (known := [p.logprob for p in pieces if p.logprob]):
            logprobs = completion_logprobs(tokenizer, known, [p.token for p in known], offsets[index])
            offsets[index] += sum(map(len, logprobs["tokens"]))
        return chunk(index, text, logprobs) if text or logprobs else None

    try:
        echoed: set[int] = set()
        prompt_parts: dict[int, list[Logprob]] = {}
        async for index, events in merged(served, sequences, settings_of(request).keep_alive_s):
            if index < 0:
                yield KEEP_ALIVE
                continue
            finish = events[-1] if isinstance(events[-1], Finish) else None
            if finish is not None:
                check(finish)
            parts = prompt_parts.setdefault(index, [])
            parts += [p for e in events if isinstance(e, PromptPart) for p in e.logprobs]
            if body.echo and index not in echoed and not all(isinstance(e, PromptPart) for e in events):
                echoed.add(index)
                prompt = list(sequences[index].job.prompt)
                logprobs = completion_logprobs(tokenizer, [None, *parts], prompt) if body.logprobs is not None else None
                shown = tokenizer.decode(prompt, keep_special=True)
                offsets[index] = len(shown)
                yield chunk(index, shown, logprobs)
            if (data := of_events(index, events)) is not None:
                yield data
            if finish is not None:
                yield chunk(index, "", None, finish.reason)
    except ApiError as error:
        yield sse_error(error, request.url.path)
        return
    if wants_usage:
        yield sse({**common, "choices": [], "usage": openai_usage(sequences)})
    yield DONE
