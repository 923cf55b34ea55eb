"""`/`: a chat page. Static files; the page talks to the other endpoints."""

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
HTML, STYLE, SCRIPT = (f"text/{kind}; charset=utf-8" for kind in ("html", "css", "javascript"))
FILES = {  # path -> file and type; security.OPEN_PATHS has them too
    "/page.css": ("page.css", STYLE),
    "/page.js": ("page.js", SCRIPT),
    "/page/markdown.js": ("markdown.js", SCRIPT),
    "/page/chats.js": ("chats.js", SCRIPT),
    "/page/marked.js": ("vendor/marked-18.2.1.js", SCRIPT),
    "/page/purify.js": ("vendor/purify-3.5.0.min.js", SCRIPT),
}


def _file(name: str, kind: str):
    async def answer():
        return FileResponse(FOLDER / name, headers=HEADERS, media_type=kind)

    return answer


ROUTE.add_api_route("/", _file("index.html", HTML), methods=["GET", "HEAD"])
for _path, (_name, _kind) in FILES.items():
    ROUTE.add_api_route(_path, _file(_name, _kind))
