"""What goes from the door to a replica and comes back: a request, and the parts of its answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from enum import IntEnum
from typing import Any, NamedTuple, Protocol

from fastapi import FastAPI

from hfc.base.dataclass import dataclass
from hfc.serve.models import Models

UNAVAILABLE = 503  # the status of an answer that another replica may give better


class Kind(IntEnum):
    """HEAD: (status, headers).  HELD: bytes of an answer that has not begun: another replica may still give it.  BODY: bytes of one that
    has.  KEEP_ALIVE: bytes that say nothing.  AGAIN: a text, why another replica should be asked."""

    HEAD = 0
    HELD = 1
    BODY = 2
    KEEP_ALIVE = 3
    AGAIN = 4


class AnswerPart(NamedTuple):
    kind: int
    data: Any


class ReplyTo(NamedTuple):
    """Where the parts of an answer are to be sent, with what right, and under which number."""

    host: str
    port: int
    token: str
    number: int


@dataclass
class Asked:
    """An HTTP request as the door has let it in. beginnings: names of all its beginnings, the shortest first (beginnings.py).  tried: replicas
    that were asked and gave no answer."""

    method: str
    path: str
    query: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    may_go_first: bool
    beginnings: tuple[bytes, ...] = ()
    tried: tuple[str, ...] = ()
    replica: str | None = None  # that was asked last
    reply_to: ReplyTo | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What a replica needs of it."""
        return {**self.__dict__, "beginnings": (), "tried": ()}


@dataclass
class Made:
    """A server's app, the models in it, and how long its threads are told to wait for the interpreter."""

    app: FastAPI
    models: Models
    switch_s: float


class ReplicaLost(Exception):
    """A replica ended, or cannot be reached, before its answer was whole."""


class Replicas(Protocol):
    """Who answers."""

    def ask(self, asked: Asked) -> AsyncGenerator[list[AnswerPart], None]:
        """Parts of one replica's answer as they come; notes in `asked` which one it is. ReplicaLost. To close it cancels the request."""
        ...

    async def states(self) -> dict[str, int]:
        """How many there are: RUNNING, STARTING, STOPPING and others of Ray Serve's names."""
        ...

    async def facts(self) -> dict[str, dict[str, Any]]:
        """Of each replica that can be reached: `pid`, `ready`, `health`, `metrics`, as its own paths give them."""
        ...


def joined(parts: list[AnswerPart]) -> list[AnswerPart]:
    """With neighbours of one kind as one."""
    out: list[AnswerPart] = []
    for part in parts:
        if out and part.kind == out[-1].kind and part.kind in (Kind.HELD, Kind.BODY):
            out[-1] = AnswerPart(part.kind, out[-1].data + part.data)
        else:
            out.append(part)
    return out
