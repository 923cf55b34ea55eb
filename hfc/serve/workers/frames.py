"""JSON messages over a socket between the server and its workers. Never pickles: a worker that was taken over can only lie."""

from __future__ import annotations

import array
import json
import socket
import struct
from typing import Any

from hfc.serve.encoding import encoded

_LENGTH = struct.Struct("=Q")
_FD_BYTES = array.array("i", [0]).itemsize


def send(to: socket.socket, message: dict[str, Any], file: int | None = None) -> None:
    """file: a descriptor that the other process gets too."""
    data = encoded(message)
    head = _LENGTH.pack(len(data))
    if file is not None:
        to.sendmsg([head], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file]))])
        to.sendall(data)
        return
    to.sendall(head + data)


def receive(source: socket.socket) -> dict[str, Any] | None:
    """None when the other side has closed or died."""
    return _body(source, _exactly(source, _LENGTH.size))


def receive_with_file(source: socket.socket) -> tuple[dict[str, Any] | None, int | None]:
    head, given, _, _ = source.recvmsg(_LENGTH.size, socket.CMSG_LEN(_FD_BYTES))
    file = None
    for level, kind, data in given:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            file = array.array("i", data[:_FD_BYTES])[0]
    if head and len(head) < _LENGTH.size:
        head += _exactly(source, _LENGTH.size - len(head)) or b""
    return _body(source, head), file


def _body(source: socket.socket, head: bytes | None) -> dict[str, Any] | None:
    if not head or len(head) < _LENGTH.size:
        return None
    data = _exactly(source, *_LENGTH.unpack(head))
    return None if data is None else json.loads(data.decode("utf-8", "surrogatepass"))


def _exactly(source: socket.socket, count: int) -> bytes | None:
    parts = []
    while count:
        part = source.recv(min(count, 1 << 20))
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
