"""A whole server of a model as a replica of a deployment: requests come as calls, answers go as parts, and nothing listens."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ray
from ray import serve
from ray.serve._private import replica as ray_replica

from hfc.serve.memory import collect_old_when_calm, keep, use_one_heap
from hfc.serve.ray.asgi import parts_of
from hfc.serve.ray.cards import see_only
from hfc.serve.ray.channel import END, Ways
from hfc.serve.ray.parts import Asked, Kind, Made

LOG = logging.getLogger("hfc.serve")
BIND = "add_port_to_grpc_server"
CLOSE_S = 5.0


class Replica:
    """make: loads the model. Called in this process before it counts as one that answers; it may take minutes.

    is_alone: in a cluster of one machine."""

    def __init__(self, make: Callable[[], Made], is_alone: bool):
        use_one_heap()
        if is_alone:
            listen_to_nobody()
        see_only(ray.get_runtime_context().get_accelerator_ids().get("GPU", []), os.environ)
        self._name = serve.get_replica_context().replica_id.unique_id
        self._ways = Ways(self._name)
        with ThreadPoolExecutor(1) as loader:  # Ray Serve calls this in an event loop, and loading has one of its own
            made = loader.submit(make).result()
        self._app, self._models = made.app, made.models
        self._models.on_failure = self._fail
        self._lifespan: contextlib.AbstractAsyncContextManager | None = None
        self._has_failed = False
        sys.setswitchinterval(made.switch_s)
        collect_old_when_calm()
        keep()

    async def answer(self, asked: Asked) -> None:
        """Its parts go to the door as they come, as many at a time as there are. What Ray waits for is the end."""
        assert asked.reply_to is not None
        await self._begin()
        async with contextlib.aclosing(parts_of(self._app, asked)) as parts:
            async for some in parts:
                await self._ways.send(asked.reply_to, some)
        await self._ways.send(asked.reply_to, END)

    async def facts(self) -> tuple[str, dict[str, Any]]:
        await self._begin()
        told = {path: await self._get(f"/{path}") for path in ("health", "ready", "metrics")}
        return self._name, {"pid": os.getpid(), **told}

    async def check_health(self) -> None:
        """Called by Ray Serve; what it raises three times in a row ends this replica, and another one begins."""
        await self._begin()
        for path in ("/health", "/ready"):
            status, body = await self._get(path)
            if status != 200:
                raise RuntimeError(f"{path}: {body.decode()}")

    def __del__(self) -> None:
        if hasattr(self, "_models"):
            self._models.close()

    async def _begin(self) -> None:
        """In the event loop that requests run in."""
        if self._lifespan is None:
            self._lifespan = self._app.router.lifespan_context(self._app)
            await self._lifespan.__aenter__()

    async def _get(self, path: str) -> tuple[int, bytes]:
        status, body = 0, b""
        async for parts in parts_of(self._app, Asked("GET", path, b"", [], b"", True)):
            for kind, data in parts:
                if kind == Kind.HEAD:
                    status = data[0]
                elif kind in (Kind.HELD, Kind.BODY):
                    body += data
        return status, body

    def _fail(self) -> None:
        """An engine has ended for good: whoever asked sees its error, then this process ends, and Ray Serve begins another."""
        if not self._has_failed:
            self._has_failed = True
            asyncio.get_running_loop().call_later(CLOSE_S, os._exit, 3)


def listen_to_nobody() -> None:
    """Ray Serve opens a port in each replica for calls of other deployments by gRPC: on all interfaces, and whoever reaches it may send what Python
    runs. There are no others here, the door calls otherwise, and there is no option for it."""
    if hasattr(ray_replica, BIND):
        setattr(ray_replica, BIND, lambda server, address: 0)
    else:
        LOG.warning("this version of Ray opens ports of replicas elsewhere: they may listen to other machines")
