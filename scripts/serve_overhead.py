#!/usr/bin/env python3
"""What `hfc serve` itself takes of a step: a model whose steps do nothing for a time, with everything around it real.

    scripts/serve_overhead.py VOCABULARY.gguf [--streams 16] [--step-ms 8] [--dialect chat] [--profile PREFIX]

A step waits instead of calling a GPU; HTTP, scheduling, encoding of steps and sampling, and detokenization are what they are. What
lies between two calls is the server's own time. --wait spin keeps the core busy with the GIL released, as drivers that wait
for a device do, and its caches warm; sleep gives it away. The result is printed as a line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import functools
import hashlib
import json
import pstats
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import uvicorn
from serve_client import chat_body, completion_body, post

from hfc.cli.serve import SWITCH_S
from hfc.runtime.limits import check_step
from hfc.runtime.vocabulary import load_vocabulary
from hfc.sampling import encode_rows, sampling_words
from hfc.serve.app import make_app
from hfc.serve.engine import Engine
from hfc.serve.metrics import Metrics
from hfc.serve.models import Models
from hfc.serve.scheduler import Limits
from hfc.serve.served import Served, ServerSettings
from hfc.step import step_words

CONTEXT, ROWS, OUTPUTS = 4096, 512, 32


class TimedModel:
    """Does on the host what a GPU's model does around its call, and waits instead of that call."""

    def __init__(self, vocab: int, slots: int, step_s: float, wait: str):
        self.vocab, self.context, self.slots, self.max_rows, self.max_outputs = vocab, CONTEXT, slots, ROWS, OUTPUTS
        self.plan = SimpleNamespace(
            taps={}, max_rows=ROWS, max_outputs=OUTPUTS, slots=slots, context=CONTEXT, draft=None, uncommitted_rows=0
        )
        self.wait = functools.partial(time.sleep, step_s) if wait == "sleep" else spinner(step_s)
        self.calls = []  # of each step: rows, began, launched, ended, CPU seconds of the thread and of the process
        self._step, self._parameters = (
            np.zeros(step_words(ROWS), np.int32),
            np.zeros(sampling_words(OUTPUTS, vocab), np.int32),
        )
        self._answers = np.random.default_rng(0).integers(1000, 20000, 4096).tolist()

    def forward(self, step):
        self._run(step, ())
        return np.zeros((len(step.output_rows), self.vocab), np.float32)

    def next_tokens(self, step, samplers):
        self._run(step, samplers)
        at = len(self.calls)
        return [sampler.accept(self._answers[(at + 37 * i) % 4096]) for i, sampler in enumerate(samplers)]

    def _run(self, step, samplers) -> None:
        began = time.perf_counter()
        check_step(step, self.plan)
        step.encode(ROWS, self._step)
        encode_rows(self._parameters, samplers, OUTPUTS, self.vocab)
        launched = time.perf_counter()
        self.wait()
        self.calls.append(
            (len(samplers), began, launched, time.perf_counter(), time.thread_time(), time.process_time())
        )


def spinner(seconds: float):
    """A call that computes for about so long without the interpreter's lock."""
    spin = lambda rounds: hashlib.pbkdf2_hmac("sha256", b"a", b"b", rounds)  # noqa: E731
    began = time.perf_counter()
    spin(100_000)
    rounds = max(1, int(100_000 * seconds / (time.perf_counter() - began)))
    return lambda: spin(rounds)


class NoStates:
    kv_bytes = recurrent_bytes = 0

    def read_kv(self, slot, start, end):
        return np.empty(0, np.uint8)


