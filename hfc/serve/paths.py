"""Requests as other servers take them: paths without `/v1`, with a slash too many, or as a whole URL; bodies that name no content type;
HEAD wherever GET is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

PREFIX = "/v1"
SCHEMES = ("http://", "https://")


class ShortPaths:
    """ASGI middleware. paths: the app's own, which stay as they are."""

    def __init__(self, app, paths: Iterable[str]):
        self._app, self._paths = app, frozenset(paths)
        self._roots = frozenset(p.split("/")[2] for p in self._paths if p.startswith(PREFIX + "/"))

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] == "http":
            scope = plain_target(scope)
            path, headers = scope["path"], scope["headers"]
            # litellm's to Ollama; JSON is all that there is. Pages of browsers, which name their origin, must say so.
            if not {name for name, _ in headers} & {b"content-type", b"origin"}:
                scope = {**scope, "headers": [*headers, (b"content-type", b"application/json")]}
            if scope["method"] == "HEAD":  # the server sends no body then
                scope = {**scope, "method": "GET"}
            if path not in self._paths and path.split("/")[1:2] and path.split("/")[1] in self._roots:
                scope = {**scope, "path": PREFIX + path, "raw_path": (PREFIX + path).encode()}
        await self._app(scope, receive, send)


def plain_target(scope: dict[str, Any]) -> dict[str, Any]:
    """With a path that begins with one slash. HTTP wants whole URLs understood, and the host that such a one names taken for the client's."""
    path, headers = scope["path"], scope["headers"]
    if path.lower().startswith(SCHEMES):
        try:
            parts = urlsplit(path)
        except ValueError:
            return scope
        path = parts.path or "/"
        headers = [*((name, value) for name, value in headers if name != b"host"), (b"host", parts.netloc.encode())]
    elif not path.startswith("//"):
        return scope
    path = "/" + path.lstrip("/")
    return {**scope, "path": path, "raw_path": path.encode(), "headers": headers}
