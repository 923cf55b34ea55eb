"""Ollama's API: `/api/chat`, `/api/generate`, `/api/tags`, `/api/show`, `/api/ps`, `/api/version`, `/api/embed`, `/api/pull`."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response, StreamingResponse

from hfc import __version__
from hfc.serve.answer import Answer, large_json, whole
from hfc.serve.answer_state import note_error
from hfc.serve.api.embeddings import EmbeddingsRequest, answers_of, check_hidden, vector
from hfc.serve.body import BodyRoute
from hfc.serve.chat import ChatPlan, feed, plan_chat, stream_deltas
from hfc.serve.dialects import OLLAMA
from hfc.serve.errors import ApiError, OllamaError, documented, error_object
from hfc.serve.fetch import fetched
from hfc.serve.infill import NativeRequest, fill_in
from hfc.serve.job import Job
from hfc.serve.logprobs import chat_logprob
from hfc.serve.models import ModelEntry, borrow, models_of
from hfc.serve.ollama import AskRequest, GenerateRequest, ModelRequest, OllamaChatRequest, at, calls_of, ending, now
from hfc.serve.output import Delta, Output
from hfc.serve.parameters import Text, check_prompt
from hfc.serve.planning import planned
from hfc.serve.reasoning import OPEN
from hfc.serve.sequence import Sequence
from hfc.serve.served import Served, ServerSettings, settings_of
from hfc.serve.stepper import LAST_HIDDEN
from hfc.serve.tools import style_of

ROUTE = APIRouter(route_class=BodyRoute, tags=["ollama"])
API_VERSION = "0.13.5"  # whose API this is: clients look whether it is new enough
LINES = {"application/x-ndjson": {"schema": {"type": "string"}}}
ERRORS = documented(408, 429, 500, 503, model=OllamaError)
ANSWER = {**ERRORS, 200: {"model": dict[str, Any], "content": LINES}}
GIB = 1 << 30


class EmbedRequest(ModelRequest, dialect=OLLAMA):
    """truncate: whether the end of what is longer than the context is left out."""

    input: Text | Annotated[list[Text], Field(min_length=1, max_length=2048)]
    dimensions: Annotated[int, Field(ge=1)] | None = None
    truncate: bool | None = None
    options: dict[str, Any] | None = None


class OldEmbedRequest(ModelRequest, dialect=OLLAMA):
    prompt: Text


class NameRequest(ModelRequest, dialect=OLLAMA):
    """name: the older spelling of model."""

    name: str | None = None
    stream: bool | None = None

    @property
    def wanted(self) -> str | None:
        return self.model or self.name


class Version(BaseModel):
    version: str
    hfc: str


@ROUTE.get("/api/version", response_model=Version, responses={401: ERRORS[401]})
async def version():
    return {"version": API_VERSION, "hfc": __version__}


@ROUTE.get("/api/tags", responses={401: ERRORS[401]})
async def tags(request: Request) -> dict[str, Any]:
    return {"models": [await described(entry) for entry in models_of(request).entries]}


@ROUTE.get("/api/ps", responses={401: ERRORS[401]})
async def ps(request: Request) -> dict[str, Any]:
    models = models_of(request)
    return {"models": [await running(entry, models.expires_s(entry)) for entry in models.entries if entry.served]}


async def described(entry: ModelEntry) -> dict[str, Any]:
    """A model as lists show it. What is not known of one is empty."""
    digest = hashlib.sha256(entry.name.encode()).hexdigest()
    known = await asyncio.to_thread(lambda: entry.summary)  # once, from headers of files
    details = {
        "parent_model": "",
        "format": known.container,
        "family": known.family,
        "families": [known.family] if known.family else [],
        "parameter_size": known.size_text,
        "quantization_level": known.format,
    }
    common = {"name": entry.name, "model": entry.name, "size": entry.disk_bytes, "digest": digest, "details": details}
    return {**common, "modified_at": at(entry.created)}


async def running(entry: ModelEntry, expires_s: float | None) -> dict[str, Any]:
    """expires_s: on the monotonic clock; a model that stays has a date far away, as Ollama's clients want one.  Sizes are memory here."""
    left_s = 100 * 365 * 86400 if expires_s is None else max(0.0, expires_s - time.monotonic())
    limits = entry.served.engine.limits
    return {
        **await described(entry),
        "size": entry.nbytes,
        "expires_at": at(time.time() + left_s),
        "size_vram": 0 if entry.served.engine.model.plan.library else entry.nbytes,
        "context_length": limits.context,
    }


