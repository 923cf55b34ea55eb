"""What llama-server has beyond OpenAI's paths: `/completion`, `/infill`, `/apply-template`, `/props`, `/slots`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import JSONResponse

from hfc import __version__
from hfc.serve.answer import KEEP_ALIVE, STREAM, Answer, check, merged, sse, sse_error, sse_response, whole
from hfc.serve.api.chat_completions import ChatRequest
from hfc.serve.body import BodyRoute
from hfc.serve.chat import render_chat
from hfc.serve.errors import ApiError, documented
from hfc.serve.infill import InfillRequest, NativeRequest
from hfc.serve.job import Finish, Logprob, Piece, Progress
from hfc.serve.logprobs import native_logprob
from hfc.serve.models import borrow
from hfc.serve.planning import planned
from hfc.serve.sequence import Sequence
from hfc.serve.served import Served, settings_of
from hfc.serve.usage import prompt_progress, timings

ROUTE = APIRouter(route_class=BodyRoute, tags=["llama-server"])
ERRORS = documented(408, 429, 500, 503)


class NativeCompletion(BaseModel):
    """stop_type: "eos", "limit", "word" or "none".  response_fields of a request may leave out any of it."""

    content: str | None = None
    stop: bool | None = None
    stop_type: str | None = None


class Slot(BaseModel):
    """A place for one answer. The counts are those of the answer that runs."""

    id: int
    n_ctx: int
    is_processing: bool = False
    id_task: int | None = None
    n_prompt_tokens: int = 0
    n_prompt_tokens_processed: int = 0
    n_prompt_tokens_cache: int = 0
    next_token: list[dict[str, int]] = []


class Template(BaseModel):
    prompt: str


RESPONSES = {**ERRORS, 200: {"model": NativeCompletion | list[NativeCompletion], "content": STREAM}}


@ROUTE.post("/completion", responses=RESPONSES)
async def completion(request: Request, body: NativeRequest):
    return await _complete(request, body)


@ROUTE.post("/completions", responses=RESPONSES)
async def completions(request: Request, body: NativeRequest):
    return await _complete(request, body)


@ROUTE.post("/infill", responses=RESPONSES)
async def infill(request: Request, body: InfillRequest):
    return await _complete(request, body)


async def _complete(request: Request, body: NativeRequest):
    served = await borrow(request, body.model)
    sequences = served.start(await planned(request, body.timeout, body.jobs, served, settings_of(request)))
    if body.stream:
        return sse_response(_chunks(request, served, sequences, body))
    answers = await whole(request, served, sequences)
    done = [_whole(served, i, answer, body) for i, answer in enumerate(answers)]
    return JSONResponse(done if body.is_list else done[0])


def _whole(served: Served, index: int, answer: Answer, body: NativeRequest) -> dict[str, Any]:
    data = {"index": index, "content": answer.text, "tokens": answer.tokens if body.return_tokens else []}
    if body.n_probs:
        data["completion_probabilities"] = _probabilities(served, [p.logprob for p in answer.pieces if p.logprob])
    data |= _ending(served, answer.sequence, answer.finish, body)
    return _chosen(data, body.response_fields)


def _chosen(data: dict[str, Any], fields: list[str] | None) -> dict[str, Any]:
    """Only the fields that the client names, "a/b" for one inside another."""
    if not fields:
        return data
    out = {}
    for name in fields:
        value: Any = data
        for part in name.split("/"):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            out[name] = value
    return out


def _probabilities(served: Served, logprobs: list[Logprob]) -> list[dict[str, Any]]:
    return [native_logprob(served.tokenizer, logprob) for logprob in logprobs]


def _ending(served: Served, sequence: Sequence, finish: Finish, body: NativeRequest) -> dict[str, Any]:
    job, usage = sequence.job, sequence.usage
    kind = "limit" if finish.reason == "length" else "word" if finish.stop else "eos"
    return {
        "id_slot": sequence.slot or 0, "stop": True, "model": served.name, "tokens_predicted": usage.completion,
        "tokens_evaluated": usage.prompt, "tokens_cached": usage.cached, "truncated": False, "stop_type": kind, "stopping_word": finish.stop or "",
        "has_new_line": any(b"\n" in served.tokenizer.core.bytes_of(t) for t in sequence.tokens if t not in served.tokenizer.special),
        "prompt": served.tokenizer.decode(job.prompt, keep_special=True), "generation_settings": body.settings_of(served, sequence), "timings": timings(sequence),
    }  # fmt: skip


async def _chunks(
    request: Request, served: Served, sequences: list[Sequence], body: NativeRequest
) -> AsyncIterator[bytes]:
    try:
        async for index, events in merged(served, sequences, settings_of(request).keep_alive_s):
            if index < 0:
                yield KEEP_ALIVE
            for event in events:
                if isinstance(event, Piece) and (event.token is not None or event.text):
                    tokens = [] if event.token is None else [event.token]
                    data = {"index": index, "content": event.text, "tokens": tokens, "stop": False}
                    if event.logprob and body.n_probs:
                        data["completion_probabilities"] = _probabilities(served, [event.logprob])
                    if body.timings_per_token:
                        data["timings"] = timings(sequences[index])
                    yield sse(data)
                elif isinstance(event, Progress):
                    told = {"index": index, "content": "", "tokens": [], "stop": False}
                    yield sse({**told, "prompt_progress": prompt_progress(event)})
                elif isinstance(event, Finish):
                    check(event)
                    ending = _ending(served, sequences[index], event, body)
                    yield sse({"index": index, "content": "", "tokens": [], **ending})
    except ApiError as error:
        yield sse_error(error, request.url.path)


@ROUTE.post("/apply-template", response_model=Template, responses=ERRORS)
async def apply_template(request: Request, body: ChatRequest):
    """The text that a chat's messages become, however long."""
    served = await borrow(request, body.model)
    opens = body.add_generation_prompt is not False
    ask = body.model_copy(update={"add_generation_prompt": None}).ask
    prompt = await planned(request, None, render_chat, served, ask)
    tokens = prompt.tokens if opens else prompt.tokens[: prompt.marks[-1]] or prompt.tokens
    return {"prompt": served.tokenizer.decode(tokens, keep_special=True)}


