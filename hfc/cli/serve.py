"""`hfc serve`: an OpenAI server for one model."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from hfc.base.diagnostics import HfcError
from hfc.cli.open_model import Choice, OpenModel, open_model
from hfc.cli.parameters import Context, Device, KvFormat, ModelName, Threads, Weights
from hfc.runtime.executor import split_device
from hfc.runtime.sampler import Sampling
from hfc.serve.app import make_app
from hfc.serve.engine import LAST_HIDDEN, Engine
from hfc.serve.metrics import Metrics
from hfc.serve.record import Record, log_path, recorded, running
from hfc.serve.scheduler import Limits
from hfc.serve.security import is_loopback
from hfc.serve.served import Models, Served, Settings

HOST, PORT = "127.0.0.1", 11435
USUAL_SLOTS = 4
DEFAULT = Sampling()
_POLL_S = 0.1


def command(
    model: ModelName,
    host: Annotated[str, typer.Option(help="Address to listen on; others than loopback need an API key.")] = HOST,
    port: Annotated[int, typer.Option("--port", "-p", min=0, max=65535, help="0: any that is free.")] = PORT,
    daemon: Annotated[bool, typer.Option("--daemon", "-d", help="Run in the background; see `hfc ps` and `hfc stop`.")] = False,
    slots: Annotated[int | None, typer.Option(min=1, help=f"Sequences that run at a time. [default: {USUAL_SLOTS}]")] = None,
    ctx: Context = None,
    kv: KvFormat = None,
    device: Device = "host",
    threads: Threads = None,
    weights: Weights = None,
    name: Annotated[str | None, typer.Option(help="What clients call the model. [default: MODEL's name]")] = None,
    cache_mb: Annotated[int, typer.Option(min=0, help="Host memory of the prefix cache, in MB; 0: none.")] = 1024,
    queue: Annotated[int, typer.Option(min=0, help="Sequences that may wait for a slot; more get 429.")] = 64,
    prefill_rows: Annotated[int, typer.Option(min=1, help="Prompt tokens of a step in which others decode.")] = 128,
    api_key: Annotated[list[str] | None, typer.Option(help="A key that clients may use; may be given more than once.")] = None,
    api_key_file: Annotated[Path | None, typer.Option(help="Keys, one a line.")] = None,
    cors: Annotated[list[str] | None, typer.Option(help="An origin whose pages may call the server, or *.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Private key, PEM.")] = None,
    timeout_s: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds that a request may take, waiting included.")] = 600,
    drain_s: Annotated[float, typer.Option("--drain", min=0, help="Seconds that running requests get after SIGTERM.")] = 30,
    max_body_mb: Annotated[int, typer.Option(min=1, help="Largest body of a request, in MB.")] = 16,
    temperature: Annotated[float, typer.Option(help="Of requests that name none.")] = DEFAULT.temperature,
    top_k: Annotated[int, typer.Option(help="Of requests that name none.")] = DEFAULT.top_k,
    top_p: Annotated[float, typer.Option(help="Of requests that name none.")] = DEFAULT.top_p,
    min_p: Annotated[float, typer.Option(help="Of requests that name none.")] = DEFAULT.min_p,
) -> None:
    """Serve a model to OpenAI clients: /v1/chat/completions, /v1/completions, /v1/models and more."""
    keys = _keys(api_key, api_key_file)
    if not is_loopback(host) and not keys:
        raise HfcError(f"--host {host} lets others in; give them a key with --api-key or --api-key-file")
    if (tls_cert is None) != (tls_key is None):
        raise HfcError("--tls-cert and --tls-key belong together")
    if split_device(device)[0] == "null" or device == "interpret":
        raise HfcError(f"--device {device} cannot serve", hint="use host, hip or cuda")
    port = port or _free_port(host)
    if daemon:
        _detach(host, port, bool(tls_cert))
        return
    default = Sampling(temperature, top_k, top_p, min_p)
    settings = Settings(keys, tuple(cors or ()), timeout_s, max_body_bytes=max_body_mb << 20)
    _check_port(host, port)
    opened = open_model(model, Choice(device, threads, ctx, kv, weights, slots or _slots(model), taps=(LAST_HIDDEN,)), with_vocabulary=True)
    served = _served(name or name_of(model), opened, Limits(
        opened.model.slots, opened.model.max_rows, opened.model.max_outputs, opened.model.context, prefill_rows, queue,
    ), cache_mb << 20, default)  # fmt: skip
    config = uvicorn.Config(
        make_app(Models([served]), settings), host, port, log_level="warning", access_log=False, server_header=False, timeout_keep_alive=75,
        timeout_graceful_shutdown=round(drain_s), ssl_certfile=tls_cert, ssl_keyfile=tls_key,
    )  # fmt: skip
    log = os.environ.get(_LOG_VARIABLE)
    with recorded(Record(port, os.getpid(), host, served.name, time.time(), log)):
        print(f"{served.name} on http{'s' if tls_cert else ''}://{host}:{port} ({served.engine.limits.slots} slots of {served.engine.limits.context} tokens)", flush=True)
        try:
            uvicorn.Server(config).run()
        finally:
            served.engine.close()


_LOG_VARIABLE = "_HFC_SERVE_LOG"  # set by the parent of a daemon for its child alone


def _served(name: str, opened: OpenModel, limits: Limits, cache_bytes: int, default: Sampling) -> Served:
    engine = Engine(opened.model, limits, cache_bytes, Metrics())
    engine.metrics.watch(engine.gauges)
    return Served(name, opened.vocabulary, engine, default)


def name_of(model: str) -> str:
    """ "models/Qwen3.5-9B-Q4_K_M.gguf" -> "Qwen3.5-9B-Q4_K_M"; a registry name stays as it is."""
    path = Path(model)
    if not path.exists():
        return model
    return path.resolve().name if path.is_dir() else re.sub(r"\.(hfp|gguf|safetensors|json|hfm)$", "", path.name)


def _slots(model: str) -> int | None:
    """A bundle's slots were chosen when it was compiled."""
    return None if Path(model).suffix == ".hfp" else USUAL_SLOTS


def _keys(given: list[str] | None, file: Path | None) -> tuple[str, ...]:
    keys = [*(given or ()), *(file.read_text().split() if file else ())]
    if file and not keys:
        raise HfcError(f"{file}: there is no key in it")
    if any(not key.strip() for key in keys):
        raise HfcError("an API key is empty")
    return tuple(keys)


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def _check_port(host: str, port: int) -> None:
    """Before minutes of loading."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise HfcError(f"cannot listen on {host}:{port}: {error.strerror}", hint="choose another --port; `hfc ps` lists servers") from error


def _detach(host: str, port: int, has_tls: bool) -> None:
    """Start the same command without -d in a session of its own and wait until it listens."""
    _check_port(host, port)
    log = log_path(port)
    log.parent.mkdir(parents=True, exist_ok=True)
    words = [w for w in sys.argv[1:] if w not in ("-d", "--daemon")]
    with log.open("wb") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", "hfc", *words, "--port", str(port)], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            start_new_session=True, env={**os.environ, _LOG_VARIABLE: str(log)},
        )  # fmt: skip
    while not any(r.pid == child.pid for r in running()):
        if (code := child.poll()) is not None:
            print(log.read_text(errors="replace"), file=sys.stderr, end="")
            raise typer.Exit(code or 1)
        time.sleep(_POLL_S)
    print(f"http{'s' if has_tls else ''}://{host}:{port}, process {child.pid}, log {log}")
