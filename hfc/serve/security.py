"""What stands around every endpoint: API keys, the limit of a body, counting, models given back when the answer is sent.

Plain ASGI, so that streams pass untouched."""

from __future__ import annotations

import hmac

from starlette.datastructures import Headers

from hfc.serve.errors import ApiError, error_response
from hfc.serve.metrics import Meters
from hfc.serve.models import LEASES, return_all
from hfc.serve.served import Settings

OPEN_PATHS = frozenset({"/", "/page.css", "/page.js", "/health", "/ready"})  # without a key


class Guarded:
    """ASGI middleware."""

    def __init__(self, app, settings: Settings, meters: Meters, paths: frozenset[str]):
        self._app, self._settings, self._meters, self._paths = app, settings, meters, paths

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        counted = path if path in self._paths else "other"  # a bound for the number of label values

        async def counting_send(message) -> None:
            if message["type"] == "http.response.start":
                self._meters.answered(counted, message["status"])
            await send(message)

        error = self._refuse(scope)
        if error is not None:
            await error_response(error, path)(scope, receive, counting_send)
            return
        body = await _whole_body(receive, self._settings.max_body_bytes)
        if body is None:
            await error_response(self._too_large(), path)(scope, receive, counting_send)
            return
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay():
            return messages.pop() if messages else await receive()

        scope[LEASES] = []
        try:
            await self._app(scope, replay, counting_send)
        finally:
            return_all(scope)

    def _refuse(self, scope) -> ApiError | None:
        headers = Headers(scope=scope)
        if (
            self._settings.api_keys
            and scope["path"] not in OPEN_PATHS
            and scope["method"] != "OPTIONS"
            and not self._knows(headers)
        ):
            return ApiError(401, "missing or wrong API key", None, "invalid_api_key", {"WWW-Authenticate": "Bearer"})
        length = headers.get("content-length", "0")
        if not length.isdecimal():
            return ApiError(400, "Content-Length is not a number")
        return self._too_large() if int(length) > self._settings.max_body_bytes else None

    def _too_large(self) -> ApiError:
        return ApiError(
            413,
            f"the body is larger than {self._settings.max_body_bytes} bytes",
            None,
            "request_too_large",
            {"Connection": "close"},
        )

    def _knows(self, headers: Headers) -> bool:
        """Compare with every key in constant time, so that neither a prefix nor the key's place shows."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        matches = [
            hmac.compare_digest(given.encode("utf-8", "replace"), key.encode()) for key in self._settings.api_keys
        ]
        return any(matches)


async def _whole_body(receive, limit: int) -> bytes | None:
    """The body, None when it is larger than the limit; what came before a disconnect is all that there is."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b"".join(parts)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            return None
        if not message.get("more_body"):
            return b"".join(parts)


def is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")
