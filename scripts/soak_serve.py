#!/usr/bin/env python3
"""Clients that do everything wrong, for minutes, against a server with few slots; every answer is held to one that was asked alone.

    scripts/soak_serve.py MODEL [--clients 64] [--seconds 300] [-o FILE] [-- OPTIONS of hfc serve]    # --slots 8 unless an option says so
    scripts/soak_serve.py --url http://127.0.0.1:11435 --model NAME --pid PID

First every question is asked alone, of a server that has not seen it. Then the clients: greedy answers streamed or whole, read
slowly, under a grammar, left half way, bad JSON, prompts longer than the context. --faults makes steps of the engine fail, --kill-every
kills workers. The exit code is 1 after a lost or crossed stream, an answer that
no such request may get, a slot that stays taken, or resident memory beside the prefix cache that changes by more than --flat after the warm-up.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import json
import os
import random
import signal
import statistics
import sys
import time
from pathlib import Path

from serve_client import (
    Reply,
    Server,
    anonymous_mb,
    chat_body,
    completion_body,
    counters,
    faulty,
    get,
    post,
    served,
    text_of,
)

KINDS = {
    "plain": 26,
    "stream": 26,
    "slow": 6,
    "structured": 8,
    "leave": 20,
    "bad": 8,
    "huge": 6,
}  # how often of a hundred
FAULT = "ask again"  # what the server says to those whose step was made to fail
TOPICS = ("rivers", "clouds", "trains", "bread", "music", "stars", "chess", "rain")
BAD = (
    b'{"model": ',
    b"[]",
    b"\xff\xfe{}",
    b'{"model": "x", "messages": []}',
    b'{"messages": 5}',
    b'{"messages": [{"role": "king", "content": ""}]}',
)


class Soak:
    def __init__(self, server: Server, options: argparse.Namespace):
        self.server, self.options = server, options
        self.counts: collections.Counter[str] = collections.Counter()
        self.truth: dict[str, str] = {}
        self.structured: dict[str, str] = {}
        self.resident_mb: list[tuple[float, float, float]] = []  # seconds, memory, that of the prefix cache in it

    async def run(self) -> dict:
        questions = [
            f"Client {n} asks about {topic}: what is it?"
            for n in range(self.options.questions // len(TOPICS))
            for topic in TOPICS
        ]
        for question in questions:
            self.truth[question] = await self._alone(question)
        for question in questions[:8]:
            self.structured[question] = await self._alone(question, FORMAT)
        began = time.monotonic()
        watch = asyncio.ensure_future(self._watch(began))
        killing = asyncio.ensure_future(self._kill_workers())
        await asyncio.gather(*(self._client(i, began + self.options.seconds) for i in range(self.options.clients)))
        watch.cancel()
        killing.cancel()
        left = await self._drained()
        return self._result(questions, time.monotonic() - began, left)

    async def _alone(self, question: str, more: dict | None = None) -> str:
        """Faults are made all the time: asked until none was met."""
        for _ in range(20):
            if (text := await self._answer(question, stream=False, more=more)) is not None:
                return text
        raise AssertionError("the server fails whenever it is asked alone")

    async def _kill_workers(self) -> None:
        """Now and then one of the processes that render and compile, seldom the one that forks them."""
        rng = random.Random(0)
        while self.options.kill_every and self.server.pid:
            await asyncio.sleep(rng.expovariate(1 / self.options.kill_every))
            nurseries = children_of(self.server.pid)
            workers = [worker for nursery in nurseries for worker in children_of(nursery)]
            among = nurseries if rng.random() < 0.1 else workers  # one that starts again and again never gets to work
            for pid in rng.sample(among, k=min(1, len(among))):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                self.counts["killed a nursery" if pid in nurseries else "killed a worker"] += 1

    def _result(self, questions: list[str], seconds: float, left: dict[str, float]) -> dict:
        failed = {name: n for name, n in self.counts.items() if name.startswith("FAILED")}
        level = self._level()
        ok = not failed and not any(left.values()) and (level is None or level["change"] <= self.options.flat)
        return {
            "ok": ok,
            "clients": self.options.clients,
            "seconds": round(seconds, 1),
            "questions": len(questions),
            "compared": self.counts["compared"],
            "counts": dict(sorted(self.counts.items())),
            "left_behind": left,
            "resident": level,
            "resident_mb": self.resident_mb,
        }

    def _level(self) -> dict | None:
        """Resident memory after the warm-up, without the prefix cache, which fills up to its limit: its first and its last third, and
        how far apart they are."""
        late = [(mb - cached, cached) for at, mb, cached in self.resident_mb if at >= self.options.warm_up]
        values = [mb for mb, _ in late]
        if len(values) < 3:
            return None
        third = len(values) // 3
        first, last = statistics.median(values[:third]), statistics.median(values[-third:])
        return {
            "from_s": self.options.warm_up,
            "first_mb": round(first, 1),
            "last_mb": round(last, 1),
            "change": round(abs(last / first - 1), 4),
            "most_mb": round(max(values), 1),
            "prefix_cache_mb": [late[0][1], late[-1][1]],
        }

    async def _drained(self) -> dict[str, float]:
        """Slots and queue when everybody has gone: nothing may be left in them."""
        for _ in range(100):
            now = counters(self.server.url)
            left = {name: now.get(f"hfc_{name}", 0.0) for name in ("slots_busy", "queue")}
            if not any(left.values()):
                break
            await asyncio.sleep(0.1)
        return left

    async def _watch(self, began: float) -> None:
        while True:
            at = time.monotonic() - began
            told = await asyncio.to_thread(counters, self.server.url)
            if self.server.pid and "hfc_cache_bytes" in told:
                cached = round(told["hfc_cache_bytes"] / 2**20, 1)
                self.resident_mb.append((round(at, 1), round(anonymous_mb(self.server.pid), 1), cached))
            print(
                json.dumps(
                    {"at_s": round(at), "resident_mb": self.resident_mb[-1:], "compared": self.counts["compared"]}
                ),
                flush=True,
            )
            if await asyncio.to_thread(get, f"{self.server.url}/health", 30.0) is None:
                self.counts["FAILED health"] += 1
            await asyncio.sleep(self.options.every)

    async def _client(self, number: int, end: float) -> None:
        rng = random.Random(number)
        while time.monotonic() < end:
            (kind,) = rng.choices(list(KINDS), list(KINDS.values()))
            try:
                await getattr(self, f"_{kind}")(rng)
            except (AssertionError, OSError, asyncio.IncompleteReadError, ValueError) as error:
                self.counts[f"FAILED {kind}: {type(error).__name__} {error}"[:300]] += 1

    async def _plain(self, rng: random.Random) -> None:
        await self._compare(rng, "plain", stream=False)

    async def _stream(self, rng: random.Random) -> None:
        await self._compare(rng, "stream", stream=True)

    async def _structured(self, rng: random.Random) -> None:
        await self._compare(rng, "structured", rng.random() < 0.5, more=FORMAT)

    async def _slow(self, rng: random.Random) -> None:
        await self._compare(rng, "slow", stream=True, slow_s=rng.uniform(0.05, 0.3))

    async def _compare(
        self, rng: random.Random, kind: str, stream: bool, slow_s: float = 0.0, more: dict | None = None
    ) -> None:
        truth = self.structured if more else self.truth
        question = rng.choice(list(truth))
        text = await self._answer(question, stream, slow_s, kind, more)
        if text is None:
            await asyncio.sleep(rng.uniform(0.1, 1.0))
            return
        assert text == truth[question], f"crossed: {question} {text!r} is not {truth[question]!r}"
        self.counts["compared"] += 1

    async def _answer(
        self, question: str, stream: bool, slow_s: float = 0.0, kind: str = "alone", more: dict | None = None
    ) -> str | None:
        """The text of a greedy answer; None when the queue is full, or a fault was made that met it."""
        body = chat_body(self.server.model, question, self.options.tokens, temperature=0, stream=stream, **(more or {}))
        reply = await post(self.server.url, "/v1/chat/completions", body, slow_s)
        if self.options.faults and reply.status in (200, 500) and FAULT.encode() in reply.body[-300:]:
            self.counts[f"{kind} met a fault"] += 1
            return None
        self._answered(kind, reply, (200,) if kind == "alone" else (200, 429))
        if reply.status == 429:
            return None
        if not stream:
            return reply.json()["choices"][0]["message"]["content"]
        assert reply.is_whole_stream, f"a lost stream: {reply.body[-200:]!r}"
        return "".join(map(text_of, reply.events()))

    async def _leave(self, rng: random.Random) -> None:
        body = chat_body(self.server.model, rng.choice(list(self.truth)), 200, stream=rng.random() < 0.5)
        patience_s = 0.005 + 3 * rng.random() ** 3  # often little: a fast model must be left, too
        try:
            await asyncio.wait_for(post(self.server.url, "/v1/chat/completions", body), patience_s)
            self.counts["was refused or ready before it left"] += 1
        except asyncio.TimeoutError:
            self.counts["left"] += 1

    async def _bad(self, rng: random.Random) -> None:
        reply = await post(self.server.url, "/v1/chat/completions", rng.choice(BAD))
        self._answered("bad", reply, (400, 404))
        assert reply.json()["error"]["message"], "an error without words"

    async def _huge(self, rng: random.Random) -> None:
        words = "word " * rng.choice([self.options.context // 2, self.options.context * 2, self.options.context * 40])
        reply = await post(self.server.url, "/v1/completions", completion_body(self.server.model, words, 2))
        if self.options.faults and reply.status == 500 and FAULT.encode() in reply.body:
            return
        self._answered("huge", reply, (200, 400, 429))
        if reply.status == 400:
            assert reply.json()["error"]["code"] == "context_length_exceeded", reply.body[:200]

    def _answered(self, kind: str, reply: Reply, allowed: tuple[int, ...]) -> None:
        assert reply.status in allowed, f"status {reply.status} {reply.body[:200]!r}"
        self.counts[f"{kind} {reply.status}"] += 1


FORMAT = {"response_format": {"type": "regex", "pattern": "[A-Za-z ,]{10,60}"}}


def children_of(pid: int) -> list[int]:
    """Processes that a process has started."""
    try:
        tasks = [task / "children" for task in Path(f"/proc/{pid}/task").iterdir()]
        return [int(child) for task in tasks for child in task.read_text().split()]
    except OSError:
        return []


def main() -> int:
    arguments = sys.argv[1:]
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("served", nargs="?", metavar="MODEL", help="what hfc serve can serve")
    parser.add_argument("--url", help="of a server that runs")
    parser.add_argument("--model", default="measured", help="its name there")
    parser.add_argument("--pid", type=int, help="its process, for its memory")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--warm-up", type=float, default=60, help="seconds before memory counts")
    parser.add_argument("--every", type=float, default=10, help="seconds between two looks at memory")
    parser.add_argument("--questions", type=int, default=80)
    parser.add_argument("--tokens", type=int, default=24, help="of an answer")
    parser.add_argument("--context", type=int, default=1024, help="of the server, for prompts that do not fit")
    parser.add_argument(
        "--faults", type=float, default=0, help="seconds between two steps that are made to fail; 0: none"
    )
    parser.add_argument(
        "--kill-every", type=float, default=0, help="seconds between two workers that are killed; 0: none"
    )
    parser.add_argument("--flat", type=float, default=0.05, help="share that memory may change by")
    options, serve_options = parser.parse_args(arguments[:cut]), arguments[cut + 1 :]
    if bool(options.served) == bool(options.url):
        parser.error("give a MODEL to serve, or the --url of a server")
    usual = [] if options.url else ["--slots", "8", "--ctx", str(options.context), "--queue", "32", "--cache-mb", "128"]
    opened = (
        contextlib.nullcontext(Server(options.url, options.model, options.pid))
        if options.url
        else served(options.served, [*usual, *serve_options], patch=faulty(options.faults))
    )
    with opened as server:
        result = asyncio.run(Soak(server, options).run())
    print(json.dumps({k: v for k, v in result.items() if k != "resident_mb"}, indent=1))
    if options.output:
        options.output.write_text(json.dumps(result, indent=1) + "\n")
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
