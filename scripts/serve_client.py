"""A client that costs next to nothing, and a server to measure: what bench_serve, soak_serve and serve_overhead share."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

SMALL = 4096  # bytes that a slow reader takes ahead
CUT = 0  # in the place of a status: the connection was closed while the body was sent
ROOT = Path(__file__).resolve().parent.parent


class Reply:
    """status, and the parts of the body with when each came (time.monotonic, and a clock of the asker's): one event of a stream or several."""

    def __init__(self, clock: Callable[[], float]):
        self.status, self.parts, self.times, self.clocks, self.clock = CUT, [], [], [], clock

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)

    def json(self):
        return json.loads(self.body)

    @property
    def tokens_at(self) -> list[float]:
        """When events came: not comments, by which a server keeps a silent connection."""
        return [at for at, part in zip(self.times, self.parts) if b"data: " in part]

    @property
    def token_clocks(self) -> list[float]:
        """What the asker's clock said then."""
        return [at for at, part in zip(self.clocks, self.parts) if b"data: " in part]

    def events(self) -> list[dict]:
        return events_in(self.body)

    @property
    def is_whole_stream(self) -> bool:
        return self.status == 200 and self.body.endswith(b"data: [DONE]\n\n")


def events_in(part: bytes) -> list[dict]:
    return [json.loads(line[6:]) for line in part.split(b"\n") if line.startswith(b"data: {")]


def text_of(event: dict) -> str:
    """What an event of a completion or of a chat adds to the answer."""
    choices = event.get("choices") or [{}]
    return choices[0].get("text") or choices[0].get("delta", {}).get("content") or ""


async def post(
    url: str, path: str, body: bytes, slow_s: float = 0.0, clock: Callable[[], float] = time.monotonic
) -> Reply:
    """One request on a connection of its own. slow_s: a pause before each read; nothing is read ahead then."""
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port, limit=SMALL if slow_s else 1 << 26)
    try:
        if slow_s:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode() + body)
        reply = Reply(clock)
        try:
            await _read(reader, reply, slow_s)
        except (
            ConnectionError
        ):  # the server has closed while the body was sent: that, or what it said before, is the answer
            pass
        return reply
    finally:
        writer.close()


async def _read(reader: asyncio.StreamReader, reply: Reply, slow_s: float) -> None:
    top = await reader.readuntil(b"\r\n\r\n")
    reply.status = int(top.split(b" ", 2)[1])
    is_chunked = b"transfer-encoding: chunked" in top.lower()
    while True:
        if slow_s:
            await asyncio.sleep(slow_s)
        part = await _part(reader, is_chunked)
        if not part:
            return
        reply.times.append(time.monotonic())
        reply.clocks.append(reply.clock())
        reply.parts.append(part)


async def _part(reader: asyncio.StreamReader, is_chunked: bool) -> bytes:
    if not is_chunked:
        return await reader.read(1 << 16)
    size = int(await reader.readline(), 16)
    data = await reader.readexactly(size)
    await reader.readexactly(2)
    return data


def chat_body(model: str, messages: str | list[dict], tokens: int, **more) -> bytes:
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    return json.dumps({"model": model, "messages": messages, "max_tokens": tokens, **more}).encode()


def completion_body(model: str, prompt: str | list[int], tokens: int, **more) -> bytes:
    return json.dumps({"model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0, **more}).encode()


def get(url: str, timeout_s: float = 10.0) -> bytes | None:
    """The body of a 200, None for anything else."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as answer:
            return answer.read()
    except (urllib.error.URLError, OSError):
        return None


def counters(url: str) -> dict[str, float]:
    """The counters of /metrics, summed over models: {"hfc_steps_total": 12.0, ...}."""
    totals: dict[str, float] = {}
    for line in (get(f"{url}/metrics") or b"").decode().splitlines():
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            totals[name.split("{")[0]] = totals.get(name.split("{")[0], 0.0) + float(value)
    return totals


FAULTY = """
import random, time
from hfc.serve.stepper import Stepper
mean_s, advance, until = {fault_s}, Stepper.advance, time.monotonic() + 5
def failing(self):
    global until
    if time.monotonic() > until and self.scheduler.running and self.steps > 5:
        until = time.monotonic() + random.expovariate(1 / mean_s)
        raise RuntimeError("a fault that was made")
    return advance(self)
Stepper.advance = failing
"""
MAIN = "\nimport sys\nfrom hfc.cli import main\nmain(sys.argv[1:])\n"


def faulty(mean_s: float) -> str:
    """A patch: steps of the engine fail, so far apart in the mean; 0: none."""
    return FAULTY.format(fault_s=mean_s) if mean_s else ""


def anonymous_mb(pid: int) -> float:
    """Resident memory of a process that is no file's: mapped weights come and go as the system likes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon:")) * 1024 / 1e6


def process_clock(pid: int) -> int:
    """Linux's clock of the processor time that a process has taken, for time.clock_gettime."""
    return (~pid << 3) | 2


@dataclass(frozen=True)
class Server:
    url: str
    model: str
    pid: int | None = None


@contextlib.contextmanager
def served(
    model: str, options: list[str], ready_s: float = 300.0, patch: str = "", tree: Path = ROOT, python: str = ""
) -> Iterator[Server]:
    """`hfc serve MODEL OPTIONS` on a free port, until the block ends. RuntimeError with its log if it does not get ready.

    patch: Python that runs in its process first. tree, python: another hfc, and the interpreter that has what it needs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tree), os.environ.get("PYTHONPATH", "")])}
    if patch:  # as `hfc serve` sets it for itself; one with a patch is no process of its own
        environment.setdefault("PYTHONMALLOC", "malloc")
    program = ["-c", patch + MAIN] if patch else ["-m", "hfc"]
    if Path(model).exists():
        model = str(Path(model).resolve())
    command = [python or sys.executable, *program, "serve", model, "--port", str(port), "--name", "measured", *options]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=tree)
        try:
            end = time.monotonic() + ready_s
            while get(f"http://127.0.0.1:{port}/ready", 2.0) is None:
                if process.poll() is not None or time.monotonic() > end:
                    log.seek(0)
                    raise RuntimeError(f"the server does not get ready:\n{log.read()[-4000:]}")
                time.sleep(0.2)
            yield Server(f"http://127.0.0.1:{port}", "measured", process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
