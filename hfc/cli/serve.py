"""`hfc serve`: an OpenAI server for one model or several."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType

import uvicorn

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import DeviceLost, HfcError
from hfc.base.system import require_linux
from hfc.cli import DEVICE_ERROR, INTERRUPTED
from hfc.cli.device import announce, device_for
from hfc.cli.keys import api_keys, environment, hide_keys, keys_of, without_keys
from hfc.cli.listening import bound, listening
from hfc.cli.sampling import chosen_sampling, template_variables
from hfc.cli.serve_cache import cache_folder_of, cache_of
from hfc.cli.serve_source import ModelOnDisk, ServeChoice, device_cache_of, memory_of, plan_bytes_of, sources_of
from hfc.runtime.chat import template_of_file
from hfc.runtime.sampler import Sampling
from hfc.runtime.source import Source
from hfc.runtime.speculate.drafts import check_draft
from hfc.serve.app import is_ending, make_app
from hfc.serve.connection import bounded
from hfc.serve.daemons import is_working
from hfc.serve.errors import ApiError
from hfc.serve.limits import ServerLimits
from hfc.serve.log import Seldom
from hfc.serve.memory import collect_old_when_calm, keep, use_one_heap
from hfc.serve.metrics import Meters
from hfc.serve.models import Models
from hfc.serve.record import ServerRecord, log_path, recorded, running
from hfc.serve.security import LOCALHOST, is_loopback
from hfc.serve.served import ServerSettings
from hfc.serve.stepper import LAST_HIDDEN

BACKLOG = 2048  # uvicorn's own
# what the thread that runs steps waits for the interpreter at most; with Python's 0.005 it is most of a short step
SWITCH_S = 0.001
_POLL_S = 0.1
_LATE_S = 2.0  # for those whose requests the end of a drain cuts off, to hear of it
_PLANNERS_S = 5.0  # that their threads may still take when everybody has gone
_SIGNALS = signal.SIGTERM, signal.SIGINT


@dataclass(frozen=True)
class ServeOptions:
    """What `hfc serve` was told: a field for each parameter of its usage, where their meaning stands (cli/usage/serve.py)."""

    model: list[str] | None
    models: Path | None
    host: str
    port: int
    daemon: bool
    slots: int | None
    ctx: int | None
    kv: str | None
    device: str
    experts: str | None
    tensor_parallel: int | None
    threads: int | None
    weights: str | None
    trust: bool
    random_weights: bool
    draft: str
    name: str | None
    alias: list[str] | None
    memory_mb: int | None
    idle_unload_s: float | None
    cache_mb: int | None
    cache_dir: Path | None
    cache_dir_mb: int | None
    device_cache_mb: int | None
    queue: int
    max_wait_s: float | None
    prefill_rows: int | None
    api_key: list[str] | None
    api_key_file: Path | None
    priority_key_file: Path | None
    cors: list[str] | None
    tls_cert: Path | None
    tls_key: Path | None
    timeout_s: float
    drain_s: float
    limits: dict[str, float]
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    seed: int | None
    max_tokens: int | None
    chat_template: Path | None
    think: bool | None
    variables: list[str] | None

    @property
    def sampling(self) -> dict[str, float | None]:
        """What was said about choosing tokens, over what each model recommends."""
        return {name: getattr(self, name) for name in ("temperature", "top_k", "top_p", "min_p", "seed")}

    @property
    def scheme(self) -> str:
        return "https" if self.tls_cert else "http"


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
    # before minutes of loading; it refuses connections until it listens
    listener = listening(options.host, options.port)
    address, port = listener.getsockname()[:2]
    if not is_loopback(address) and not keys:  # handed on by systemd
        raise HfcError(f"the socket listens on {address}, which others reach: keys are needed", hint="HFC_API_KEY=KEY")
    chosen_sampling(Sampling(), **options.sampling)  # what cannot be is refused before a model is loaded
    bounds = server_limits(options.limits)
    served = _models(options, bounds, template_of_file(options.chat_template) if options.chat_template else None)
    settings = ServerSettings(
        keys, frozenset(first), tuple(map(_origin, options.cors or ())), timeout_s=options.timeout_s, limits=bounds, hosts=frozenset({options.host.lower()})
    )  # fmt: skip
    config = uvicorn.Config(
        make_app(served, settings), options.host, port, log_level="warning", access_log=False, server_header=False,
        timeout_keep_alive=bounds.idle_s, http=bounded(bounds), ws="none",
        timeout_graceful_shutdown=round(options.drain_s + _LATE_S), ssl_certfile=options.tls_cert, ssl_keyfile=options.tls_key,
    )  # fmt: skip
    logging.getLogger("uvicorn.error").addFilter(Seldom())
    listener.listen(BACKLOG)  # who finds the record or reads the line below may connect
    _serve(served, Draining(config, options.drain_s), listener, f"{options.scheme}://{options.host}:{port}")


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


def _models(options: ServeOptions, bounds: ServerLimits, template: str | None) -> Models:
    """What is served; a model alone is loaded. template: in place of its own."""
    found = sources_of(options.model or [], options.models)
    chosen = device_for(
        options.device,
        [source for _, source in found],
        options.weights,
        experts=options.experts,
        ranks=options.tensor_parallel,
    )
    announce(chosen)
    device = chosen.device
    caches = cache_of(options.cache_mb), device_cache_of(device, options.device_cache_mb)
    memory = options.memory_mb << 20 if options.memory_mb else memory_of(device)
    choice = ServeChoice(
        device, options.threads, options.ctx, options.kv, options.weights, options.slots, (LAST_HIDDEN,),
        *caches, options.prefill_rows, options.queue,
        options.sampling, options.draft, options.random_weights, options.trust, bounds, options.max_tokens,
        template_variables(options.variables, options.think), template,
        plan_bytes_of(device, memory, caches, len(found)), options.max_wait_s, cache_folder_of(options.cache_dir, options.cache_dir_mb),
        options.experts, options.tensor_parallel,
    )  # fmt: skip
    meters = Meters()
    sources = _sources(found, choice, meters, options.name)
    if template and len(sources) != 1:
        raise HfcError(f"--chat-template is for one model, and these are {len(sources)}")
    served = Models(
        (),
        sources,
        meters,
        memory,
        options.idle_unload_s,
        find=lambda name: ModelOnDisk(*sources_of([name], None)[0], replace(choice, template=None), meters),
        aliases=options.alias or (),
    )
    if len(sources) == 1:
        _load_first(served, sources[0].name)
    return served


def _serve(served: Models, server: Draining, listener: socket.socket, address: str) -> None:
    """Answer until a signal or a failed engine ends it."""
    host, port, log = server.config.host, server.config.port, os.environ.get(_LOG_VARIABLE)
    with recorded(ServerRecord(port, os.getpid(), host, ", ".join(e.name for e in served.entries), time.time(), log)):
        server.catch_signals()  # before anybody is told where it listens
        sys.setswitchinterval(SWITCH_S)
        print(f"{_summary(served)} on {address}", flush=True)
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


def _sources(
    found: list[tuple[str, Source]], choice: ServeChoice, meters: Meters, name: str | None
) -> list[ModelOnDisk]:
    sources = [ModelOnDisk(found_name, source, choice, meters) for found_name, source in found]
    if len(sources) > 1 and (name or choice.weights):
        raise HfcError(f"{'--name' if name else '--weights'} is for one model, and these are {len(sources)}")
    return [replace(sources[0], name=name)] if name else sources


def _load_first(models: Models, name: str) -> None:
    """A model alone is loaded before anybody asks: what is wrong with it shows now."""
    try:
        asyncio.run(models.preload(name))
    except ApiError as error:
        raise HfcError(error.message) from error


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
