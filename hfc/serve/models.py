"""The models of a server by name: loaded when somebody asks for them, unloaded when nobody does and the memory is needed."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable, Iterable
from dataclasses import field
from typing import Protocol

from fastapi import Request

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.runtime.summary import ModelSummary
from hfc.serve.daemons import in_daemon
from hfc.serve.errors import ApiError
from hfc.serve.memory import keep, let_go
from hfc.serve.metrics import Meters
from hfc.serve.served import Served

LEASES = "hfc.leases"  # in the scope of a request: what it uses until its answer is sent
POLL_S = 1.0
ANY = "*"  # the alias that every name is


@dataclass(frozen=True)
class Prepared:
    """A model that can be loaded. nbytes: what it will take.  slots: sequences that it runs at a time."""

    nbytes: int
    load: Callable[[], Served]
    slots: int = 0


class ServedSource(Protocol):
    """Where a model comes from. disk_bytes: of its files.  summary: read from them, which takes a while."""

    name: str

    @property
    def disk_bytes(self) -> int: ...

    def summary(self) -> ModelSummary: ...

    def prepare(self) -> Prepared:
        """Compile it if need be. Takes long; HfcError when it cannot be."""
        ...


@dataclass(eq=False)
class ModelEntry:
    """A model. users: requests that use it now.  is_leaving: it will be unloaded as soon as there are none.  keep_s: how long
    clients want it to stay unused, negative for ever; None: as the server was told."""

    name: str
    source: ServedSource | None
    served: Served | None = None
    nbytes: int = 0
    users: int = 0
    used_s: float = 0.0
    is_loading: bool = False
    is_leaving: bool = False
    error: str | None = None
    keep_s: float | None = None
    created: int = field(default_factory=lambda: int(time.time()))

    @functools.cached_property
    def summary(self) -> ModelSummary:
        """Read from its files when it is first asked for."""
        return self.source.summary() if self.source else ModelSummary()

    @property
    def disk_bytes(self) -> int:
        """0 for a model that came from no file."""
        return self.source.disk_bytes if self.source else 0

    @property
    def state(self) -> str:
        if self.served is not None:
            return "loaded"
        return "loading" if self.is_loading else "failed" if self.error else "unloaded"

    @property
    def is_idle(self) -> bool:
        return self.served is not None and not self.users and not self.served.engine.active


class Models:
    """served: models that stay loaded.  sources: models that come and go; limit_bytes: of all that are loaded, None for no
    limit; idle_s: how long one may be unused.  find: a registry name's source. Everything but loading runs in the event loop."""

    def __init__(
        self,
        served: Iterable[Served] = (),
        sources: Iterable[ServedSource] = (),
        meters: Meters | None = None,
        limit_bytes: int | None = None,
        idle_s: float | None = None,
        on_failure: Callable[[], None] = lambda: None,
        find: Callable[[str], ServedSource] | None = None,
        aliases: Iterable[str] = (),
    ):
        """aliases: other names of the only model, "*" for any.  on_failure: called once an engine has ended for good: its device is lost, or it fails whenever it starts again."""
        self.entries = [ModelEntry(s.name, None, s, created=s.created) for s in served] + [
            ModelEntry(s.name, s) for s in sources
        ]
        self.meters = meters or (self.loaded[0].metrics.meters if self.loaded else Meters())
        self._limit, self._idle_s, self._find = limit_bytes, idle_s, find
        self.on_failure = on_failure
        self._by_name = {name: e for e in self.entries for name in (e.name, *(e.served.aliases if e.served else ()))}
        if len({e.name for e in self.entries}) < len(self.entries):
            raise HfcError("two models have the same name", hint="rename one of the files")
        if aliases and len(self.entries) != 1:
            raise HfcError("an alias is another name of the only model", hint="serve one model, or leave --alias out")
        for alias in aliases:
            self._by_name[alias] = self.entries[0]
        self._changing = asyncio.Lock()  # one model comes or goes at a time
        self._returned = asyncio.Event()

    @property
    def loaded(self) -> list[Served]:
        return [e.served for e in self.entries if e.served is not None]

    def entry(self, name: str | None) -> ModelEntry:
        """The only model needs no name, and every name may end with Ollama's tag ":latest". ApiError 404 for others."""
        if not name:
            if len(self.entries) == 1:
                return self.entries[0]
            raise ApiError(400, "missing parameter: 'model', as several are served", "model", "missing_parameter")
        if name not in self._by_name:
            name = name.removesuffix(":latest")
        if name not in self._by_name and ANY in self._by_name:
            name = ANY
        if name not in self._by_name:
            known = ", ".join(e.name for e in self.entries)
            raise ApiError(404, f"the model {name!r} is not served here; known: {known}", "model", "model_not_found")
        return self._by_name[name]

    def knows(self, name: str) -> bool:
        return not {name, name.removesuffix(":latest"), ANY}.isdisjoint(self._by_name)

    def names(self, entry: ModelEntry) -> list[str]:
        """What it may be called."""
        return [name for name, e in self._by_name.items() if e is entry and name != ANY]

    def add(self, name: str) -> None:
        """Serve a model of the registry too. ApiError 400 where models cannot be added."""
        if self._find is None:
            raise ApiError(400, "this server's models were chosen when it was started", "model", "unsupported")
        entry = ModelEntry(name, self._find(name))
        self.entries.append(entry)
        self._by_name[name] = entry

    async def take(self, name: str | None) -> ModelEntry:
        """The model, loaded, and kept so until it is given back. ApiError 404, 503."""
        entry = self.entry(name)
        while entry.served is None or entry.is_leaving:
            await self._load(entry)
        entry.users += 1
        entry.used_s = time.monotonic()
        return entry

    def give_back(self, entry: ModelEntry) -> None:
        entry.users -= 1
        entry.used_s = time.monotonic()
        self._returned.set()

    async def preload(self, name: str) -> None:
        self.give_back(await self.take(name))

    async def unload_idle(self) -> None:
        """Unload what nobody has used for as long as it stays."""
        if not any(map(self._is_over, self.entries)):
            return
        async with self._changing:
            for entry in self.entries:
                if self._is_over(entry):
                    entry.keep_s = None
                    await self._unload(entry)

    def expires_s(self, entry: ModelEntry) -> float | None:
        """When an unused model goes, on the monotonic clock; None for never."""
        keep_s = self._idle_s if entry.keep_s is None else entry.keep_s
        return None if keep_s is None or keep_s < 0 else entry.used_s + keep_s

    def _is_over(self, entry: ModelEntry) -> bool:
        end = self.expires_s(entry)
        return bool(entry.source and entry.is_idle and end is not None and time.monotonic() > end)

    async def watch(self) -> None:
        """Runs as long as the server."""
        while True:
            await asyncio.sleep(min(POLL_S, self._idle_s or POLL_S))
            if any(served.engine.failure for served in self.loaded):
                self.on_failure()
            await self.unload_idle()

    def close(self) -> None:
        """End every engine."""
        for served in self.loaded:
            served.engine.close()

    async def _load(self, entry: ModelEntry) -> None:
        async with self._changing:
            if entry.served is not None:
                return
            entry.is_loading, entry.error = True, None
            try:
                prepared = await in_daemon(entry.source.prepare)
                await self._make_room(entry, prepared.nbytes)
                entry.served = await in_daemon(_begin, prepared)
                entry.nbytes, entry.used_s = prepared.nbytes, time.monotonic()
            except HfcError as error:
                entry.error = error.message
                raise ApiError(
                    503,
                    f"{entry.name} cannot be loaded: {error.message}",
                    "model",
                    "model_not_loaded",
                    {"Retry-After": "60"},
                ) from error
            finally:
                entry.is_loading = False

    async def _make_room(self, entry: ModelEntry, nbytes: int) -> None:
        """Unload the least recently used until `nbytes` fit; what is busy goes when its requests have ended."""
        if self._limit is None:
            return
        while (used := sum(e.nbytes for e in self.entries if e.served)) + nbytes > self._limit:
            others = [e for e in self.entries if e.served and e.source]
            if not others:
                raise HfcError(
                    f"it needs {nbytes / 2**20:,.0f} MiB, and {(self._limit - used) / 2**20:,.0f} MiB are free for it"
                )
            victim = min(others, key=lambda e: (not e.is_idle, e.used_s))
            victim.is_leaving = True  # requests that come now wait until the lock is free, and load it again
            try:
                while not victim.is_idle:
                    self._returned.clear()
                    # an engine ends what its last reader left a moment later
                    with contextlib.suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(self._returned.wait(), POLL_S)
                await self._unload(victim)
            finally:
                victim.is_leaving = False

    async def _unload(self, entry: ModelEntry) -> None:
        served, entry.served, entry.nbytes = entry.served, None, 0
        await in_daemon(_end, served)


def _begin(prepared: Prepared) -> Served:
    served = prepared.load()
    keep()
    return served


def _end(served: Served) -> None:
    served.metrics.unwatch()
    served.engine.close()
    served.engine.model.close()
    let_go()  # an engine and its model hold each other; their memory is wanted now


def models_of(request: Request) -> Models:
    return request.app.state.models


async def borrow(request: Request, name: str | None, keep_s: float | None = None) -> Served:
    """The model that a request names, loaded until the whole answer is sent. ApiError 404, 503.

    keep_s: how long it stays when nobody uses it, negative for ever; None as the server was told."""
    models = models_of(request)
    entry = await models.take(name)
    if keep_s is not None:
        entry.keep_s = keep_s
    request.scope[LEASES].append((models, entry))
    return entry.served


def return_all(scope: dict) -> None:
    for models, entry in scope.pop(LEASES, ()):
        models.give_back(entry)
