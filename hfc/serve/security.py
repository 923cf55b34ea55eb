"""What stands around every endpoint: who may ask, the limits of a body, counting, models given back when the answer is sent.

Plain ASGI, so that streams pass untouched."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import re
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from hfc.serve.body import LARGE_BYTES, PARSED, Bodies, check_small, is_large, linger, parsed, too_large
from hfc.serve.errors import ApiError, error_response, words_of
from hfc.serve.limits import ServerLimits
from hfc.serve.memory import give_memory_back
from hfc.serve.metrics import Meters
from hfc.serve.models import LEASES, return_all
from hfc.serve.planning import Planners
from hfc.serve.served import MAY_GO_FIRST, ServerSettings
from hfc.serve.tolerance import FIELDS
from hfc.serve.turns import Turns, leave

PAGE = ("/", "/page.css", "/page.js", "/page/markdown.js", "/page/chats.js", "/page/marked.js", "/page/purify.js")
OPEN_PATHS = frozenset({*PAGE, "/health", "/ready"})  # without a key
HUGE_BYTES = 1 << 20  # of large requests and their answers: after this much, memory is given back
GIVE_BACK_S = 1.0


class Guarded:
    """ASGI middleware."""

    def __init__(
        self,
        app,
        settings: ServerSettings,
        meters: Meters,
        paths: frozenset[str],
        planners: Planners,
        turns: Turns,
    ):
        self._app, self._settings, self._meters, self._paths = app, settings, meters, paths
        self._bodies, self._planners, self._turns = Bodies(settings.limits), planners, turns
        # Of large requests and their answers since memory was given back: bytes, and how often they were many.
        self._since = self._ended = 0
        self._giving_back: asyncio.Future[None] | None = None

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        FIELDS.set(self._settings.limits.json_fields)
        path = scope["path"]
        counted = path if path in self._paths else "other"  # a bound for the number of label values

        nbytes, has_begun = 0, False  # of the body and the answer; the answer

        async def counting_receive():
            nonlocal nbytes
            message = await receive()
            nbytes += len(message.get("body", b""))
            return message

        async def counting_send(message) -> None:
            nonlocal nbytes, has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                self._meters.answered(counted, message["status"])
            nbytes += len(message.get("body", b""))
            await send(message)

        try:
            await self._serve(scope, counting_receive, counting_send)
        except asyncio.CancelledError:
            if not scope["app"].state.is_ending:
                raise
            if not has_begun:
                error = ApiError(503, "the server is shutting down", None, "cancelled", {"Retry-After": "5"})
                await error_response(error, words_of(path, Headers(scope=scope)))(scope, receive, counting_send)
        finally:
            leave(scope)
            self._passed(nbytes)

    async def _serve(self, scope, receive, send) -> None:
        try:
            self._check(scope)
            body = await self._read(scope, receive)
        except ApiError as error:
            leave(scope)
            await self._refuse(error, words_of(scope["path"], Headers(scope=scope)))(scope, receive, send)
            return
        messages = [{"type": "http.request", "body": body, "more_body": False}]
        del body

        async def replay():
            return messages.pop() if messages else await receive()

        scope[LEASES] = []
        try:
            await self._app(scope, replay, send)
        finally:
            return_all(scope)

    async def _read(self, scope, receive) -> bytes:
        """The body; of a large one the value is in the scope, and nothing is left. ApiError 400, 408, 413, 415, 503."""
        limits = self._settings.limits
        async with self._bodies.read(receive) as body:
            if body:
                check_type(Headers(scope=scope))
            if is_large(body):
                await self._turns.enter(scope, body)
                return await self._large(scope, body, limits)
            check_small(body, limits)
            return self._small(scope, body)

    def _small(self, scope, body: bytes) -> bytes:
        """What the app reads of a body that is parsed on the loop."""
        return body

    async def _large(self, scope, body: bytes, limits: ServerLimits) -> bytes:
        """What the app reads of one that a thread parses; its turn is left with the request."""
        scope[PARSED] = await self._planners.run(self._turns.work, parsed, body, limits)
        return b""

    def _passed(self, nbytes: int) -> None:
        """A request and its answer. Memory is given back when the connection has let go of it, too; once for several that end together."""
        if nbytes < LARGE_BYTES:
            return
        self._since += nbytes
        if self._since < HUGE_BYTES:
            return
        self._since, self._ended = 0, self._ended + 1
        if self._giving_back is None or self._giving_back.done():
            self._giving_back = asyncio.ensure_future(self._give_back())

    async def _give_back(self) -> None:
        while self._ended:
            await asyncio.sleep(GIVE_BACK_S)
            several, self._ended = self._ended > 1, 0
            async with self._turns.pause():  # looking for what can be given back takes the longer, the more is held
                await self._planners.run(give_memory_back)
            self._ended += several

    def _refuse(self, error: ApiError, path: str) -> Callable[..., Awaitable[None]]:
        """An answer before the body was read, or all of it: the connection is closed when the client has seen it."""
        response = error_response(error, path)
        if "Connection" not in error.headers:
            return response

        async def answer(scope, receive, send) -> None:
            async def send_open(message) -> None:
                if message["type"] == "http.response.body":
                    message["more_body"] = True
                await send(message)

            await response(scope, receive, send_open)
            await linger(receive, self._settings.limits.body_bytes)
            await send({"type": "http.response.body", "body": b""})

        return answer

    def _check(self, scope) -> None:
        """ApiError for a request whose body need not be read."""
        headers, settings = Headers(scope=scope), self._settings
        key = self._key_of(headers)
        scope[MAY_GO_FIRST] = not settings.api_keys or key in settings.priority_keys
        if not settings.api_keys:
            check_browser(headers, settings)
        elif scope["path"] not in OPEN_PATHS and scope["method"] != "OPTIONS" and key is None:
            raise ApiError(401, "missing or wrong API key", None, "invalid_api_key", {"WWW-Authenticate": "Bearer"})
        length = headers.get("content-length", "0")
        if not length.isdecimal():
            raise ApiError(400, "Content-Length is not a number")
        if len(length) > 18 or int(length) > settings.limits.body_bytes:
            raise too_large(settings.limits)

    def _key_of(self, headers: Headers) -> str | None:
        """The key that a request has. It is compared with every one in constant time, so that neither a prefix nor its place shows."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        keys = self._settings.api_keys
        matches = [key for key in keys if hmac.compare_digest(given.encode("utf-8", "replace"), key.encode())]
        return matches[0] if matches else None