@ROUTE.post("/api/show", responses=ERRORS)
async def show(request: Request, body: NameRequest) -> dict[str, Any]:
    served = await borrow(request, body.wanted, body.keep_s())
    entry = models_of(request).entry(body.wanted)
    details, known = (await described(entry))["details"], entry.summary
    template = served.vocabulary.template or ""
    plan, default = served.engine.model.plan, served.default
    able = ["completion"] + (["tools"] if template else []) + (["thinking"] if OPEN in template else [])
    able += ["embedding"] if LAST_HIDDEN in plan.taps else []
    options = {name: getattr(default, name) for name in ("temperature", "top_k", "top_p", "min_p")}
    return {
        "modelfile": f"FROM {served.name}",
        "parameters": "\n".join(f"{name} {value}" for name, value in options.items()),
        "template": template,
        "details": details,
        "model_info": {
            "general.basename": served.name,
            "general.architecture": known.family,
            "general.parameter_count": known.parameters,
            "context_length": served.engine.limits.context,
            # where Ollama's clients look: what fits here, whatever the model was trained for
            f"{known.family or 'general'}.context_length": served.engine.limits.context,
        },
        "capabilities": able,
        "modified_at": at(served.created),
        "tool_style": style_of(template),
    }


@ROUTE.post("/api/chat", responses=ANSWER)
async def chat(request: Request, body: OllamaChatRequest):
    return await _answer(request, body, bool(body.messages), _as_message)


@ROUTE.post("/api/generate", responses=ANSWER)
async def generate(request: Request, body: GenerateRequest):
    return await _answer(request, body, bool(body.prompt or body.suffix), _as_response)


async def _answer(request: Request, body: AskRequest, is_asked: bool, shape):
    """shape: (content, thinking, calls) to the fields of a line. A request that asks nothing loads the model, or unloads it."""
    began_s = time.monotonic()
    served = await borrow(request, body.model, body.keep_s())
    loaded_s = time.monotonic()
    head = {"model": body.model or served.name}
    if not is_asked:
        reason = "unload" if body.keep_s() == 0 else "load"
        return JSONResponse({**head, "created_at": now(), **shape("", "", []), "done": True, "done_reason": reason})
    plan = await planned(request, None, _plan, served, body, settings_of(request))
    (sequence,) = served.start(plan.jobs)
    if body.stream is not False:
        lines = _lines(request, served, sequence, plan, head, shape, (began_s, loaded_s))
        return StreamingResponse(lines, media_type="application/x-ndjson", headers=plan.headers)
    (answer,) = await whole(request, served, [sequence])
    output = plan.new_output()
    feed(output, answer.pieces, sequence)
    output.close()
    message = output.message
    told = {**shape(message.content, message.reasoning, calls_of(message)), **_logprobs(output, served)}
    done = ending(sequence, answer.finish.reason, began_s, loaded_s)
    return JSONResponse({**head, "created_at": now(), **told, **done}, headers=plan.headers)


def _plan(served: Served, body: AskRequest, settings: ServerSettings) -> ChatPlan:
    """Of a chat, or of a text without a template."""
    if not isinstance(body, GenerateRequest) or not (body.raw or body.suffix):
        return plan_chat(served, body.ask, settings)
    fields = body.options.fields(truncates=False)
    native = NativeRequest(
        prompt=body.prompt, n_predict=body.options.max_tokens, **fields.model_dump(exclude_none=True)
    )
    if not body.suffix:
        jobs = [replace(job, logprobs=body.alternatives()) for job in native.jobs(served, settings)]
        return ChatPlan(jobs, lambda: Output(False, may_open=False))
    prompt = tuple(fill_in(served, body.prompt, body.suffix, param="suffix"))
    check_prompt(served, prompt, "prompt")
    job = Job(
        prompt,
        fields.sampling(served),
        served.most_tokens(body.options.max_tokens),
        fields.stop_texts(),
        fields.stop_ids(served),
        body.alternatives(),
        deadline_s=fields.deadline_s(settings),
    )
    return ChatPlan([job], lambda: Output(False, may_open=False))


