"""Models of the registry fetched while the server runs, with progress as Ollama tells it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from hfc.base.diagnostics import HfcError
from hfc.runtime import pull, registry
from hfc.serve.daemons import in_daemon
from hfc.serve.errors import ApiError
from hfc.serve.models import Models

LOG = logging.getLogger("hfc.serve")
POLL_S = 0.25


async def fetched(models: Models, name: str) -> AsyncIterator[dict[str, Any]]:
    """Progress until the model can be asked for. ApiError 404 for a name that the registry does not know, 500 when it cannot be had."""
    try:
        async for told in _steps(models, name):
            yield told
    except ApiError:
        raise
    except OSError as error:
        text = f"{error.filename or 'a file or the network'}: {error.strerror or error}"
        raise ApiError(500, text, "model", "pull_failed") from error
    except Exception as error:  # of any type: to its reader a stream that only stops is no failure
        LOG.error("a model could not be fetched", exc_info=error)
        text = f"the server failed at this model ({type(error).__name__})"
        raise ApiError(500, text, "model", "pull_failed") from error


async def _steps(models: Models, name: str) -> AsyncIterator[dict[str, Any]]:
    yield {"status": "pulling manifest"}
    if not models.knows(name):
        try:
            entry = registry.find_entry(name)
        except HfcError as error:
            raise ApiError(404, f"pull model manifest: {error.message}", "model", "model_not_found") from error
        if entry.reference is not None:
            text = f"{name} is a repository of the hub, which is fetched outside the server: hfc pull {name}"
            raise ApiError(400, text, "model", "unsupported")
        async for told in _download(entry):
            yield told
        models.add(name)
    yield {"status": "success"}


async def _download(entry: registry.RegistryEntry) -> AsyncIterator[dict[str, Any]]:
    """The file's bytes as they come, then whether its hash is right."""
    said: list[str] = []
    work = asyncio.ensure_future(in_daemon(pull.pull, entry, None, said.append))
    digest = f"sha256:{entry.sha256}"
    head = {"status": f"pulling {entry.sha256[:12]}", "digest": digest, "total": entry.size_bytes}
    try:
        while not work.done():
            await asyncio.wait((work,), timeout=POLL_S)
            come = await asyncio.to_thread(_come, registry.cached_path(entry).parent)
            yield {**head, "completed": min(come, entry.size_bytes)}
            for line in said[:]:
                said.remove(line)
                yield {"status": line}
        await work
    except HfcError as error:
        raise ApiError(500, error.message, "model", "pull_failed") from error
    yield {**head, "completed": entry.size_bytes}
    yield {"status": "verifying sha256 digest"}


def _come(folder: Path) -> int:
    """Bytes that lie in the folder of a download; files may move meanwhile."""
    sizes = []
    for path in folder.rglob("*") if folder.is_dir() else ():
        try:
            sizes.append(path.stat().st_size if path.is_file() else 0)
        except FileNotFoundError:
            continue
    return max(sizes, default=0)
