"""`hfc serve`: an OpenAI server for one model or several."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType

import uvicorn
from fastapi import FastAPI

from hfc.base.diagnostics import DeviceLost, HfcError
from hfc.base.system import require_linux
from hfc.cli import DEVICE_ERROR, INTERRUPTED
from hfc.cli.keys import api_keys, environment, hide_keys, keys_of, without_keys
from hfc.cli.listening import bound, listening
from hfc.cli.sampling import chosen_sampling
from hfc.cli.serve_models import served_models
from hfc.cli.serve_options import ServeOptions
from hfc.runtime.chat import template_of_file
from hfc.runtime.sampler import Sampling
from hfc.runtime.speculate.drafts import check_draft
from hfc.serve.app import is_ending, make_app
from hfc.serve.connection import bounded
from hfc.serve.daemons import is_working
from hfc.serve.limits import ServerLimits
from hfc.serve.log import Seldom
from hfc.serve.memory import collect_old_when_calm, keep, use_one_heap
from hfc.serve.models import Models
from hfc.serve.record import ServerRecord, log_path, recorded, running
from hfc.serve.security import LOCALHOST, is_loopback
from hfc.serve.served import ServerSettings

BACKLOG = 2048  # uvicorn's own
# what the thread that runs steps waits for the interpreter at most; with Python's 0.005 it is most of a short step
SWITCH_S = 0.001
_POLL_S = 0.1
_LATE_S = 2.0  # for those whose requests the end of a drain cuts off, to hear of it
_PLANNERS_S = 5.0  # that their threads may still take when everybody has gone
_SIGNALS = signal.SIGTERM, signal.SIGINT


OPTIONS = ServeOptions


def command(options: ServeOptions) -> None:
    """Serve models to OpenAI clients: /v1/chat/completions, /v1/completions, /v1/embeddings, /v1/models and more.

    A single model is loaded at once; several are when they are asked for."""
    require_linux("hfc serve", "templates and grammars of clients run in processes with limits")
    first = keys_of("--priority-key-file", options.priority_key_file) if options.priority_key_file else []
    keys = api_keys(options.api_key, options.api_key_file, first)
    hide_keys(options.api_key)
    _check(options, keys)
    use_one_heap()
    if options.daemon:
        _detach(options.host, options.port, bool(options.tls_cert), options.api_key or ())
        return
    if options.ray["deploys"]:
        importlib.import_module("hfc.cli.serve_ray").serve(options, keys, first)
        return
    if options.ray["replicas"] != "1":
        print(f"hfc: --replicas {options.ray['replicas']} is of --ray: without it one process answers", file=sys.stderr)
    # before minutes of loading; it refuses connections until it listens
    listener = listening_for(options, keys)
    chosen_sampling(Sampling(), **options.sampling)  # what cannot be is refused before a model is loaded
    settings = server_settings(options, keys, first)
    template = template_of_file(options.chat_template) if options.chat_template else None
    served = served_models(options, settings.limits, template)
    server = Draining(config_of(options, make_app(served, settings), listener), options.drain_s)
    _serve(served, server, listener, options)


def listening_for(options: ServeOptions, keys: tuple[str, ...]) -> socket.socket:
    """The socket; it does not listen yet."""
    listener = listening(options.host, options.port)
    address = listener.getsockname()[0]
    if not is_loopback(address) and not keys:  # handed on by systemd
        raise HfcError(f"the socket listens on {address}, which others reach: keys are needed", hint="HFC_API_KEY=KEY")
    return listener


def server_settings(options: ServeOptions, keys: tuple[str, ...], first: Sequence[str]) -> ServerSettings:
    return ServerSettings(
        keys, frozenset(first), tuple(map(_origin, options.cors or ())), timeout_s=options.timeout_s,
        limits=server_limits(options.limits), hosts=frozenset({options.host.lower()}),
    )  # fmt: skip


def config_of(options: ServeOptions, app: FastAPI, listener: socket.socket) -> uvicorn.Config:
    """Of an app whose listener others may connect to from here on: who finds the record or reads the line of a server may."""
    bounds = app.state.settings.limits
    logging.getLogger("uvicorn.error").addFilter(Seldom())
    listener.listen(BACKLOG)
    return uvicorn.Config(
        app, options.host, listener.getsockname()[1], loop="asyncio", log_level="warning", access_log=False, server_header=False,
        timeout_keep_alive=bounds.idle_s, http=bounded(bounds), ws="none",
        timeout_graceful_shutdown=round(options.drain_s + _LATE_S), ssl_certfile=options.tls_cert, ssl_keyfile=options.tls_key,
    )  # fmt: skip


def _check(options: ServeOptions, keys: tuple[str, ...]) -> None:
    """HfcError for options that cannot be, before anything is bound or loaded."""
    if not is_loopback(options.host) and not keys:
        raise HfcError(
            f"--host {options.host} lets others in; give them a key", hint="--api-key-file FILE, or HFC_API_KEY"
        )
    if (options.tls_cert is None) != (options.tls_key is None):
        raise HfcError("--tls-cert and --tls-key belong together")
    if options.device.partition(":")[0] in ("null", "interpret"):
        raise HfcError(f"--device {options.device} cannot serve", hint="use host, hip or cuda")
    check_draft(options.draft)


def _serve(served: Models, server: Draining, listener: socket.socket, options: ServeOptions) -> None:
    """Answer until a signal or a failed engine ends it."""
    with announced(server, ", ".join(e.name for e in served.entries), _summary(served), options.scheme):
        collect_old_when_calm()
        keep()
        served.on_failure, server.cut_off = server.fail, served.close
        try:
            server.run([listener])
        finally:
            served.close()
            server.config.app.state.planners.close(_PLANNERS_S)
    if is_working():
        _leave(server)
    end_of(server)


@contextlib.contextmanager
def announced(server: Draining, models: str, summary: str, scheme: str) -> Iterator[None]:
    """Recorded, and said: signals drain from here on."""
    host, port, log = server.config.host, server.config.port, os.environ.get(_LOG_VARIABLE)
    with recorded(ServerRecord(port, os.getpid(), host, models, time.time(), log)):
        server.catch_signals()  # before anybody is told where it listens
        sys.setswitchinterval(SWITCH_S)
        print(f"{summary} on {scheme}://{host}:{port}", flush=True)
        yield


def end_of(server: Draining) -> None:
    if server.has_failed:
        raise DeviceLost("an engine has failed and cannot start again in this process; the log says why")
    if server.first_signal == signal.SIGINT:
        raise KeyboardInterrupt


def _leave(server: Draining) -> None:
    """While a model is being loaded or fetched: Python's own end would take threads in native code away from under it."""
    print("hfc: ended while a model was being loaded or fetched", file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(DEVICE_ERROR if server.has_failed else INTERRUPTED if server.first_signal == signal.SIGINT else 0)


class Draining(uvicorn.Server):
    """The first signal lets requests finish for a time, the second of any kind ends them at once. has_failed: it ends because an engine
    has.  cut_off: tells those who run when the time is over."""

    has_failed = False
    first_signal: int | None = None
    cut_off: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self, config: uvicorn.Config, drain_s: float = 0.0):
        super().__init__(config)
        self._drain_s = drain_s

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        ending = asyncio.ensure_future(self._end_late())
        try:
            await super().shutdown(sockets)
        finally:
            ending.cancel()

    async def _end_late(self) -> None:
        await asyncio.sleep(self._drain_s)
        is_ending(self.config.app)
        await asyncio.to_thread(self.cut_off)

    def fail(self) -> None:
        """Let what was asked see its error, then end."""
        self.has_failed = self.should_exit = True

    def catch_signals(self) -> None:
        for sig in _SIGNALS:
            signal.signal(sig, self.handle_exit)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing: uvicorn would install its handlers again over what a signal that came earlier has set."""
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain. A second signal kills by the system itself, whatever this process is busy with."""
        self.first_signal, self.should_exit = sig, True
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)