def overhead(options) -> None:
    sys.setswitchinterval(SWITCH_S)
    vocabulary = load_vocabulary(options.vocabulary)
    model = TimedModel(vocabulary.tokenizer.vocab, options.streams, options.step_ms / 1000, options.wait)
    engine = (ProfiledEngine if options.profile else Engine)(
        model, Limits(options.streams, ROWS, OUTPUTS, CONTEXT, queue=64), 0, Metrics("timed"), states=NoStates()
    )
    engine.metrics.watch(engine.gauges)
    app = make_app(Models([Served("timed", vocabulary, engine)]), ServerSettings())
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
    serve = functools.partial(server.run, sockets=[bound])
    http = cProfile.Profile()
    thread = threading.Thread(target=functools.partial(http.runcall, serve) if options.profile else serve, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    command = [
        sys.executable,
        __file__,
        "--client",
        f"http://127.0.0.1:{bound.getsockname()[1]}",
        "--dialect",
        options.dialect,
    ]
    done = subprocess.run(
        [*command, "--streams", str(options.streams), "--tokens", str(options.tokens)], capture_output=True, text=True
    )
    server.should_exit = True
    thread.join(10)
    engine.close()
    if options.profile:
        write_profile(http, f"{options.profile}.http")
        write_profile(engine.profile, f"{options.profile}.engine")
    assert done.returncode == 0, done.stderr
    report(model, options, json.loads(done.stdout))


class ProfiledEngine(Engine):
    """Keeps what its thread spends its time on."""

    def _run(self) -> None:
        self.profile = cProfile.Profile()
        self.profile.runcall(super()._run)


def write_profile(profile: cProfile.Profile, path: str) -> None:
    with Path(path).open("w") as out:
        pstats.Stats(profile, stream=out).sort_stats("tottime").print_stats(40)


def report(model: TimedModel, options, client: dict) -> None:
    """Microseconds of a step with every stream in it: median and 90th percentile."""
    calls = model.calls
    full = [(a, b) for a, b in zip(calls, calls[1:]) if a[0] == b[0] == options.streams]
    between, encode = sorted((b[1] - a[3]) * 1e6 for a, b in full), sorted((a[2] - a[1]) * 1e6 for a, _ in full)
    engine_cpu, all_cpu = (sorted((b[i] - a[i]) * 1e6 for a, b in full) for i in (4, 5))
    show = lambda values: [round(values[len(values) // 2]), round(values[len(values) * 9 // 10])]  # noqa: E731
    waited = statistics.median((a[3] - a[2]) * 1e3 for a, _ in full)  # a spinner's guess depends on what else runs
    own = show(sorted((b[1] - a[3] + a[2] - a[1]) * 1e6 for a, b in full))
    spent = {"engine_cpu_us": show(engine_cpu), "process_cpu_us": show(all_cpu)} if options.wait == "sleep" else {}
    print(json.dumps({
        "streams": options.streams, "step_ms": round(waited, 2), "wait": options.wait, "dialect": options.dialect, "steps": len(full),
        "client": client, "server_us": own, "between_steps_us": show(between), "encode_us": show(encode), **spent,
    }))  # fmt: skip


async def streams(options) -> None:
    """The client of `overhead`: so many streams at once, in a process of its own."""
    path = {
        "chat": "/v1/chat/completions",
        "completions": "/v1/completions",
        "responses": "/v1/responses",
        "messages": "/v1/messages",
    }[options.dialect]
    make = {
        "chat": lambda i: chat_body("timed", f"Story {i}", options.tokens, stream=True, ignore_eos=True),
        "completions": lambda i: completion_body("timed", f"Story {i}", options.tokens, stream=True, ignore_eos=True),
        "responses": lambda i: json.dumps(
            {"model": "timed", "input": f"Story {i}", "max_output_tokens": options.tokens, "stream": True}
        ).encode(),
        "messages": lambda i: chat_body("timed", f"Story {i}", options.tokens, stream=True),
    }[options.dialect]
    began = time.monotonic()
    replies = await asyncio.gather(*(post(options.vocabulary, path, make(i)) for i in range(int(options.streams))))
    seconds = time.monotonic() - began
    assert all(reply.status == 200 for reply in replies), replies[0].body
    gaps = sorted(b - a for reply in replies for a, b in zip(reply.times, reply.times[1:]))
    print(
        json.dumps(
            {
                "tok_s": round(len(replies) * options.tokens / seconds),
                "gap_ms": [round(1000 * gaps[len(gaps) * p // 100], 2) for p in (50, 90, 99)],
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "vocabulary", help="a checkpoint, for its tokenizer and template; or, with --client, the server's address"
    )
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=300)
    parser.add_argument("--step-ms", type=float, default=8)
    parser.add_argument("--dialect", default="chat", choices=("chat", "completions", "responses", "messages"))
    parser.add_argument("--wait", choices=("spin", "sleep"), default="spin")
    parser.add_argument(
        "--profile",
        metavar="PREFIX",
        help="write PREFIX.http and PREFIX.engine: functions by their own time; slows what it measures",
    )
    parser.add_argument("--client", action="store_true", help="be the client, in a process of its own")
    options = parser.parse_args()
    if options.client:
        asyncio.run(streams(options))
    else:
        overhead(options)


if __name__ == "__main__":
    main()
