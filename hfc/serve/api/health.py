"""`/health`: the process and its engines live.  `/ready`: it can take work.  `/metrics`: Prometheus."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from hfc.serve.errors import documented
from hfc.serve.models import models_of
from hfc.serve.served import settings_of

ROUTE = APIRouter(tags=["operation"])
FORBIDDEN = {403: documented()[403]}


class Health(BaseModel):
    """failed: an engine has ended for good, and the process is about to.  restarts: how often engines began again after a step that
    failed; reasons: what was wrong the last time."""

    status: Literal["ok", "restarting", "failed"]
    restarts: int
    reasons: list[str]


class Ready(BaseModel):
    """reasons: why not."""

    ready: bool
    reasons: list[str]
    models: dict[str, dict[str, float]]


@ROUTE.get(
    "/health", response_model=Health, responses={503: {"model": Health, "description": "an engine failed"}, **FORBIDDEN}
)
async def health(request: Request):
    engines = {served.name: served.engine for served in models_of(request).loaded}
    failed = any(e.failure for e in engines.values())
    status = "failed" if failed else "restarting" if any(e.is_restarting for e in engines.values()) else "ok"
    body = {
        "status": status,
        "restarts": sum(e.restarts for e in engines.values()),
        "reasons": [f"{name}: {e.failure or e.last_error}" for name, e in engines.items() if e.failure or e.last_error],
    }
    return JSONResponse(body, 200 if status == "ok" else 503)


@ROUTE.get("/ready", response_model=Ready, responses={503: {"model": Ready, "description": "not ready"}, **FORBIDDEN})
async def ready(request: Request):
    """Off while a step hangs or after a device has failed."""
    stall_s, reasons, gauges = settings_of(request).stall_s, [], {}
    for served in models_of(request).loaded:
        engine = served.engine
        if engine.failure:
            reasons.append(f"{served.name}: {engine.failure}")
        elif engine.is_restarting:
            reasons.append(f"{served.name}: {engine.last_error}; the engine starts again")
        elif engine.stalled_s() > stall_s:
            reasons.append(f"{served.name}: a step has been running for {engine.stalled_s():.0f} s")
        gauges[served.name] = engine.gauges()
    body = {"ready": not reasons, "reasons": reasons, "models": gauges}
    return JSONResponse(body, 503 if reasons else 200)


@ROUTE.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, 401: documented()[401], **FORBIDDEN},
)
async def metrics(request: Request):
    return Response(models_of(request).meters.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
