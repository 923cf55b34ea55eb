"""Requests as other servers take them: paths without `/v1`, bodies that name no content type, HEAD wherever GET is."""

from __future__ import annotations

from collections.abc import Iterable

PREFIX = "/v1"


class ShortPaths:
    """ASGI middleware. paths: the app's own, which stay as they are."""

    def __init__(self, app, paths: Iterable[str]):
        self._app, self._paths = app, frozenset(paths)
        self._roots = frozenset(p.split("/")[2] for p in self._paths if p.startswith(PREFIX + "/"))

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] == "http":
            path, headers = scope["path"], scope["headers"]
            # litellm's to Ollama; JSON is all that there is. Pages of browsers, which name their origin, must say so.
            if not {name for name, _ in headers} & {b"content-type", b"origin"}:
                scope = {**scope, "headers": [*headers, (b"content-type", b"application/json")]}
            if scope["method"] == "HEAD":  # the server sends no body then
                scope = {**scope, "method": "GET"}
            if path not in self._paths and path.split("/")[1:2] and path.split("/")[1] in self._roots:
                scope = {**scope, "path": PREFIX + path, "raw_path": (PREFIX + path).encode()}
        await self._app(scope, receive, send)
