#!/usr/bin/env python3
"""What one client can do to another: the longest silence of a neighbour's stream under each abuse, and the server's memory after it.

    scripts/abuse_serve.py MODEL [--silence 0.1] [-o FILE] [-- OPTIONS of hfc serve]

A neighbour, a process of its own, streams one answer after the other all the time; its longest silence while nothing else runs is the
base. Every abuse must be answered with what is expected of it, the neighbour's answers must stay what they are, and memory must come
back to within a tenth. The exit code is 1 otherwise. All input is harmless: large, wrong or slow.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from serve_client import Server, chat_body, completion_body, get, post, served, text_of

QUESTION = "Tell me about rivers."
TOKENS = 120


def neighbour(url: str, model: str) -> None:
    """Prints (time of day on the monotonic clock, silence before it, text of the answer if it ended) for every part that comes."""

    async def main() -> None:
        while True:
            reply = await post(
                url, "/v1/chat/completions", chat_body(model, QUESTION, TOKENS, temperature=0, stream=True)
            )
            text = "".join(map(text_of, reply.events()))
            for before, now in zip(reply.times, reply.times[1:]):
                print(json.dumps([now, now - before, None]))
            print(
                json.dumps([time.monotonic(), 0.0, text if reply.is_whole_stream else f"LOST {reply.status}"]),
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


class Abuses:
    def __init__(self, server: Server, context: int):
        self.server, self.context = server, context

    def table(self) -> dict[str, Callable[[], Awaitable[list[int]]]]:
        """Name -> what runs it and gives the statuses that came."""
        model = self.server.model
        many = {f"field {i}": 1 for i in range(1_200_000)}
        some = {f"field {i}": 1 for i in range(200_000)}
        grammars = [
            chat_body(
                model,
                "x",
                4,
                response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": large_schema(n)}},
            )
            for n in range(300, 316)
        ]
        chat, complete = "/v1/chat/completions", "/v1/completions"
        return {
            "a prompt of 1 MB": lambda: self._all(complete, [completion_body(model, "words and " * 100_000, 2)]),
            "a prompt of 15 MB": lambda: self._all(complete, [completion_body(model, "words and " * 1_500_000, 2)]),
            "a message of 15 MB, four times": lambda: self._all(
                chat, [chat_body(model, "words and " * 1_500_000, 2)] * 4
            ),
            "a history of 10 MB to truncate": lambda: self._all(chat, [self._history()]),
            "1.2 million unknown fields": lambda: self._all(chat, [chat_body(model, "x", 2, **many)]),
            "200,000 unknown fields, eight times": lambda: self._all(chat, [chat_body(model, "x", 2, **some)] * 8),
            "200,000 biases that are no numbers": lambda: self._all(
                chat, [chat_body(model, "x", 2, logit_bias=dict.fromkeys(map(str, range(200_000)), "x"))]
            ),
            "16 grammars of 300 rules at once": lambda: self._all(chat, grammars),
            "ids beyond the vocabulary": lambda: self._all(
                complete, [completion_body(model, "x", 4, stop_token_ids=[2**30], min_tokens=1)] * 20
            ),
            "n 16 with log probabilities": lambda: self._all(
                chat, [chat_body(model, "x", 100, n=16, logprobs=True, top_logprobs=20)]
            ),
            "256 texts to embed": lambda: self._all(
                "/v1/embeddings", [json.dumps({"model": model, "input": [f"text {i}" for i in range(256)]}).encode()]
            ),
            "400 connections that say nothing": lambda: self._half_open(400, b""),
            "30 bodies that do not come": lambda: self._half_open(30, self._unfinished()),
        }

    def _history(self) -> bytes:
        turns = [{"role": "user" if i % 2 == 0 else "assistant", "content": "words and " * 10_000} for i in range(101)]
        return json.dumps(
            {"model": self.server.model, "messages": turns, "max_tokens": 2, "truncation": "auto"}
        ).encode()

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


def resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


async def measure(server: Server, options: argparse.Namespace) -> dict:
    lines: list[list] = []
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--neighbour", server.url, server.model, stdout=subprocess.PIPE, limit=1 << 24
    )

    async def read() -> None:
        while line := await process.stdout.readline():
            lines.append(json.loads(line))

    reading = asyncio.ensure_future(read())
    await asyncio.sleep(options.base_s)
    base = max((silence for _, silence, _ in lines), default=0.0)
    first, rows = resident_mb(server.pid), []
    for name, abuse in Abuses(server, options.context).table().items():
        if options.only and options.only not in name:
            continue
        before, began = resident_mb(server.pid), time.monotonic()
        statuses = await asyncio.wait_for(abuse(), options.timeout)
        took, most = time.monotonic() - began, resident_mb(server.pid)
        await asyncio.sleep(options.after_s)  # the neighbour's answer must end for its lines to come
        silence = max((s for at, s, _ in lines if at >= began), default=float("inf"))
        row = {
            "abuse": name,
            "statuses": sorted(set(statuses)),
            "took_s": round(took, 2),
            "silence_s": round(silence, 3),
            "beyond_base_s": round(max(0.0, silence - base), 3),
            "memory_mb": [round(before), round(most), round(resident_mb(server.pid))],
        }
        rows.append(row)
        print(json.dumps(row), flush=True)
    process.kill()
    await reading
    answers = {text for _, _, text in lines if text is not None}
    last = resident_mb(server.pid)
    ok = (
        all(
            row["beyond_base_s"] <= options.silence and all(s < 500 or s == 503 for s in row["statuses"])
            for row in rows
        )
        and len(answers) == 1
        and not any(text.startswith("LOST") for text in answers)
        and last <= 1.1 * first
        and get(f"{server.url}/health") is not None
    )
    return {
        "ok": ok,
        "base_silence_s": round(base, 3),
        "memory_mb": [round(first), round(last)],
        "neighbour_s_answers": sum(text is not None for _, _, text in lines),
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
    parser.add_argument("--base-s", type=float, default=10, help="seconds in which nothing else runs")
    parser.add_argument("--after-s", type=float, default=5, help="seconds after each abuse")
    parser.add_argument("--timeout", type=float, default=120, help="seconds that an abuse may take to be answered")
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--only", help="abuses with this in their name")
    parser.add_argument("-o", "--output", type=Path)
    options, more = parser.parse_args(arguments[:cut]), arguments[cut + 1 :]
    with served(options.served, ["--slots", "4", "--ctx", str(options.context), "--cache-mb", "64", *more]) as server:
        result = asyncio.run(measure(server, options))
    print(json.dumps({k: v for k, v in result.items() if k != "rows"}, indent=1))
    if options.output:
        options.output.write_text(json.dumps(result, indent=1) + "\n")
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
