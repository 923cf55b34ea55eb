"""The ASGI application: every endpoint of hfc/serve/api behind one guard, with errors as clients know them."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import pkgutil
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from hfc import __version__
from hfc.serve import api
from hfc.serve.errors import install_handlers
from hfc.serve.models import Models
from hfc.serve.paths import ShortPaths
from hfc.serve.planning import Planners
from hfc.serve.security import Guarded
from hfc.serve.served import Settings


def make_app(models: Models, settings: Settings) -> FastAPI:
    """The app of some models."""

    @contextlib.asynccontextmanager
    async def watching(_app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.ensure_future(models.watch())
        yield
        task.cancel()

    app = FastAPI(
        title="hfc", version=__version__, docs_url=None, redoc_url=None, openapi_url="/openapi.json", lifespan=watching
    )
    app.state.models, app.state.settings = models, settings
    app.state.planners = planners = Planners(settings.limits.planning)
    for module in pkgutil.iter_modules(api.__path__):
        app.include_router(importlib.import_module(f"{api.__name__}.{module.name}").ROUTE)
    install_handlers(app)
    document = openapi_document(app)
    app.openapi = lambda: document
    paths = frozenset(document["paths"]) | {"/openapi.json"}
    app.add_middleware(Guarded, settings=settings, meters=models.meters, paths=paths, planners=planners)
    app.add_middleware(ShortPaths, paths=paths)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST", "OPTIONS"],
            allow_headers=["*"],
        )
    return app


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """FastAPI's document less the 422 that this app never gives."""
    document = app.openapi()
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        document.get("components", {}).get("schemas", {}).pop(name, None)
    return document
