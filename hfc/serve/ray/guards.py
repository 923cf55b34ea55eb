"""The guard of a server in two halves: at the door who may ask and what is let in, at a replica the rest."""

from __future__ import annotations

import json
from typing import Any

from hfc.serve.body import parsed
from hfc.serve.limits import ServerLimits
from hfc.serve.ray.beginnings import beginnings
from hfc.serve.security import Guarded
from hfc.serve.turns import leave

BEGINNINGS = "hfc.beginnings"  # in the scope of a request at the door


class DoorGuard(Guarded):
    """All checks; the body goes on as it came, and its beginnings are named."""

    def _small(self, scope, body: bytes) -> bytes:
        scope[BEGINNINGS] = beginnings(_value(body))
        return body

    async def _large(self, scope, body: bytes, limits: ServerLimits) -> bytes:
        try:
            scope[BEGINNINGS] = await self._planners.run(self._turns.work, _beginnings_of, body, limits)
        finally:
            leave(scope)
        return body


class ReplicaGuard(Guarded):
    """Of requests that a door has let in: it has said who may go first."""

    def _check(self, scope) -> None:
        pass


def _beginnings_of(body: bytes, limits: ServerLimits) -> tuple[bytes, ...]:
    """ApiError 400."""
    return beginnings(parsed(body, limits))


def _value(body: bytes) -> Any:
    """None for what is no JSON, which the replica will say."""
    try:
        return json.loads(body) if body else None
    except (ValueError, RecursionError):
        return None
