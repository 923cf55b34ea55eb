#!/usr/bin/env python3
"""What one client can do to another: the longest silence of a neighbour's stream under each abuse, and the server's memory after it.

    scripts/abuse_serve.py MODEL [--silence 0.1] [--steps-ms 5] [-o FILE] [-- OPTIONS of hfc serve]

A neighbour, a process of its own, streams one answer after the other all the time; its longest silence while nothing else runs is the
base. Every abuse must be answered with what is expected of it, the neighbour's answers must stay what they are, and memory must come
back to within a tenth. The exit code is 1 otherwise. All input is harmless: large, wrong or slow.

With --steps-ms a step of the model waits so long instead of computing, and a silence is counted in the seconds of processor time that
the server takes in it: what else runs on the machine does not count then. What ran beside the neighbour on another core does, so
it is at least what the neighbour would wait for on a machine of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from serve_client import CUT, Server, anonymous_mb, chat_body, events_in, get, post, process_clock, served, text_of

QUESTION = "Tell me about rivers."
TOKENS = 120


def neighbour(url: str, model: str, pid: str) -> None:
    """Prints (time of day on the monotonic clock, silence before it, the server's processor time in it, text of the answer if it ended)
    for every part that comes."""
    clock = functools.partial(time.clock_gettime, process_clock(int(pid)))

    async def main() -> None:
        while True:
            reply = await post(
                url, "/v1/chat/completions", chat_body(model, QUESTION, TOKENS, temperature=0, stream=True), clock=clock
            )
            text = "".join(map(text_of, reply.events()))
            first = next(
                (i for i, part in enumerate(reply.parts) if any(map(text_of, events_in(part)))), len(reply.parts)
            )
            for i in range(first + 1, len(reply.parts)):  # before the first token it waits for a slot like everybody
                now = reply.times[i]
                print(json.dumps([now, now - reply.times[i - 1], reply.clocks[i] - reply.clocks[i - 1], None]))
            print(
                json.dumps([time.monotonic(), 0.0, 0.0, text if reply.is_whole_stream else f"LOST {reply.status}"]),
                flush=True,
            )

    asyncio.run(main())


def large_schema(n: int) -> dict:
    names = [f"p{i}" for i in range(n)]
    return {
        "type": "object",
        "properties": {p: {"type": "number", "minimum": 1.5, "maximum": 10**9 + i} for i, p in enumerate(names)},
        "required": names,
    }


def _many(count: int) -> dict:
    return {f"field {i}": 1 for i in range(count)}


def _texts(count: int) -> dict:
    return {"input": [f"text {i}" for i in range(count)]}


LOOP = "go round"
# The checkpoint's template goes round 10^10 times when a message says so: what a template of a stranger may do.
PATCH = f"""
from hfc.serve.render import Renderer
before, init = "{{% if messages[0].content == '{LOOP}' %}}{{% for i in range(99999) %}}{{% for j in range(99999) %}}{{% endfor %}}{{% endfor %}}{{% endif %}}", Renderer.__init__
Renderer.__init__ = lambda self, source, *more: init(self, before + source, *more)
"""
# Steps that wait: what they bring follows from positions alone.
WAITING_STEPS = """
import time
import numpy as np
from hfc.runtime.host import HostModel
from hfc.runtime.limits import check_step
def forward(self, step):
    check_step(step, self.plan)
    time.sleep({step_s})
    logits = np.zeros((len(step.output_rows), self.vocab), np.float32)
    logits[np.arange(len(logits)), 1000 + 37 * np.asarray(step.positions)[step.output_rows] % 5000] = 9
    return logits
HostModel.forward = forward
"""
UNANSWERED = -1  # in the place of a status
BEYOND = {"prompt": "x", "stop_token_ids": [2**30], "min_tokens": 1}
SIXTEEN = {"max_tokens": 100, "n": 16, "logprobs": True, "top_logprobs": 20}


@dataclass(frozen=True)
class Abuse:
    """run gives the statuses that came; expected: those that may."""

    name: str
    run: Callable[[], Awaitable[list[int]]]
    expected: tuple[int, ...]


class Abuses:
    def __init__(self, server: Server, context: int):
        self.server, self.context = server, context

    def table(self) -> list[Abuse]:
        long = "words and " * 1_500_000  # 15 MB
        chat, complete, embed = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
        return [
            Abuse("a prompt of 1 MB", self._each(complete, {"prompt": long[: 1 << 20]}), (400,)),
            Abuse("a prompt of 15 MB", self._each(complete, {"prompt": long}), (400,)),
            Abuse("a message of 15 MB, four times", self._each(chat, self._said(long), 4), (400,)),
            Abuse("a history of 10 MB to truncate", self._each(chat, self._history()), (400,)),
            Abuse("1.2 million unknown fields", self._each(chat, self._said("x") | _many(1_200_000)), (413, CUT)),
            Abuse("200,000 unknown fields, eight times", self._each(chat, self._said("x") | _many(200_000), 8), (400,)),
            Abuse("80,000 messages, four times", self._each(chat, self._turns(80_000), 4), (400,)),
            Abuse("30,000 messages, eight times", self._each(chat, self._turns(30_000), 8), (400,)),
            Abuse("3,000 messages, sixteen times", self._each(chat, self._turns(3_000), 16), (400,)),
            Abuse("200,000 biases that are no numbers", self._each(chat, self._biases("x")), (400,)),
            Abuse("200,000 biases, four times", self._each(chat, self._biases(1.5), 4), (400,)),
            Abuse("480,000 token ids, four times", self._each(complete, {"prompt": [7] * 480_000}, 4), (400,)),
            Abuse("400,000 lists in one another's place", self._each(complete, {"prompt": [[]] * 400_000}), (400,)),
            Abuse("16 grammars of 300 rules at once", self._grammars(), (200, 400, 429)),
            Abuse("16 renderings of a template that takes its whole time", self._renderings(), (400, 429)),
            Abuse("ids beyond the vocabulary", self._each(complete, BEYOND, 20), (400,)),
            Abuse("n 16 with log probabilities", self._each(chat, self._said("x") | SIXTEEN), (200,)),
            Abuse("256 texts to embed", self._each(embed, _texts(256)), (200,)),
            Abuse("2,048 texts to embed, twice", self._each(embed, _texts(2048), 2), (200,)),
            Abuse("400 connections that say nothing", lambda: self._half_open(400, b""), ()),
            Abuse("30 bodies that do not come", lambda: self._half_open(30, self._unfinished()), ()),
        ]

    def _each(self, path: str, fields: dict, times: int = 1) -> Callable[[], Awaitable[list[int]]]:
        return lambda: self._all(
            path, [json.dumps({"model": self.server.model, "max_tokens": 2, **fields}).encode()] * times
        )

    def _said(self, text: str) -> dict:
        return {"messages": [{"role": "user", "content": text}]}

    def _turns(self, count: int) -> dict:
        return {"messages": [{"role": "user", "content": "words"}] * count}

    def _biases(self, value: float | str) -> dict:
        return self._said("x") | {"logit_bias": dict.fromkeys(map(str, range(200_000)), value)}

    def _grammars(self) -> Callable[[], Awaitable[list[int]]]:
        bodies = []
        for n in range(300, 316):
            format = {"type": "json_schema", "json_schema": {"name": "x", "schema": large_schema(n)}}
            bodies.append(chat_body(self.server.model, "x", 4, response_format=format))
        return lambda: self._all("/v1/chat/completions", bodies)

    def _renderings(self) -> Callable[[], Awaitable[list[int]]]:
        return self._each("/v1/chat/completions", self._said(LOOP), 16)

    def _history(self) -> dict:
        turns = [{"role": "user" if i % 2 == 0 else "assistant", "content": "words and " * 10_000} for i in range(101)]
        return {"messages": turns, "truncation": "auto"}

    def _unfinished(self) -> bytes:
        head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9000000\r\n\r\n"
        return head.encode() + b" " * 1_000_000

    async def _all(self, path: str, bodies: list[bytes]) -> list[int]:
        return [reply.status for reply in await asyncio.gather(*(post(self.server.url, path, body) for body in bodies))]

    async def _half_open(self, count: int, begin: bytes) -> list[int]:
        host, port = self.server.url.removeprefix("http://").split(":")
        opened = await asyncio.gather(*(asyncio.open_connection(host, int(port)) for _ in range(count)))
        for _, writer in opened:
            writer.write(begin)
        await asyncio.sleep(5)
        for _, writer in opened:
            writer.close()
        return []


async def peak_mb(pid: int, run: asyncio.Future, timeout_s: float) -> float:
    """The most memory while something runs, which is ended after a time."""
    most, end = anonymous_mb(pid), time.monotonic() + timeout_s
    while not run.done():
        await asyncio.wait((run,), timeout=0.05)
        most = max(most, anonymous_mb(pid))
        if time.monotonic() > end:
            run.cancel()
            await asyncio.wait((run,))
    return most


async def measure(server: Server, options: argparse.Namespace) -> dict:
    lines: list[list] = []
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--neighbour", server.url, server.model, str(server.pid), stdout=subprocess.PIPE, limit=1 << 24
    )  # fmt: skip

    async def read() -> None:
        while line := await process.stdout.readline():
            lines.append(json.loads(line))

    reading = asyncio.ensure_future(read())
    await asyncio.sleep(options.base_s)
    while not lines:  # they come with the end of an answer
        await asyncio.sleep(0.5)
    counted = (lambda line: line[2]) if options.steps_ms else (lambda line: line[1])
    base = max(map(counted, lines), default=0.0)
    levels, rows = [anonymous_mb(server.pid)], []
    table = Abuses(server, options.context).table()
    for i, abuse in enumerate(table * options.rounds):
        if i and i % len(table) == 0:
            levels.append(anonymous_mb(server.pid))
        if options.only and not any(part in abuse.name for part in options.only):
            continue
        before, began = anonymous_mb(server.pid), time.monotonic()
        run = asyncio.ensure_future(abuse.run())
        most = await peak_mb(server.pid, run, options.timeout)
        statuses, took = [UNANSWERED] if run.cancelled() else run.result(), time.monotonic() - began
        await asyncio.sleep(options.after_s)  # the neighbour's answer must end for its lines to come
        mine = [line for line in lines if line[0] >= began]
        silence = max(map(counted, mine), default=float("inf"))
        after = anonymous_mb(server.pid)
        row = {
            "abuse": abuse.name,
            "statuses": sorted(set(statuses)),
            "took_s": round(took, 2),
            "silence_s": round(max((line[1] for line in mine), default=float("inf")), 3),
            "silence_cpu_s": round(max((line[2] for line in mine), default=float("inf")), 3),
            "beyond_base_s": round(max(0.0, silence - base), 3),
            "memory_mb": [round(before), round(most), round(after)],
        }
        row["ok"] = (
            row["beyond_base_s"] <= options.silence
            and set(statuses) <= set(abuse.expected)
            and after <= (1 + options.growth) * before
        )
        rows.append(row)
        print(json.dumps(row), flush=True)
    process.kill()
    await reading
    answers = {text for *_, text in lines if text is not None}
    levels.append(anonymous_mb(server.pid))
    ok = (
        all(row["ok"] for row in rows)
        and len(answers) == 1
        and not any(text.startswith("LOST") for text in answers)
        and levels[-1] <= (1 + options.growth) * levels[-2 if options.rounds > 1 else 0]
        and get(f"{server.url}/health") is not None
    )
    return {
        "ok": ok,
        "base_silence_s": round(base, 3),
        "memory_mb": [round(level) for level in levels],
        "neighbour_s_answers": sum(text is not None for *_, text in lines),
        "different": len(answers),
        "rows": rows,
    }


def main() -> int:
    if sys.argv[1:2] == ["--neighbour"]:
        neighbour(*sys.argv[2:])
    arguments = sys.argv[1:]
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("served", metavar="MODEL")
    parser.add_argument("--silence", type=float, default=0.1, help="seconds beyond the base that a neighbour may wait")
    parser.add_argument("--growth", type=float, default=0.1, help="share that memory may be larger by after an abuse")
    parser.add_argument(
        "--rounds", type=int, default=1, help="of the table; memory is compared before and after the last"
    )
    parser.add_argument("--base-s", type=float, default=10, help="seconds in which nothing else runs")
    parser.add_argument("--after-s", type=float, default=5, help="seconds after each abuse")
    parser.add_argument("--timeout", type=float, default=120, help="seconds that an abuse may take to be answered")
    parser.add_argument("--steps-ms", type=float, help="steps wait so long, and silence is processor time")
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--only", action="append", help="abuses with this in their name; may be given several times")
    parser.add_argument("-o", "--output", type=Path)
    options, more = parser.parse_args(arguments[:cut]), arguments[cut + 1 :]
    usual = ["--slots", "4", "--ctx", str(options.context), "--cache-mb", "64"]
    steps = WAITING_STEPS.format(step_s=options.steps_ms / 1000) if options.steps_ms else ""
    usual += ["--draft", "off"] if options.steps_ms else []
    with served(options.served, [*usual, *more], patch=PATCH + steps) as server:
        result = asyncio.run(measure(server, options))
    print(json.dumps({k: v for k, v in result.items() if k != "rows"}, indent=1))
    if options.output:
        options.output.write_text(json.dumps(result, indent=1) + "\n")
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
