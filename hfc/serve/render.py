"""Chat templates rendered by workers: they are programs of whoever made the checkpoint, run on what a client sends."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from hfc.base.diagnostics import HfcError
from hfc.serve.workers.pool import Failed, Killed, TooMany, WorkerPool
from hfc.serve.workers.ticket import Ticket

MOST_CHARACTERS = 64 << 20  # of a rendered prompt


class Renderer:
    """One template. named: what it may print by name ("bos_token")."""

    def __init__(self, source: str, named: Mapping[str, str], pool: WorkerPool):
        self._id = hashlib.sha256(repr((source, sorted(named.items()))).encode("utf-8", "replace")).hexdigest()
        self._source = {"source": source, "named": dict(named)}
        self._pool = pool

    def __call__(
        self, messages: Sequence[Any], tools: Sequence[Any] | None, variables: Mapping[str, Any], ticket: Ticket
    ) -> tuple[str, str]:
        """The prompt's text and the part of it that begins the answer. HfcError for what the template refuses; Failed, TooMany."""
        job = {
            "do": "render",
            "id": self._id,
            "messages": messages,
            "tools": tools,
            "variables": variables,
            "most_chars": MOST_CHARACTERS,
        }
        answer = self._pool.run(job, ticket, (self._id, self._source))
        if "error" in answer:
            raise HfcError(answer["error"])
        text, length = answer["text"], answer["length"]
        return text, text[length:] if answer["is_beginning"] else ""

    def warm(self) -> None:
        """Have it parsed before somebody waits for it. What is wrong with it is for those who use it."""
        try:
            self([{"role": "user", "content": ""}], None, {}, Ticket())
        except (HfcError, Failed, Killed, TooMany):
            pass
