"""The app at the door of a deployment: what stands around every endpoint stays here, what is asked goes to a replica."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from fastapi import FastAPI
from starlette.responses import JSONResponse, Response

from hfc import __version__
from hfc.serve.app import fence
from hfc.serve.errors import ApiError, install_handlers
from hfc.serve.metrics import Meters
from hfc.serve.ray.guards import BEGINNINGS, DoorGuard
from hfc.serve.ray.parts import Asked, Replicas
from hfc.serve.ray.passing import Counts, Outgoing, pass_on
from hfc.serve.ray.sums import metrics_text
from hfc.serve.served import MAY_GO_FIRST, ServerSettings
from hfc.serve.turns import Turns

# Keys stay here, and what is said of one connection.
OWN_HEADERS = frozenset((b"authorization", b"x-api-key", b"connection", b"keep-alive", b"transfer-encoding", b"te"))
RUNNING = "RUNNING"


def make_door(replicas: Replicas, settings: ServerSettings) -> FastAPI:
    meters, counts = Meters(), Counts()
    app = FastAPI(title="hfc", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/health")
    async def health() -> Response:
        """Well as long as a replica is."""
        states = await replicas.states()
        is_well = states.get(RUNNING, 0) > 0
        return JSONResponse({"status": "ok" if is_well else "failed", "replicas": states}, 200 if is_well else 503)

    @app.get("/ready")
    async def ready() -> Response:
        told = {
            name: (facts["ready"][0], facts["pid"], facts["ready"][1])
            for name, facts in (await replicas.facts()).items()
        }
        is_ready = any(status == 200 for status, _, _ in told.values())
        body = {
            "ready": is_ready,
            "replicas": {name: {"pid": pid, **json.loads(text)} for name, (_, pid, text) in told.items()},
        }
        return JSONResponse(body, 200 if is_ready else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        texts = {name: facts["metrics"][1] for name, facts in (await replicas.facts()).items()}
        return Response(metrics_text(meters, counts, texts), media_type="text/plain; version=0.0.4; charset=utf-8")

    app.state.forward = forward = Forward(replicas, counts, settings)
    app.mount("/", forward)
    install_handlers(app)
    fence(app, settings, meters, Turns(), DoorGuard)
    return app


class Forward:
    """ASGI: passes requests to replicas."""

    def __init__(self, replicas: Replicas, counts: Counts, settings: ServerSettings):
        self._replicas, self._counts, self._timeout_s = replicas, counts, settings.timeout_s
        self._held, self._most_bytes = 0, settings.limits.bodies_bytes  # of requests that may have to be asked anew
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: set[asyncio.Task[None]] = set()

    def cut_off(self) -> None:
        """From any thread: tell everybody who is being answered that the server ends."""
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(self._cut_off(), self._loop).result()

    async def _cut_off(self) -> None:
        for task in list(self._running):
            task.cancel()

    async def __call__(self, scope: dict[str, Any], receive, send) -> None:
        if scope["type"] != "http":
            return
        self._loop = asyncio.get_running_loop()
        body = (await receive()).get("body", b"")
        if self._held + len(body) > self._most_bytes:
            headers = {"Retry-After": "5", "Connection": "close"}
            raise ApiError(503, "too many large bodies wait for their answers", None, "unavailable", headers)
        headers = [(name, value) for name, value in scope["headers"] if name not in OWN_HEADERS]
        asked = Asked(
            scope["method"], scope["path"], scope["query_string"], headers, body, scope[MAY_GO_FIRST], scope.get(BEGINNINGS, ())
        )  # fmt: skip
        self._held += len(body)
        del body

        def let_go() -> None:
            self._held -= len(asked.body)
            asked.body = b""

        outgoing = Outgoing(asked, send, let_go)
        passing = asyncio.ensure_future(pass_on(asked, self._replicas, outgoing, self._counts, self._timeout_s))
        gone = asyncio.ensure_future(_gone(receive))
        self._running.add(passing)
        try:
            await asyncio.wait((passing, gone), return_when=asyncio.FIRST_COMPLETED)
            if passing.cancelled():
                await outgoing.give_up(
                    ApiError(503, "the server is shutting down", None, "cancelled", {"Retry-After": "5"})
                )
            elif passing.done():
                passing.result()
        finally:
            self._running.discard(passing)
            let_go()
            for task in (passing, gone):
                task.cancel()
            await asyncio.gather(passing, gone, return_exceptions=True)


async def _gone(receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