LOCALHOST = "localhost"  # among the allowed origins: pages that this machine serves itself, whatever their port
LOOPBACK_ORIGIN = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"


def check_browser(headers: Headers, settings: ServerSettings) -> None:
    """Without keys the address is all that protects the server, so a browser must not lend it to other sites. ApiError 403 for a Host
    that is neither this machine's nor the one that the server was told (another name may have been made to point here), and for
    pages of another origin."""
    host = headers.get("host")
    name = None if host is None else host_name(host)
    if host is not None and (name is None or not (is_loopback(name) or name in settings.hosts)):
        known = ", ".join(("localhost", *sorted(settings.hosts)))
        text = f"this server does not answer to the host {host[:100]!r}, only to {known}; an API key lifts that"
        raise ApiError(403, text, None, "forbidden_host")
    origin = headers.get("origin")
    if origin is None:
        is_foreign = headers.get("sec-fetch-site") in ("cross-site", "same-site")
        if is_foreign and headers.get("sec-fetch-mode") != "navigate":
            raise ApiError(403, "pages of other sites may not use this server", None, "forbidden_origin")
        return
    if "*" in settings.cors_origins or origin in settings.cors_origins:
        return
    if LOCALHOST in settings.cors_origins and re.fullmatch(LOOPBACK_ORIGIN, origin):
        return
    if host is None or urlsplit_host(origin) != host.lower():
        text = f"pages of {origin[:100]!r} may not use this server; --cors allows an origin"
        raise ApiError(403, text, None, "forbidden_origin")


def urlsplit_host(origin: str) -> str | None:
    """ "http://localhost:80" -> "localhost:80"; None for what is no origin of a server ("null")."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return None
    return parts.netloc.lower() if parts.scheme in ("http", "https") else None


def host_name(host: str) -> str | None:
    """The name or address in a Host header, without its port; None if there is none."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    return None if parts.username is not None or parts.path else parts.hostname


def is_loopback(name: str) -> bool:
    """Whether a name or an address, as people write it, is this machine itself."""
    if name.lower().rstrip(".") == "localhost" or name.lower().endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def check_type(headers: Headers) -> None:
    """A form of another site can send bodies of other types without asking; packed ones are not read. ApiError 415."""
    coding = headers.get("content-encoding", "").strip().lower()
    if coding not in ("", "identity"):
        text = f"the Content-Encoding is {coding[:100]!r}; send the body as it is"
        raise ApiError(415, text, None, "unsupported_media_type")
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json")):
        return
    text = f"the Content-Type is {kind[:100] or 'missing'!r}; bodies are JSON: Content-Type: application/json"
    raise ApiError(415, text, None, "unsupported_media_type")
