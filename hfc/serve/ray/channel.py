"""How parts of answers come from replicas to their door: one connection for each replica, on which the answers of all its requests take turns.

A call of Ray's for each part would cost the door's process ten to twenty times as much as reading one here (docs/scale.md), and the end of a
connection tells at once that a replica has ended."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import itertools
import secrets
import struct
from collections.abc import AsyncIterator

import msgspec

from hfc.serve.ray.parts import AnswerPart, Asked, ReplicaLost, ReplyTo

FRAME = struct.Struct("<IQ")  # bytes that follow, the number of a request
HELLO_BYTES = 1 << 10
HELLO_S = 10.0
READ_BYTES = 1 << 18
END: list[AnswerPart] = []  # of an answer: nothing follows


class Inbox:
    """Parts of one answer, as they come."""

    def __init__(self, asked: Asked):
        self.asked = asked
        self._there: asyncio.Queue[list[AnswerPart] | BaseException] = asyncio.Queue()

    def put(self, parts: list[AnswerPart] | BaseException) -> None:
        self._there.put_nowait(parts)

    async def parts(self) -> AsyncIterator[list[AnswerPart]]:
        """To the end. Raises what was put."""
        while True:
            some = await self._there.get()
            if isinstance(some, BaseException):
                raise some
            if not some:
                return
            yield some


class Channels:
    """At the door: listens at `host`, any port, from the first request on."""

    def __init__(self, host: str):
        self._host, self._token = host, secrets.token_hex(32)
        self._server: asyncio.Server | None = None
        self._starting = asyncio.Lock()
        self._numbers = itertools.count(1)
        self._inboxes: dict[int, Inbox] = {}
        self._decoder = msgspec.msgpack.Decoder(list[AnswerPart])

    @contextlib.asynccontextmanager
    async def open(self, asked: Asked) -> AsyncIterator[Inbox]:
        """For one answer: `asked` says from here on where it is sent to."""
        async with self._starting:
            if self._server is None:
                self._server = await asyncio.start_server(self._connected, self._host, 0, limit=READ_BYTES)
        number = next(self._numbers)
        port = self._server.sockets[0].getsockname()[1]
        asked.reply_to = ReplyTo(self._host, port, self._token, number)
        self._inboxes[number] = inbox = Inbox(asked)
        try:
            yield inbox
        finally:
            del self._inboxes[number]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = None
        try:
            name = await asyncio.wait_for(self._hello(reader), HELLO_S)
            while name is not None:
                size, number = FRAME.unpack(await reader.readexactly(FRAME.size))
                data = await reader.readexactly(size)
                if inbox := self._inboxes.get(number):  # else nobody waits for it any more
                    inbox.asked.replica = name
                    inbox.put(self._decoder.decode(data))
        except (OSError, EOFError, asyncio.TimeoutError, msgspec.MsgspecError):
            pass
        except asyncio.CancelledError:
            pass  # the loop ends, nobody else holds this task; asyncio before 3.12 writes a traceback of one that was cancelled
        finally:
            writer.close()
            for inbox in self._inboxes.values():
                if name is not None and inbox.asked.replica == name:
                    inbox.put(ReplicaLost("its connection ended"))

    async def _hello(self, reader: asyncio.StreamReader) -> str | None:
        """The name of a replica that knows the token."""
        size, _ = FRAME.unpack(await reader.readexactly(FRAME.size))
        if size > HELLO_BYTES:
            return None
        token, _, name = (await reader.readexactly(size)).decode("utf-8", "replace").partition(" ")
        return name if hmac.compare_digest(token.encode(), self._token.encode()) else None


class Ways:
    """At a replica: connections to doors."""

    def __init__(self, name: str):
        self._name = name
        self._open: dict[tuple[str, int], asyncio.StreamWriter] = {}
        self._opening = asyncio.Lock()
        self._encoder = msgspec.msgpack.Encoder()

    async def send(self, to: ReplyTo, parts: list[AnswerPart]) -> None:
        """OSError where the door has gone."""
        writer = await self._way(to)
        data = self._encoder.encode(parts)
        writer.write(FRAME.pack(len(data), to.number) + data)
        await writer.drain()

    async def _way(self, to: ReplyTo) -> asyncio.StreamWriter:
        place = to.host, to.port
        found = self._open.get(place)
        if found is not None and not found.is_closing():
            return found
        async with self._opening:
            found = self._open.get(place)
            if found is None or found.is_closing():
                _, found = await asyncio.open_connection(*place)
                hello = f"{to.token} {self._name}".encode()
                found.write(FRAME.pack(len(hello), 0) + hello)
                self._open[place] = found
        return found
