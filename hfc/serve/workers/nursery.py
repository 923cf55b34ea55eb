"""A small process without threads that forks workers: they start in milliseconds with everything loaded, and can be killed.

    python -m hfc.serve.workers.nursery FILE_DESCRIPTOR

Commands come over the socket with this number: a vocabulary to prepare, a worker to fork or to kill. It ends with the server.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from typing import Any

from hfc.base.orphans import end_with_parent
from hfc.serve.memory import trim
from hfc.serve.workers.child import Vocabularies, work
from hfc.serve.workers.frames import receive_with_file, send

REMEMBERED = 64


def main(control: socket.socket) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for the server
    vocabularies = Vocabularies()
    children: set[int] = set()
    ended: dict[int, int] = {}  # the latest that have, with what waitpid said
    while True:
        _reap(children, ended)
        message, file = receive_with_file(control)
        if message is None:
            break
        send(control, _obey(control, message, file, vocabularies, children, ended))
    for pid in children:
        _kill(pid)


def _obey(
    control: socket.socket,
    message: dict[str, Any],
    file: int | None,
    vocabularies: Vocabularies,
    children: set[int],
    ended: dict[int, int],
) -> dict[str, Any]:
    if message["do"] == "vocabulary":
        vocabularies.add(message["id"], message)
        message.clear()
        trim()
        return {}
    if message["do"] == "kill":
        if message["pid"] in children:  # not reaped yet, so the number is still its own
            _kill(message["pid"])
        return {}
    if message["do"] == "ended":
        return {"signal": _signal_of(message["pid"], children, ended)}
    pid = os.fork()
    if pid == 0:
        control.close()
        end_with_parent(signal.SIGKILL)
        work(socket.socket(fileno=file), vocabularies, message["limits"])
        os._exit(0)
    os.close(file)
    children.add(pid)
    return {"pid": pid}


def _reap(children: set[int], ended: dict[int, int]) -> None:
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0] > 0:
            _note(*found, children, ended)


def _note(pid: int, status: int, children: set[int], ended: dict[int, int]) -> None:
    children.discard(pid)
    ended[pid] = status
    while len(ended) > REMEMBERED:
        del ended[next(iter(ended))]


def _signal_of(pid: int, children: set[int], ended: dict[int, int]) -> int:
    """What has ended a process that is ending, 0 for an end of its own; a kill for one of an earlier life, which went with that."""
    if pid in children:
        _note(*os.waitpid(pid, 0), children, ended)
    return os.WTERMSIG(ended[pid]) if pid in ended else signal.SIGKILL


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
