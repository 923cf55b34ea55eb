"""`/health`: the process answers.  `/ready`: it can take work.  `/metrics`: Prometheus."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from hfc.serve.errors import documented
from hfc.serve.models import models_of
from hfc.serve.served import settings_of

ROUTE = APIRouter(tags=["operation"])


class Health(BaseModel):
    status: Literal["ok"]


class Ready(BaseModel):
    """reasons: why not."""

    ready: bool
    reasons: list[str]
    models: dict[str, dict[str, float]]


@ROUTE.get("/health", response_model=Health)
async def health():
    return {"status": "ok"}


@ROUTE.get("/ready", response_model=Ready, responses={503: {"model": Ready, "description": "not ready"}})
async def ready(request: Request):
    """Off while a step hangs or after a device has failed."""
    stall_s, reasons, gauges = settings_of(request).stall_s, [], {}
    for served in models_of(request).loaded:
        engine = served.engine
        if engine.failure:
            reasons.append(f"{served.name}: {engine.failure}")
        elif engine.stalled_s() > stall_s:
            reasons.append(f"{served.name}: a step has been running for {engine.stalled_s():.0f} s")
        gauges[served.name] = engine.gauges()
    body = {"ready": not reasons, "reasons": reasons, "models": gauges}
    return JSONResponse(body, 503 if reasons else 200)


@ROUTE.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, 401: documented()[401]},
)
async def metrics(request: Request):
    return Response(models_of(request).meters.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
