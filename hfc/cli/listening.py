"""The socket of a server: one that systemd has opened and handed on, else a new one."""

from __future__ import annotations

import os
import socket

from hfc.base.diagnostics import HfcError

FIRST_HANDED = 3  # sd_listen_fds(3)


def listening(host: str, port: int) -> socket.socket:
    """What systemd handed to this very process, whatever host and port say; else a socket of ours at the address."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return bound(host, port)
    count = os.environ.get("LISTEN_FDS", "0")
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)  # not for children
    if count != "1":
        raise HfcError(
            f"systemd handed {count} sockets to hfc serve, it listens on one", hint="one ListenStream in hfc.socket"
        )
    handed = socket.socket(fileno=FIRST_HANDED)
    if handed.family not in (socket.AF_INET, socket.AF_INET6) or handed.type != socket.SOCK_STREAM:
        raise HfcError("the socket that systemd handed on is no TCP socket", hint="ListenStream=127.0.0.1:11435")
    handed.set_inheritable(False)
    send_at_once(handed)
    return handed


def send_at_once(listener: socket.socket) -> None:
    """Of its connections. asyncio does so for sockets that were made with TCP's number alone; without it the second part of an answer waits
    for the client to acknowledge the first, 40 ms on a connection that is kept."""
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def bound(host: str, port: int) -> socket.socket:
    """A socket at the address; port 0: any that is free. HfcError if another program has it."""
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    send_at_once(made)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise HfcError(
            f"cannot listen on {host}:{port}: {error.strerror}", hint="choose another --port; `hfc ps` lists servers"
        ) from error
    return made