def _as_message(content: str, thinking: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if thinking:
        message["thinking"] = thinking
    if calls:
        message["tool_calls"] = calls
    return {"message": message}


def _as_response(content: str, thinking: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
    return {"response": content, **({"thinking": thinking} if thinking else {})}


async def _lines(
    request: Request,
    served: Served,
    sequence: Sequence,
    plan: ChatPlan,
    head: dict[str, Any],
    shape,
    began: tuple[float, float],
) -> AsyncIterator[bytes]:
    """Calls come whole, before the last line."""
    output = plan.new_output()
    try:
        async for deltas, finish, _ in stream_deltas(served, sequence, output, settings_of(request).keep_alive_s):
            for delta in deltas:
                if delta.kind in ("content", "reasoning"):
                    told = {**_told(delta, shape), **_logprobs(output, served)}
                    yield line({**head, "created_at": now(), **told, "done": False})
            if finish is None:
                continue
            if calls := calls_of(output.message):
                told = {**shape("", "", calls), **_logprobs(output, served)}
                yield line({**head, "created_at": now(), **told, "done": False})
            told = {**shape("", "", []), **_logprobs(output, served)}
            yield line({**head, "created_at": now(), **told, **ending(sequence, finish.reason, *began)})
    except ApiError as error:
        note_error(error)
        yield line(error_object(error, request.url.path))


def _told(delta: Delta, shape) -> dict[str, Any]:
    return shape(delta.text, "", []) if delta.kind == "content" else shape("", delta.text, [])


def _logprobs(output: Output, served: Served) -> dict[str, Any]:
    """Of the tokens since the last line; the field is there only where they were asked for."""
    taken = [chat_logprob(served.tokenizer, logprob) for logprob, _ in output.take_logprobs()]
    return {"logprobs": taken} if taken else {}


def line(data: dict[str, Any]) -> bytes:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


@ROUTE.post("/api/embed", responses=ERRORS)
async def embed(request: Request, body: EmbedRequest) -> Response:
    began_s = time.monotonic()
    served = await borrow(request, body.model, body.keep_s())
    loaded_s = time.monotonic()
    answers, count = await _embedded(request, served, body.input, body.truncate is not False)
    return await large_json(
        request,
        lambda: {
            "model": body.model or served.name,
            "embeddings": (vector(answer.pooled, body.dimensions, True).tolist() for answer in answers),
            "total_duration": round((time.monotonic() - began_s) * 1e9),
            "load_duration": round((loaded_s - began_s) * 1e9),
            "prompt_eval_count": count,
        },
    )


@ROUTE.post("/api/embeddings", responses=ERRORS)
async def old_embed(request: Request, body: OldEmbedRequest) -> dict[str, Any]:
    """The older form, of one text."""
    served = await borrow(request, body.model, body.keep_s())
    (answer,), _ = await _embedded(request, served, body.prompt, True)
    return {"embedding": vector(answer.pooled, None, True).tolist()}


async def _embedded(
    request: Request, served: Served, texts: str | list[str], truncates: bool
) -> tuple[list[Answer], int]:
    """Their hidden states, and how many tokens the texts have."""
    check_hidden(served)
    wanted = EmbeddingsRequest(input=texts, truncation="auto" if truncates else None)
    jobs = await planned(request, None, wanted.jobs, served, settings_of(request))
    answers = await answers_of(request, served, jobs)
    return answers, sum(len(job.prompt) for job in jobs)


@ROUTE.post("/api/pull", responses=ANSWER)
async def pull(request: Request, body: NameRequest):
    """Fetch a model of the registry, so that it can be asked for."""
    models = models_of(request)
    name = body.wanted
    if name is None:
        raise ApiError(400, "missing parameter: 'model'", "model", "missing_parameter")
    progress = fetched(models, name)
    if body.stream is not False:
        return StreamingResponse(_progress(progress, request.url.path), media_type="application/x-ndjson")
    async for _ in progress:
        pass
    return JSONResponse({"status": "success"})


async def _progress(progress: AsyncIterator[dict[str, Any]], path: str) -> AsyncIterator[bytes]:
    try:
        async for told in progress:
            yield line(told)
    except ApiError as error:
        yield line(error_object(error, path))
