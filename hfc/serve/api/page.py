"""The page at `/`: three files that ask nothing of other hosts."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse

import hfc.serve

ROUTE = APIRouter(include_in_schema=False)
FOLDER = Path(hfc.serve.__file__).parent / "page"
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


@ROUTE.api_route("/", methods=["GET", "HEAD"])
async def page():
    return FileResponse(FOLDER / "index.html", headers=HEADERS, media_type="text/html; charset=utf-8")


@ROUTE.get("/page.css")
async def style():
    return FileResponse(FOLDER / "page.css", headers=HEADERS, media_type="text/css; charset=utf-8")


@ROUTE.get("/page.js")
async def script():
    return FileResponse(FOLDER / "page.js", headers=HEADERS, media_type="text/javascript; charset=utf-8")
