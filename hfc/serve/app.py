"""The ASGI application: every endpoint of hfc/serve/api behind one guard, with errors as clients know them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import pkgutil
import threading
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse

from hfc import __version__
from hfc.serve import api
from hfc.serve.errors import install_handlers
from hfc.serve.memory import is_collection_due
from hfc.serve.metrics import Meters
from hfc.serve.models import Models
from hfc.serve.paths import ShortPaths
from hfc.serve.planning import Planners
from hfc.serve.security import LOCALHOST, LOOPBACK_ORIGIN, Guarded
from hfc.serve.served import ServerSettings
from hfc.serve.turns import Turns

WATCH_S = 1.0


def make_app(models: Models, settings: ServerSettings, guard: type[Guarded] = Guarded) -> FastAPI:
    """The app of some models."""

    @contextlib.asynccontextmanager
    async def watching(_app: FastAPI) -> AsyncIterator[None]:
        tasks = asyncio.ensure_future(models.watch()), asyncio.ensure_future(_watch_memory(turns))
        yield
        for task in tasks:
            task.cancel()

    app = FastAPI(title="hfc", version=__version__, docs_url=None, redoc_url=None, openapi_url=None, lifespan=watching)
    app.state.models, turns = models, Turns()
    for router in routers():
        app.include_router(router)
    _add_openapi_route(app)
    install_handlers(app)
    fence(app, settings, models.meters, turns, guard)
    return app


def routers() -> list[APIRouter]:
    """Of every endpoint."""
    return [
        importlib.import_module(f"{api.__name__}.{module.name}").ROUTE for module in pkgutil.iter_modules(api.__path__)
    ]


def fence(app: FastAPI, settings: ServerSettings, meters: Meters, turns: Turns, guard: type[Guarded]) -> None:
    """Put what stands around every endpoint around an app."""
    app.state.settings, app.state.is_ending, app.state.turns = settings, False, turns
    app.state.planners = planners = Planners(settings.limits.planning)
    paths = {route.path_format for router in routers() for route in router.routes if route.include_in_schema}
    known = frozenset({"/openapi.json", *paths})
    app.add_middleware(guard, settings=settings, meters=meters, paths=known, planners=planners, turns=turns)
    app.add_middleware(ShortPaths, paths=known)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_origin_regex=LOOPBACK_ORIGIN if LOCALHOST in settings.cors_origins else None,
            allow_methods=["GET", "POST", "OPTIONS"],
            allow_headers=["*"],
        )


def is_ending(app: FastAPI) -> None:
    """Requests that are cancelled from now on are so because the server ends: they say it."""
    app.state.is_ending = True


async def _watch_memory(turns: Turns) -> None:
    while True:
        await asyncio.sleep(WATCH_S)
        if is_collection_due():
            async with turns.pause():
                gc.collect()


def _add_openapi_route(app: FastAPI) -> None:
    """GET /openapi.json. The document costs a second of CPU: it is made when it is first asked for, away from the event loop."""
    once = threading.Lock()

    @app.get("/openapi.json", include_in_schema=False)
    def openapi_json() -> JSONResponse:
        with once:
            return JSONResponse(openapi_document(app))


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """FastAPI's document less the 422 that this app never gives."""
    document = app.openapi()
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        document.get("components", {}).get("schemas", {}).pop(name, None)
    return document
