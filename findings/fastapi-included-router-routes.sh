#!/usr/bin/env bash
# What: FastAPI.include_router of fastapi 0.165.0, and who reads app.routes afterwards.
# Seen: an included router is one entry of app.routes, an object without `path`. The same routes declared on the app are an entry each.
#   The OpenAPI document and requests know all of them.
# Why a good guess is wrong: include_router copied every route into the app for years, and "for route in app.routes: route.path" is how
#   metrics, guards and route lists find an app's paths. It now ends in AttributeError, or, with getattr, misses every included path.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "fastapi==0.165.0" "starlette==1.10.0"
cat > "$work/show.py" <<'PY'
import sys
import fastapi
router = fastapi.APIRouter()
@router.get("/a")
def a(): return 1
@router.get("/b/{name}")
def b(name): return 1
app = fastapi.FastAPI(docs_url=None, redoc_url=None)
app.include_router(router)
@app.get("/c")
def c(): return 1
listed = [getattr(route, "path", None) for route in app.routes]
documented = sorted(app.openapi()["paths"])
print("fastapi", fastapi.__version__)
print("app.routes:", [type(route).__name__ for route in app.routes], listed)
print("document:", documented)
sys.exit(0 if documented == ["/a", "/b/{name}", "/c"] and listed == ["/openapi.json", None, "/c"] else 1)
PY
"$work/venv/bin/python" "$work/show.py"
