#!/usr/bin/env python3
"""Two trees of hfc serve one model at once and are asked by turns: what a request takes of each, before the answer's first token.

    scripts/compare_serve.py ../hfc-before . smollm2.gguf [--pythons OLD/bin/python NEW/bin/python] [--blocks 7] [--requests 60]

Three kinds of request, one token each: a chat whose prompt is cached, so that nearly nothing is computed; a chat that begins with
something new; and the cached one with a schema that is known. Of each the processor time of the server and of all its workers, and
seconds by the clock until the first event with text arrives. Differences are of pairs: the second tree's request right after the first's, or before it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import statistics
import sys
import time
from pathlib import Path

from serve_client import Server, chat_body, events_in, post, process_clock, served, text_of

QUESTION = "Tell me about rivers, and about the towns that lie beside them."
SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"], "additionalProperties": False}
FORMAT = {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}}
WARM = 20  # requests of each kind before any counts


def with_descendants(pid: int) -> list[int]:
    """The processes that this one and its children started, and itself."""
    found = [pid]
    for process in found:
        for task in Path(f"/proc/{process}/task").glob("*"):
            with contextlib.suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return found


def processor_s(pids: list[int]) -> float:
    total = 0.0
    for pid in pids:
        with contextlib.suppress(OSError):  # a worker that has ended
            total += time.clock_gettime(process_clock(pid))
    return total


def body_of(kind: str, model: str, number: int) -> bytes:
    question = f"{number}. {QUESTION}" if kind == "new chat" else QUESTION
    more = FORMAT if kind == "schema" else {}
    return chat_body(model, question, 1, temperature=0, stream=True, **more)


def first_token_s(server: Server, body: bytes) -> float:
    began = time.monotonic()
    reply = asyncio.run(post(server.url, "/v1/chat/completions", body))
    assert reply.status == 200, reply.body
    for part, at in zip(reply.parts, reply.times):
        if any(text_of(event) for event in events_in(part)):
            return at - began
    raise AssertionError(f"no text: {reply.body!r}")


def block(servers: list[Server], processes: list[list[int]], kind: str, numbers) -> dict:
    """One block of requests by turns, the first of a pair in turn: of each tree processor ms a request, of each pair the first tokens in ms."""
    began, spent, walls = [0.0, 0.0], [0.0, 0.0], []
    for turn, number in enumerate(numbers):
        pair = [0.0, 0.0]
        for which in (0, 1) if turn % 2 == 0 else (1, 0):
            began[which] = processor_s(processes[which])
            pair[which] = 1e3 * first_token_s(servers[which], body_of(kind, servers[which].model, number))
            time.sleep(0.002)  # what comes after the answer is the request's too
            spent[which] += processor_s(processes[which]) - began[which]
        walls.append(pair)
    return {"processor_ms": [1e3 * s / len(numbers) for s in spent], "walls": walls}


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):7.2f} ({min(values):.2f} to {max(values):.2f})"


def report(kind: str, blocks: list[dict]) -> None:
    cpu = [[b["processor_ms"][which] for b in blocks] for which in (0, 1)]
    pairs = [pair for b in blocks for pair in b["walls"]]
    medians = [[statistics.median(pair[which] for pair in b["walls"]) for b in blocks] for which in (0, 1)]
    steps = [statistics.median(pair[1] - pair[0] for pair in b["walls"]) for b in blocks]
    print(f"{kind}: {len(blocks)} blocks, {len(pairs)} pairs; medians of blocks (least to most), ms")
    print(f"  processor time a request  {spread(cpu[0])}  {spread(cpu[1])}  {spread([b - a for a, b in zip(*cpu)])}")
    print(f"  first token by the clock  {spread(medians[0])}  {spread(medians[1])}  {spread(steps)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", nargs=2, type=Path, help="the one before, and the one after")
    parser.add_argument("model")
    parser.add_argument("--pythons", nargs=2, default=(sys.executable, sys.executable))
    parser.add_argument("--blocks", type=int, default=7)
    parser.add_argument("--requests", type=int, default=60, help="of each tree in a block")
    parser.add_argument("--kinds", nargs="*", default=("chat", "new chat", "schema"))
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        arguments = ["--slots", "4", "--ctx", "1024", "--device", "host"]
        servers = [
            stack.enter_context(served(options.model, arguments, tree=tree.resolve(), python=python))
            for tree, python in zip(options.trees, options.pythons)
        ]
        print("before, after, after less before", f"({options.trees[0]}, {options.trees[1]})")
        numbers = itertools.count()
        take = lambda count: list(itertools.islice(numbers, count))  # noqa: E731
        for kind in options.kinds:
            block(servers, [[], []], kind, take(WARM))
            processes = [with_descendants(server.pid or 0) for server in servers]
            report(kind, [block(servers, processes, kind, take(options.requests)) for _ in range(options.blocks)])


if __name__ == "__main__":
    main()