@ROUTE.get("/slots", responses={s: documented(503)[s] for s in (400, 401, 403, 404, 503)})
async def slots(request: Request, model: str | None = None) -> list[Slot]:
    """What each slot does now; no texts."""
    served = await borrow(request, model)
    running = {s.slot: s for s in served.engine.running()}
    return [_slot(i, running.get(i), served.engine.limits.context) for i in range(served.engine.limits.slots)]


def _slot(number: int, sequence: Sequence | None, context: int) -> Slot:
    if sequence is None:
        return Slot(id=number, n_ctx=context)
    most, written = sequence.job.max_tokens, len(sequence.tokens)
    left = context - len(sequence.prompt) - written if most is None else most - written
    token = {"has_next_token": True, "n_remain": max(0, left), "n_decoded": written}
    return Slot(
        id=number, n_ctx=context, is_processing=True, id_task=sequence.number, n_prompt_tokens=len(sequence.prompt),
        n_prompt_tokens_processed=max(0, min(sequence.position, len(sequence.prompt)) - sequence.usage.cached),
        n_prompt_tokens_cache=sequence.usage.cached, next_token=[token],
    )  # fmt: skip


@ROUTE.get(
    "/props",
    responses={401: documented()[401], 400: documented()[400], 404: documented()[404], 503: documented(503)[503]},
)
async def props(request: Request, model: str | None = None) -> dict[str, Any]:
    """What llama-server tells of its model."""
    served = await borrow(request, model)
    tokenizer, limits = served.tokenizer, served.engine.limits
    return {
        "default_generation_settings": {"n_ctx": limits.context, "params": vars(served.default) | {"n_predict": -1}},
        "total_slots": limits.slots, "model_alias": served.name, "model_path": served.name, "chat_template": served.vocabulary.template or "",
        "bos_token": tokenizer.token_text(tokenizer.bos), "eos_token": tokenizer.token_text(tokenizer.eos),
        "modalities": {"vision": False, "audio": False}, "build_info": f"hfc-{__version__}",
    }  # fmt: skip
