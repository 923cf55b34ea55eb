"""Reading answers: a whole one for a plain response, or server-sent events as they come, cancelled when the client goes."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import field
from typing import Any

import numpy as np
from fastapi import Request
from starlette.responses import Response, StreamingResponse

from hfc.base.dataclass import dataclass
from hfc.serve.answer_state import note_begun, note_error
from hfc.serve.encoding import encoded
from hfc.serve.errors import ApiError, error_object
from hfc.serve.job import Event, Finish, Logprob, Piece, Pooled
from hfc.serve.planning import disconnected
from hfc.serve.sequence import Sequence
from hfc.serve.served import Served

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_encode_text = json.encoder.encode_basestring  # what it does with a text
_PLACE = secrets.token_hex(16)  # nothing that a client sends
KEEP_ALIVE = b": keep-alive\n\n"
PING = b'event: ping\ndata: {"type":"ping"}\n\n'  # Anthropic's
DONE = b"data: [DONE]\n\n"
_EVENT = {
    "type": "object",
    "properties": {"data": {"type": "string"}, "event": {"type": "string"}},
    "required": ["data"],
}
STREAM = {"text/event-stream": {"schema": _EVENT}}  # for the OpenAPI document


@dataclass
class Answer:
    """A finished sequence."""

    sequence: Sequence
    text: str = ""
    tokens: list[int] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    prompt_logprobs: list[Logprob] = field(default_factory=list)
    pooled: np.ndarray | None = None
    finish: Finish = Finish("stop")


async def whole(request: Request, served: Served, sequences: list[Sequence]) -> list[Answer]:
    """All answers, in order. Cancels them when the client disconnects or one fails."""
    work = asyncio.ensure_future(_collect_all(sequences))
    gone = asyncio.ensure_future(disconnected(request))
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ApiError(499, "the client has gone")
        return work.result()
    finally:
        served.engine.cancel(sequences)
        for task in (work, gone):
            task.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)  # a task that nobody awaits complains in the log


async def _collect_all(sequences: list[Sequence]) -> list[Answer]:
    return list(await asyncio.gather(*(_collect(s) for s in sequences)))


async def _collect(sequence: Sequence) -> Answer:
    answer = Answer(sequence)
    while True:
        for event in await sequence.stream.read():
            if isinstance(event, Finish):
                check(event)
                answer.finish = event
                answer.text = "".join(p.text for p in answer.pieces)
                return answer
            if isinstance(event, Piece):
                answer.pieces.append(event)
                if event.token is not None:
                    answer.tokens.append(event.token)
            elif isinstance(event, Pooled):
                answer.pooled = event.values
            else:
                answer.prompt_logprobs += event.logprobs


def check(finish: Finish) -> None:
    """ApiError for an end that is no answer."""
    if finish.reason == "timeout":
        raise ApiError(408, "the request took longer than the server allows", None, "timeout")
    if finish.reason == "overloaded":
        text = "no slot became free within the time that this server lets requests wait; try again later"
        raise ApiError(429, text, None, "queue_full", {"Retry-After": "5"})
    if finish.reason == "error":
        code = "model_error" if finish.status >= 500 else "invalid_value"
        raise ApiError(finish.status, finish.message or "the model failed", None, code)
    if finish.reason == "cancelled":
        raise ApiError(503, finish.message or "cancelled", None, "cancelled", {"Retry-After": "5"})


async def merged(
    served: Served, sequences: list[Sequence], keep_alive_s: float
) -> AsyncIterator[tuple[int, list[Event]]]:
    """(index, events) of all sequences as they come; (-1, []) when nothing came for a while. Cancels what is left at the end."""
    if len(sequences) == 1:  # by far the most: without a task for each read
        try:
            events: list[Event] = []
            while not events or not isinstance(events[-1], Finish):
                events = await sequences[0].stream.read(keep_alive_s)
                _note(events)
                yield (0 if events else -1), events
        finally:
            served.engine.cancel(sequences)
        return
    pending = {asyncio.ensure_future(s.stream.read()): i for i, s in enumerate(sequences)}
    try:
        while pending:
            done, _ = await asyncio.wait(pending, timeout=keep_alive_s, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                yield -1, []
            for task in sorted(done, key=pending.__getitem__):
                index, events = pending.pop(task), task.result()
                if not isinstance(events[-1], Finish):
                    pending[asyncio.ensure_future(sequences[index].stream.read())] = index
                _note(events)
                yield index, events
    finally:
        served.engine.cancel(sequences)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


def _note(events: list[Event]) -> None:
    """A bad end before any of the answer is no beginning."""
    if events and not isinstance(events[0], Finish):
        note_begun()


async def large_json(
    request: Request, make: Callable[[], dict[str, Any]], headers: Mapping[str, str] | None = None
) -> Response:
    """An answer that may be long (log probabilities of every token), made and encoded beside the event loop."""
    body = await request.app.state.planners.run(lambda: encoded(make()))
    return Response(body, headers=headers, media_type="application/json")


def sse(data: dict[str, Any], event: str | None = None) -> bytes:
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {_encode(data)}\n\n".encode()


def sse_of_text(make: Callable[[str], dict[str, Any]], event: str | None = None) -> Callable[[str], bytes]:
    """Events that differ in one text alone, as those of every token do: the rest of them is encoded once."""
    before, after = sse(make(_PLACE), event).decode().split(_encode_text(_PLACE))
    return lambda text: f"{before}{_encode_text(text)}{after}".encode()


def sse_error(error: ApiError, path: str) -> bytes:
    note_error(error)
    return sse(error_object(error, path), "error" if path.startswith("/v1/messages") else None)


def sse_response(chunks: AsyncIterator[bytes], headers: Mapping[str, str] = {}) -> StreamingResponse:
    """headers: beside those of every stream."""
    usual = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(chunks, media_type="text/event-stream", headers={**usual, **headers})