_LOG_VARIABLE = "_HFC_SERVE_LOG"  # set by the parent of a daemon for its child alone


def _summary(models: Models) -> str:
    if not models.loaded:
        return f"{len(models.entries)} models, each loaded when it is asked for,"
    (served,) = models.loaded
    return f"{served.name} ({served.engine.limits.slots} slots of {served.engine.limits.context} tokens)"


def server_limits(given: Mapping[str, float]) -> ServerLimits:
    """Of the options: X_kb and X_mb are X_bytes."""
    units = {"kb": 10, "mb": 20}
    values = {}
    for name, value in given.items():
        stem, _, unit = name.rpartition("_")
        values |= {f"{stem}_bytes": int(value) << units[unit]} if unit in units else {name: value}
    return ServerLimits(**values)


def _origin(text: str) -> str:
    """As browsers send it, or `localhost` for all of this machine. HfcError for another name alone, which no page's origin is."""
    if text not in ("*", LOCALHOST) and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+", text):
        raise HfcError(
            f"--cors {text}: an origin is a scheme, a host and the port if it is not the usual one",
            hint=f"write http://{text.split('://')[-1].split('/')[0] or 'localhost:3000'}",
        )
    return text


def _detach(host: str, port: int, has_tls: bool, keys: Sequence[str]) -> None:
    """Start the same command without -d in a session of its own and wait until it listens."""
    with bound(host, port) as probe:
        port = probe.getsockname()[1]
    log = log_path(port)
    log.parent.mkdir(parents=True, exist_ok=True)
    words = [w for w in without_keys(sys.argv[1:]) if w not in ("-d", "--daemon")]
    with log.open("wb") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", "hfc", *words, "--port", str(port)], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            start_new_session=True, env={**environment(keys), _LOG_VARIABLE: str(log)},
        )  # fmt: skip
    while not any(r.pid == child.pid for r in running()):
        if (code := child.poll()) is not None:
            print(log.read_text(errors="replace"), file=sys.stderr, end="")
            raise SystemExit(code or 1)
        time.sleep(_POLL_S)
    print(f"http{'s' if has_tls else ''}://{host}:{port}, process {child.pid}, log {log}")
