"""Servers of this machine: one small file each, locked for as long as its process lives."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import msgspec

from hfc.base.cache import cache_folder
from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.base.system import try_lock
from hfc.runtime.source import name_of

_POLL_S = 0.05


@dataclass(frozen=True)
class ServerRecord:
    """A server that runs."""

    port: int
    pid: int
    host: str
    model: str
    started_s: float
    log: str | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def models(self) -> list[str]:
        return self.model.split(", ")


def folder() -> Path:
    return cache_folder() / "serve"


def log_path(port: int) -> Path:
    return folder() / f"{port}.log"


@contextlib.contextmanager
def recorded(record: ServerRecord) -> Iterator[None]:
    """Keep the record while the body runs. The lock, not the file, says that the server lives: a killed one loses it."""
    folder().mkdir(parents=True, exist_ok=True)
    path = folder() / f"{record.port}.json"
    with path.open("a+") as file:
        if not try_lock(file):
            raise HfcError(
                f"a server runs on port {record.port} already", hint=f"hfc stop {record.port}, or choose another --port"
            )
        file.truncate(0)
        file.write(json.dumps(asdict(record)))
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def running() -> list[ServerRecord]:
    """The servers that live, by port; what dead ones left is removed."""
    records = []
    for path in sorted(folder().glob("*.json"), key=lambda p: p.name):
        with contextlib.suppress(FileNotFoundError), path.open("r+") as file:
            if not try_lock(file, shared=True):
                with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):  # a file of another program
                    records.append(msgspec.json.decode(file.read(), type=ServerRecord))
                continue
            path.unlink(missing_ok=True)
    return records


def find(which: str | None) -> ServerRecord:
    """The server on a port or of a model, by its name or by what `hfc serve` was told; without either, the only server there is."""
    records = running()
    found = [r for r in records if which is None or which in (str(r.port), r.model)]
    if not found and which is not None:
        found = [r for r in records if r.model == name_of(which)]
    if len(found) == 1:
        return found[0]
    if found:
        raise HfcError("several servers run" + (f" {which}" if which else ""), hint=_ports("name a port", found))
    beside = [r for r in records if which in r.models]
    if beside:
        hint = _ports("hfc stop PORT ends it with all its models", beside)
        raise HfcError(f"the server of {which} has other models too: {beside[0].model}", hint=hint)
    if which is None:
        raise HfcError("no server runs")
    what = f"on port {which}" if which.isdecimal() else f"with the model {which}"
    raise HfcError(f"no server runs {what}", hint=_ports("servers", records) if records else None)


def _ports(what: str, records: list[ServerRecord]) -> str:
    return f"{what}: " + ", ".join(f"{r.port} ({r.model})" for r in records)


def stop(record: ServerRecord, timeout_s: float) -> bool:
    """Ask a server to drain and end; False if it still runs after the time. A second signal makes it end at once."""
    os.kill(record.pid, signal.SIGTERM)
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if not any(r.pid == record.pid for r in running()):
            return True
        time.sleep(_POLL_S)
    return False
