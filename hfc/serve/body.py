"""Bodies of requests: read within a time and a size, and looked at before anything is made of them."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.responses import Response

from hfc.serve.errors import ApiError
from hfc.serve.json_pieces import Shape, TooManyMarks, decoded
from hfc.serve.limits import ServerLimits

Receive = Callable[[], Awaitable[dict[str, Any]]]

LARGE_BYTES, LARGE_VALUES = 1 << 15, 1 << 10  # bodies from here on are read by a thread
PARSED = "hfc.parsed"  # in the scope of a request with a large body: its value
LINGER_S = 2.0
MARKS_OF_A_VALUE = 8  # brackets, commas and colons for each, at most


class Bodies:
    """All that are being read now, together within one size."""

    def __init__(self, limits: ServerLimits):
        self._limits, self._held = limits, 0

    @contextlib.asynccontextmanager
    async def read(self, receive: Receive) -> AsyncIterator[bytes]:
        """The body, which counts to its end. ApiError 408, 413, 503; 499 for one that did not come to its end."""
        parts: list[bytes] = []
        try:
            try:
                await asyncio.wait_for(self._collect(receive, parts), self._limits.body_s)
            except asyncio.TimeoutError:
                text = f"the body did not come within {self._limits.body_s:g} s"
                raise ApiError(408, text, None, "timeout", {"Connection": "close"}) from None
            body = b"".join(parts) if len(parts) > 1 else parts[0] if parts else b""
            parts[:] = [body]
            del body
            yield parts[0]
        finally:
            self._held -= sum(map(len, parts))

    async def _collect(self, receive: Receive, parts: list[bytes]) -> None:
        size = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise ApiError(499, "the client has gone")
            part = message.get("body", b"")
            parts.append(part)
            size += len(part)
            self._held += len(part)
            if size > self._limits.body_bytes:
                raise too_large(self._limits)
            if self._held > self._limits.bodies_bytes:
                headers = {"Retry-After": "5", "Connection": "close"}
                raise ApiError(503, "too many large bodies are being read", None, "unavailable", headers)
            if not message.get("more_body"):
                return


def too_large(limits: ServerLimits) -> ApiError:
    text = f"the body is larger than {limits.body_bytes} bytes"
    return ApiError(413, text, None, "request_too_large", {"Connection": "close"})


def is_large(body: bytes) -> bool:
    """Whether it takes the event loop longer than others should wait."""
    return len(body) >= LARGE_BYTES or body.count(b",") + body.count(b":") >= LARGE_VALUES


def check_small(body: bytes, limits: ServerLimits) -> None:
    """ApiError 400 for a body that the event loop may parse, or may not."""
    least = min(limits.json_depth, limits.json_containers, limits.json_values, limits.json_fields)
    if body.count(b"[") + body.count(b"{") + body.count(b":") + body.count(b",") > least:
        checked_shape(body, limits)


def checked_shape(body: bytes, limits: ServerLimits) -> Shape:
    """ApiError 400 for JSON that is nested too deeply or has too many values, before it is parsed."""
    try:
        shape = Shape(body, MARKS_OF_A_VALUE * limits.json_values)
    except TooManyMarks:
        raise _refused(f"the body has more than {limits.json_values} values") from None
    if (deepest := shape.deepest) > limits.json_depth:
        raise _refused(f"the body is nested {deepest} deep; at most {limits.json_depth} is read")
    if (containers := shape.containers) > limits.json_containers:
        text = f"the body has {containers} objects and lists; at most {limits.json_containers} are read"
        raise _refused(text)
    if (values := shape.values) > limits.json_values:
        raise _refused(f"the body has {values} values; at most {limits.json_values} are read")
    if (fields := shape.fields) > limits.json_fields:
        raise _refused(f"the body is an object with {fields} fields; at most {limits.json_fields} are read")
    return shape


def parsed(body: bytes, limits: ServerLimits) -> Any:
    """The value of a large body. ApiError 400."""
    if body.startswith(codecs.BOM_UTF8) or 0 in body[:4]:  # JSON may come in other encodings
        body = str(body, json.detect_encoding(body), "replace").encode()
    shape = checked_shape(body, limits)
    try:
        return decoded(body, shape)
    except ValueError:
        raise _refused("the body is not valid JSON") from None


def _refused(text: str) -> ApiError:
    return ApiError(400, text, None, "invalid_json")


async def linger(receive: Receive, most: int) -> None:
    """Take what a client still sends, for a while: closed before, the connection would be reset, and the answer lost with it."""

    async def discard() -> None:
        left = most
        while left > 0:
            message = await receive()
            if not message.get("more_body"):
                return
            left -= len(message["body"])

    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(discard(), LINGER_S)


class BodyRoute(APIRoute):
    """Large bodies are validated by a thread, as they were parsed: the endpoint gets what comes of it."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:
        handle, field = super().get_route_handler(), self.body_field

        async def handler(request: Request) -> Response:
            if PARSED not in request.scope or field is None:
                return await handle(request)
            state, value = request.app.state, request.scope.pop(PARSED)
            checked, problems = await state.planners.run(state.turns.work, field.validate, value, {}, loc=("body",))
            if problems:
                raise RequestValidationError(problems, body=value)
            return await handle(_Checked(request.scope, request.receive, checked))

        return handler


class _Checked(Request):
    """A request whose body is a value already."""

    def __init__(self, scope: MutableMapping[str, Any], receive: Receive, value: Any):
        super().__init__(scope, receive)
        self._value = value

    async def body(self) -> bytes:
        return b"{}"

    async def json(self) -> Any:
        return self._value
