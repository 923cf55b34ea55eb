#!/usr/bin/env python
"""Measures a server from its clients' side: the tables of docs/bench/serve.md.

    scripts/bench_serve.py speed URL [--model NAME] [--streams 1,8,16] [--tokens 100]
    scripts/bench_serve.py soak URL [--model NAME] [--clients 64] [--seconds 300] [--pid PID]
    scripts/bench_serve.py overhead VOCABULARY.gguf [--streams 16] [--step-ms 8] [--profile out.txt]

overhead serves a model whose steps do nothing for --step-ms, as a GPU's C call would, with everything around it real:
HTTP, scheduling, encoding of steps and sampling, detokenization; what a step takes beyond that is the server's own time.
--wait spin keeps the core busy, as drivers that wait for a device do, and its caches warm; sleep gives it away.
Each result is printed as a line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import cProfile
import functools
import hashlib
import json
import pstats
import random
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np
import uvicorn

from hfc.runtime.limits import check_step
from hfc.runtime.vocabulary import load_vocabulary
from hfc.sampling import encode_rows, sampling_words
from hfc.serve.app import make_app
from hfc.serve.engine import Engine
from hfc.serve.metrics import Metrics
from hfc.serve.models import Models
from hfc.serve.scheduler import Limits
from hfc.serve.served import Served, Settings
from hfc.step import step_words

CONTEXT, ROWS, OUTPUTS = 4096, 512, 32


# --- a client that costs next to nothing -------------------------------------------------------------------------------


class Reply:
    """status, body, and when each event of a stream came (time.monotonic)."""

    def __init__(self):
        self.status, self.body, self.times = 0, b"", []

    def json(self):
        return json.loads(self.body)


async def post(url: str, path: str, body: bytes, slow_s: float = 0.0) -> Reply:
    """One request on a connection of its own. slow_s: a pause before each read."""
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port, limit=1 << 26)
    try:
        head = f"POST {path} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        reply = Reply()
        top = await reader.readuntil(b"\r\n\r\n")
        reply.status = int(top.split(b" ", 2)[1])
        is_chunked = b"transfer-encoding: chunked" in top.lower()
        while True:
            if slow_s:
                await asyncio.sleep(slow_s)
            part = await _part(reader, is_chunked)
            if not part:
                return reply
            reply.times.append(time.monotonic())
            reply.body += part
    finally:
        writer.close()


async def _part(reader: asyncio.StreamReader, is_chunked: bool) -> bytes:
    if not is_chunked:
        return await reader.read(1 << 16)
    size = int(await reader.readline(), 16)
    data = await reader.readexactly(size)
    await reader.readexactly(2)
    return data


def events(reply: Reply) -> list[dict]:
    return [json.loads(line[6:]) for line in reply.body.split(b"\n") if line.startswith(b"data: {")]


def chat_body(model: str, text: str, tokens: int, **more) -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": tokens, **more}).encode()


def completion_body(model: str, prompt, tokens: int, **more) -> bytes:
    return json.dumps({"model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0, **more}).encode()


# --- speed --------------------------------------------------------------------------------------------------------------


async def speed(options) -> None:
    url, model = options.url, options.model
    await post(url, "/v1/completions", completion_body(model, "Warm up:", 8))
    for streams in map(int, options.streams.split(",")):
        rates = []
        for turn in range(options.repeat):
            bodies = [completion_body(model, f"Story {turn}.{i}:", options.tokens, ignore_eos=True, stream=True) for i in range(streams)]
            began = time.monotonic()
            replies = await asyncio.gather(*(post(url, "/v1/completions", body) for body in bodies))
            assert all(reply.body.endswith(b"data: [DONE]\n\n") for reply in replies)
            rates.append(streams * options.tokens / (time.monotonic() - began))
        print(json.dumps({"streams": streams, "tok_s": round(statistics.median(rates), 1)}), flush=True)
    for turn in range(options.repeat):
        ids = np.random.default_rng(turn).integers(1000, 40000, options.prompt).tolist()
        for state in ("cold", "warm"):
            began = time.monotonic()
            reply = await post(url, "/v1/completions", completion_body(model, ids, 2, stream=True, stream_options={"include_usage": True}))
            cached = events(reply)[-1]["usage"]["prompt_tokens_details"]["cached_tokens"]
            result = {"prompt": options.prompt, "state": state, "first_token_s": round(reply.times[0] - began, 4), "cached": cached}
            print(json.dumps(result), flush=True)


# --- soak ---------------------------------------------------------------------------------------------------------------


class Soak:
    """Clients that do everything wrong, and compare every answer with the first one to the same question."""

    def __init__(self, options):
        self.options, self.counts, self.truth = options, collections.Counter(), {}
        self.resident: list[tuple[float, float]] = []

    async def run(self) -> None:
        end = time.monotonic() + self.options.seconds
        watch = asyncio.ensure_future(self._watch(end))
        await asyncio.gather(*(self._client(i, end) for i in range(self.options.clients)))
        watch.cancel()
        self._note(self.options.seconds)
        print(json.dumps({"counts": dict(sorted(self.counts.items())), "questions": len(self.truth), "resident_mb": self.resident}))
        if any(name.startswith("FAILED") for name in self.counts):
            raise SystemExit(1)

    async def _watch(self, end: float) -> None:
        while True:
            self._note(self.options.seconds - (end - time.monotonic()))
            await asyncio.sleep(self.options.seconds / 20)

    def _note(self, at: float) -> None:
        if self.options.pid:
            pages = int(Path(f"/proc/{self.options.pid}/statm").read_text().split()[1])
            self.resident.append((round(at, 1), round(pages * 4096 / 1e6, 1)))
            print(json.dumps({"at_s": round(at), "resident_mb": self.resident[-1][1], "compared": self.counts["compared"]}), flush=True)

    async def _client(self, number: int, end: float) -> None:
        rng = random.Random(number)
        kinds = {"bad json": 8, "huge": 4, "leave": 20, "slow": 4, "plain": 30, "stream": 34}
        while time.monotonic() < end:
            kind = rng.choices(list(kinds), list(kinds.values()))[0]
            try:
                await getattr(self, "_" + kind.replace(" ", "_"))(rng)
            except AssertionError as error:
                self.counts[f"FAILED {kind}: {error}"[:200]] += 1
            except (OSError, asyncio.IncompleteReadError, ValueError) as error:
                self.counts[f"FAILED {kind}: {type(error).__name__} {error}"[:200]] += 1

    def _question(self, rng) -> str:
        return f"Client {rng.randint(0, 40)} asks about topic {rng.randint(0, 9)}: what is it?"

    async def _bad_json(self, rng) -> None:
        body = rng.choice([b'{"model": ', b"[]", b"\xff\xfe{}", b'{"model": "x", "messages": []}', b'{"messages": 5}'])
        self._answered("bad json", await post(self.options.url, "/v1/chat/completions", body), (400, 404))

    async def _huge(self, rng) -> None:
        words = "word " * rng.choice([700, 5000, 50000])
        self._answered("huge", await post(self.options.url, "/v1/completions", completion_body(self.options.model, words, 2)), (200, 400, 429))

    async def _leave(self, rng) -> None:
        body = chat_body(self.options.model, self._question(rng), 200, stream=rng.random() < 0.5)
        try:
            await asyncio.wait_for(post(self.options.url, "/v1/chat/completions", body), rng.uniform(0.01, 2.0))
            self.counts["left too late"] += 1
        except asyncio.TimeoutError:
            self.counts["left"] += 1

    async def _slow(self, rng) -> None:
        await self._compared(rng, True, 0.05)

    async def _plain(self, rng) -> None:
        await self._compared(rng, False)

    async def _stream(self, rng) -> None:
        await self._compared(rng, True)

    async def _compared(self, rng, stream: bool, slow_s: float = 0.0) -> None:
        question = self._question(rng)
        body = chat_body(self.options.model, question, 12, temperature=0, stream=stream)
        reply = await post(self.options.url, "/v1/chat/completions", body, slow_s)
        self._answered("stream" if stream else "plain", reply, (200, 429))
        if reply.status == 429:
            await asyncio.sleep(rng.uniform(0.1, 1.0))
            return
        if stream:
            assert reply.body.endswith(b"data: [DONE]\n\n"), "a lost stream"
            text = "".join(e["choices"][0]["delta"].get("content") or "" for e in events(reply))
        else:
            text = reply.json()["choices"][0]["message"]["content"]
        assert self.truth.setdefault(question, text) == text, f"crossed: {question} {text!r} {self.truth[question]!r}"
        self.counts["compared"] += 1

    def _answered(self, kind: str, reply: Reply, allowed: tuple[int, ...]) -> None:
        assert reply.status in allowed, f"status {reply.status} {reply.body[:100]!r}"
        self.counts[f"{kind} {reply.status}"] += 1


# --- overhead -----------------------------------------------------------------------------------------------------------


class TimedModel:
    """Does on the host what a GPU's model does around its call, and waits instead of that call."""

    def __init__(self, vocab: int, slots: int, step_s: float, wait: str):
        self.vocab, self.context, self.slots, self.max_rows, self.max_outputs = vocab, CONTEXT, slots, ROWS, OUTPUTS
        self.plan = SimpleNamespace(
            taps={}, max_rows=ROWS, max_outputs=OUTPUTS, slots=slots, context=CONTEXT, draft=None, uncommitted_rows=0
        )
        self.wait = functools.partial(time.sleep, step_s) if wait == "sleep" else spinner(step_s)
        self.calls = []  # of each step: rows, began, launched, ended, CPU seconds of the thread and of the process
        self._step, self._parameters = np.zeros(step_words(ROWS), np.int32), np.zeros(sampling_words(OUTPUTS, vocab), np.int32)
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
        self.calls.append((len(samplers), began, launched, time.perf_counter(), time.thread_time(), time.process_time()))


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
    vocabulary = load_vocabulary(options.vocabulary)
    model = TimedModel(vocabulary.tokenizer.vocab, options.streams, options.step_ms / 1000, options.wait)
    engine = Engine(model, Limits(options.streams, ROWS, OUTPUTS, CONTEXT, queue=64), 0, Metrics("timed"), states=NoStates())
    engine.metrics.watch(engine.gauges)
    app = make_app(Models([Served("timed", vocabulary, engine)]), Settings())
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
    thread = threading.Thread(target=_profiled(server.run, options.profile and f"{options.profile}.http"), kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    command = [sys.executable, __file__, "streams", f"http://127.0.0.1:{bound.getsockname()[1]}", "--model", "timed", "--dialect", options.dialect]
    done = subprocess.run([*command, "--streams", str(options.streams), "--tokens", str(options.tokens)], capture_output=True, text=True)
    server.should_exit = True
    thread.join(10)
    engine.close()
    assert done.returncode == 0, done.stderr
    report(model, options, json.loads(done.stdout))


def _profiled(run, path: str | None):
    if not path:
        return run

    def profiled(**arguments):
        profile = cProfile.Profile()
        profile.runcall(run, **arguments)
        with Path(path).open("w") as out:
            pstats.Stats(profile, stream=out).sort_stats("tottime").print_stats(40)

    return profiled


def report(model: TimedModel, options, client: dict) -> None:
    """Microseconds of a step with every stream in it: median and 90th percentile."""
    calls = model.calls
    full = [(a, b) for a, b in zip(calls, calls[1:]) if a[0] == b[0] == options.streams]
    between, encode = sorted((b[1] - a[3]) * 1e6 for a, b in full), sorted((a[2] - a[1]) * 1e6 for a, _ in full)
    engine_cpu, all_cpu = (sorted((b[i] - a[i]) * 1e6 for a, b in full) for i in (4, 5))
    show = lambda values: [round(values[len(values) // 2]), round(values[len(values) * 9 // 10])]  # noqa: E731
    own = show(sorted((b[1] - a[3] + a[2] - a[1]) * 1e6 for a, b in full))
    spent = {"engine_cpu_us": show(engine_cpu), "process_cpu_us": show(all_cpu)} if options.wait == "sleep" else {}
    print(json.dumps({
        "streams": options.streams, "step_ms": options.step_ms, "wait": options.wait, "dialect": options.dialect, "steps": len(full),
        "client": client, "server_us": own, "between_steps_us": show(between), "encode_us": show(encode), **spent,
    }))  # fmt: skip


async def streams(options) -> None:
    """The client of `overhead`: so many streams at once, in a process of its own."""
    path = {"chat": "/v1/chat/completions", "completions": "/v1/completions", "responses": "/v1/responses", "messages": "/v1/messages"}[options.dialect]
    make = {
        "chat": lambda i: chat_body(options.model, f"Story {i}", options.tokens, stream=True, ignore_eos=True),
        "completions": lambda i: completion_body(options.model, f"Story {i}", options.tokens, stream=True, ignore_eos=True),
        "responses": lambda i: json.dumps({"model": options.model, "input": f"Story {i}", "max_output_tokens": options.tokens, "stream": True}).encode(),
        "messages": lambda i: chat_body(options.model, f"Story {i}", options.tokens, stream=True),
    }[options.dialect]
    began = time.monotonic()
    replies = await asyncio.gather(*(post(options.url, path, make(i)) for i in range(int(options.streams))))
    seconds = time.monotonic() - began
    assert all(reply.status == 200 for reply in replies), replies[0].body
    gaps = sorted(b - a for reply in replies for a, b in zip(reply.times, reply.times[1:]))
    print(json.dumps({"tok_s": round(len(replies) * options.tokens / seconds), "gap_ms": [round(1000 * gaps[len(gaps) * p // 100], 2) for p in (50, 90, 99)]}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("speed", "soak", "streams"):
        one = commands.add_parser(name)
        one.add_argument("url")
        one.add_argument("--model", default="smollm2:135m")
        one.add_argument("--streams", default="1,8,16")
        one.add_argument("--tokens", type=int, default=100)
        one.add_argument("--repeat", type=int, default=3)
        one.add_argument("--prompt", type=int, default=2000)
        one.add_argument("--clients", type=int, default=64)
        one.add_argument("--seconds", type=float, default=300)
        one.add_argument("--pid", type=int)
        one.add_argument("--dialect", default="chat")
    one = commands.add_parser("overhead")
    one.add_argument("vocabulary")
    one.add_argument("--streams", type=int, default=16)
    one.add_argument("--tokens", type=int, default=300)
    one.add_argument("--step-ms", type=float, default=8)
    one.add_argument("--dialect", default="chat")
    one.add_argument("--wait", choices=("spin", "sleep"), default="spin")
    one.add_argument("--profile")
    options = parser.parse_args()
    if options.command == "overhead":
        overhead(options)
    else:
        asyncio.run({"speed": speed, "streams": streams}.get(options.command, lambda o: Soak(o).run())(options))


if __name__ == "__main__":
    main()
