"""Connections with a bound: how many there are, and how long one may take to ask, or leave an answer unread."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

from hfc.serve.limits import ServerLimits

FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 5\r\nConnection: close\r\n\r\n"
    b'{"error": {"message": "too many connections", "type": "overloaded_error", "param": null, "code": "unavailable"}}'
)


def bounded(limits: ServerLimits) -> type[H11Protocol]:
    """uvicorn's protocol, which waits for ever, with these limits."""

    class Bounded(H11Protocol):
        _asking: asyncio.TimerHandle | None = None
        _unread: asyncio.TimerHandle | None = None

        def connection_made(self, transport) -> None:
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                transport.write(FULL)
                transport.close()
            else:
                self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc) -> None:
            self._asking, self._unread = _cancelled(self._asking), _cancelled(self._unread)
            super().connection_lost(exc)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._unread = self._unread or self.loop.call_later(limits.write_s, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._unread = _cancelled(self._unread)

        def _watch(self) -> None:
            """While no request runs, one is on its way, head by head; its body has a time of its own."""
            if self.cycle is not None and not self.cycle.response_complete:
                self._asking = _cancelled(self._asking)
            elif self._asking is None:
                self._asking = self.loop.call_later(limits.header_s, self._late)

        def _late(self) -> None:
            self._asking = None
            if self.cycle is None or self.cycle.response_complete:
                self.transport.close()

    return Bounded


def _cancelled(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
