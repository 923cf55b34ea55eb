"""Workers of the server: processes for programs that clients and checkpoints bring, each job under a limit of time."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from hfc.base.dataclass import dataclass
from hfc.serve.limits import ServerLimits
from hfc.serve.workers.frames import receive, send
from hfc.serve.workers.ticket import Ticket

POLL_S = 0.05
ATTEMPTS = 3  # to start what forks workers, and to do a job, where processes are killed meanwhile
KILLS = tuple(getattr(signal, name) for name in ("SIGKILL", "SIGTERM") if hasattr(signal, name))  # Windows has but one
USUAL_STACK, NATIVE_STACK = 8 << 20, 4 << 20  # bytes


class TooMany(Exception):
    """More jobs wait for a worker than may."""


class Failed(Exception):
    """A job that broke a limit, or ended its worker. message: which, in words."""

    def __init__(self, message: str):
        super().__init__(message)
        self.message = message


class Died(Failed):
    """The process ended, by the job or by something else."""


class Killed(Exception):
    """Somebody else has ended the process, again and again: nothing is known of the job."""


class Worker:
    """One process. vocabularies: ids of those it was born with.  knows: ids of what it was given since."""

    def __init__(self, nursery: Nursery, pid: int, connection: socket.socket, vocabularies: frozenset[str]):
        self._nursery, self._pid, self._connection = nursery, pid, connection
        self.vocabularies, self.knows = vocabularies, set[str]()

    def ask(self, job: dict[str, Any], limit_s: float, ticket: Ticket) -> dict[str, Any]:
        """The answer. Failed after limit_s or when the process ends; the worker is of no use then."""
        try:
            with ticket.ends(self.kill):
                self._connection.settimeout(limit_s)
                send(self._connection, {**job, "cpu_s": int(limit_s) + 1})
                with ticket.away():
                    answer = receive(self._connection)
        except TimeoutError:
            raise Failed(f"it takes longer than the {limit_s:g} s that it may take") from None
        except OSError:
            answer = None
        ticket.check()
        if answer is None:
            if self._nursery.was_killed(self._pid):
                raise Killed
            raise Died("it ended its process: it is too deep, or needs more memory than it may have")
        return answer

    def is_alive(self) -> bool:
        """Asked of one that has nothing to say."""
        try:
            self._connection.settimeout(0)
            self._connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def kill(self) -> None:
        self._nursery.kill(self._pid)

    def close(self) -> None:
        self._connection.close()


class Nursery:
    """The process that forks workers; started when it is first needed, and again if it should die."""

    def __init__(self):
        self._lock = threading.Lock()
        self._process: subprocess.Popen | None = None
        self._control: socket.socket | None = None
        self._vocabularies: dict[str, Callable[[], dict[str, Any]]] = {}

    def prepare(self, id: str, vocabulary: Callable[[], dict[str, Any]]) -> None:
        """Make a vocabulary known to all workers that will be forked: what it makes is not kept here."""
        with self._lock, contextlib.suppress(OSError):  # one that has died is told of all when it starts again
            if id not in self._vocabularies:
                self._vocabularies[id] = vocabulary
                if not self._started():
                    self._tell_vocabulary(id)

    def fork(self, limits: dict[str, int]) -> Worker:
        ours, theirs = socket.socketpair()
        command = {"do": "fork", "limits": limits}
        with theirs, self._lock:
            for _ in range(ATTEMPTS):
                with contextlib.suppress(OSError):  # it died since it was asked the last time
                    self._started()
                    pid = self._tell(command, theirs.fileno())["pid"]
                    return Worker(self, pid, ours, frozenset(self._vocabularies))
        ours.close()
        raise TooMany  # whoever asks again finds another

    def kill(self, pid: int) -> None:
        with self._lock, contextlib.suppress(OSError):
            if self._control is not None:
                self._tell({"do": "kill", "pid": pid})

    def was_killed(self, pid: int) -> bool:
        """Whether a process that has ended was killed by the system or by an operator, or went with this one: no job ends its process so."""
        try:
            with self._lock:
                return self._control is None or self._tell({"do": "ended", "pid": pid})["signal"] in KILLS
        except OSError:
            return True

    def _started(self) -> bool:
        """Whether it had to be, and knows every vocabulary now. OSError when it dies of that."""
        if self._process is not None and self._process.poll() is None:
            return False
        if self._control is not None:
            self._control.close()
        self._control, theirs = socket.socketpair()
        with theirs:
            theirs.set_inheritable(True)
            command = [sys.executable, "-m", "hfc.serve.workers.nursery", str(theirs.fileno())]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),), start_new_session=True,
                env={name: value for name, value in os.environ.items() if name != "HFC_API_KEY"},
            )  # fmt: skip
        for id in self._vocabularies:
            self._tell_vocabulary(id)
        return True

    def _tell_vocabulary(self, id: str) -> None:
        self._tell({**self._vocabularies[id](), "do": "vocabulary", "id": id})

    def _tell(self, command: dict[str, Any], file: int | None = None) -> dict[str, Any]:
        try:
            send(self._control, command, file)
            answer = receive(self._control)
        except OSError:  # a process that was killed may not have ended yet
            answer = None
        if answer is None:
            self._process.kill()
            self._process.wait()
            raise OSError("the process that starts workers has died")
        return answer


@functools.cache
def nursery() -> Nursery:
    """One for the whole process."""
    return Nursery()


class WorkerPool:
    """At most `size` workers of one kind; at most `queue` jobs wait for one."""

    def __init__(
        self, size: int, queue: int, limit_s: float, memory_bytes: int, is_native: bool, place: Nursery | None = None
    ):
        """is_native: jobs run in native code, which has less stack than the thread that may repeat them here."""
        self.limit_s = limit_s
        self._nursery = place or nursery()
        stack_bytes = NATIVE_STACK if is_native else USUAL_STACK
        self._limits = {"memory_bytes": memory_bytes, "stack_bytes": stack_bytes, "is_native": is_native}
        self._queue, self._waiting = queue, 0
        self._free = threading.Semaphore(size)
        self._idle: list[Worker] = []

    def run(
        self, job: dict[str, Any], ticket: Ticket, extra: tuple[str, dict[str, Any]] | None = None
    ) -> dict[str, Any]:
        """The answer of a worker. extra: (id, fields) that a worker needs once.  TooMany; Failed; Killed; what the ticket says."""
        with self._place(ticket):
            for _ in range(ATTEMPTS - 1):
                with contextlib.suppress(Killed):
                    return self._ask(self._worker(job.get("vocabulary")), job, ticket, extra)
            return self._ask(self._nursery.fork(self._limits), job, ticket, extra)

    def _ask(
        self, worker: Worker, job: dict[str, Any], ticket: Ticket, extra: tuple[str, dict[str, Any]] | None
    ) -> dict[str, Any]:
        whole = {**job, **extra[1]} if extra and extra[0] not in worker.knows else job
        try:
            answer = worker.ask(whole, self.limit_s, ticket)
        except BaseException:
            worker.kill()
            worker.close()
            raise
        if extra:
            worker.knows.add(extra[0])
        if answer["retires"]:
            worker.close()
        else:
            self._idle.append(worker)
        return answer

    def prepare(self, id: str, vocabulary: Callable[[], dict[str, Any]]) -> None:
        """Workers that are forked from now on know a vocabulary."""
        self._nursery.prepare(id, vocabulary)

    def _worker(self, vocabulary: str | None) -> Worker:
        """One that waits, or a new one."""
        with contextlib.suppress(IndexError):
            while True:
                worker = self._idle.pop()
                if worker.is_alive() and (vocabulary is None or vocabulary in worker.vocabularies):
                    return worker
                worker.close()
        return self._nursery.fork(self._limits)

    @contextlib.contextmanager
    def _place(self, ticket: Ticket) -> Iterator[None]:
        if not self._free.acquire(blocking=False):
            if self._waiting >= self._queue:
                raise TooMany
            self._waiting += 1
            try:
                with ticket.away():
                    while not self._free.acquire(timeout=POLL_S):
                        ticket.check()
            finally:
                self._waiting -= 1
        try:
            yield
        finally:
            self._free.release()


@dataclass(frozen=True)
class Workers:
    """The workers of a server."""

    templates: WorkerPool
    grammars: WorkerPool


@functools.cache
def workers_of(limits: ServerLimits) -> Workers:
    templates = WorkerPool(limits.template_workers, limits.planning, limits.template_s, limits.template_bytes, False)
    grammars = WorkerPool(limits.grammar_workers, limits.grammar_queue, limits.grammar_s, limits.grammar_bytes, True)
    return Workers(templates, grammars)
