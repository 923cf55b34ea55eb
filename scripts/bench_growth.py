#!/usr/bin/env python3
"""How cost grows with the work: one JSON file and a picture of each part, before a release.

    scripts/bench_growth.py MODEL.gguf [-o FOLDER] [--parts context,clients,writer,conversations,restart,slots,files]
    scripts/bench_growth.py MODEL.gguf --llama-server build/bin/llama-server --llama-bench build/bin/llama-bench

context: decode behind so many tokens, in every KV format named.  clients: so many at once, each with a prompt of its own or all with
one, by the clock and by the server's processor time (with --threads 1 that is a figure where other work runs, too).  writer: the gaps of
an answer beside a long prompt.  conversations: the second turns of so many, and what they cost.  restart: a known conversation's first
turn of a new server with --cache-dir.  slots: the memory of a server whose one client uses many conversations.  files: from a file to the first token, twice.  llama.cpp's programs run the same requests where they are named.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import os
import platform
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from serve_client import ROOT, Server, anonymous_mb, completion_body, counters, get, post, process_clock, served

sys.path.insert(0, str(ROOT))

from scripts.pictures.growth import pictures

FORMAT = 1  # of the JSON file
IDS = (300, 3000)  # of prompts: in every vocabulary
PARTS = ("context", "clients", "writer", "conversations", "restart", "slots", "files")
rng = np.random.default_rng(1)


def main() -> int:
    options = parse()
    record = {
        "format": FORMAT,
        "date": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
        "command": shlex.join(
            ["scripts/bench_growth.py", *(Path(w).name if Path(w).exists() else w for w in sys.argv[1:])]
        ),
        "machine": options.machine or f"{platform.machine()}, {len(os.sched_getaffinity(0))} CPUs",
        "load": os.getloadavg()[0],  # before anything ran: figures of a busy machine are no figures
    }
    for part in options.parts.split(","):
        record[part] = PART[part](options)
        print(json.dumps({part: record[part]}), flush=True)
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "growth.json").write_text(json.dumps(record, indent=1) + "\n")
    for name, drawn in pictures(record).items():
        (options.output / name).write_text(drawn)
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("-o", "--output", type=Path, default=Path("growth"))
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--depths", default="0,2000,8000,16000", help="of context")
    parser.add_argument("--kv", default="f16,q8,asym3", help="formats of context")
    parser.add_argument("--clients", default="1,8,32")
    parser.add_argument("--prompt", type=int, default=512, help="tokens of a client's prompt")
    parser.add_argument("--tokens", type=int, default=32, help="of a client's answer")
    parser.add_argument("--long", type=int, default=6000, help="tokens of the prompt beside the writer")
    parser.add_argument("--conversations", default="10,100")
    parser.add_argument("--turn-tokens", type=int, default=1000)
    parser.add_argument("--files", nargs="*", default=[], help="beside MODEL")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--device", default="host")
    parser.add_argument("--llama-server", type=Path)
    parser.add_argument("--llama-bench", type=Path)
    parser.add_argument("--machine", help="in words, for the record")
    options = parser.parse_args()
    unknown = set(options.parts.split(",")) - set(PARTS)
    if unknown:
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return options


def numbers(words: str) -> list[int]:
    return [int(word) for word in words.split(",")]


def ids(count: int) -> list[int]:
    return rng.integers(*IDS, count).tolist()


# --- the parts ---


def context(options: argparse.Namespace) -> list[dict]:
    """Milliseconds a token by depth."""
    depths = numbers(options.depths)
    rows = []
    for kv in options.kv.split(","):
        for depth in depths:  # each alone: a record of several names them in words
            words = [
                sys.executable,
                "-m",
                "hfc",
                "bench",
                options.model,
                "--json",
                "-p",
                "",
                "-n",
                "16",
                "-d",
                str(depth),
            ]
            words += ["--ctx", str(depth + 64), "--kv", kv, "-t", str(options.threads), "--device", options.device]
            done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment())
            rows.append({"engine": "hfc", "kv": kv, "depth": depth, "ms": 1e3 / json.loads(done.stdout)[0]["tok_s"]})
    for depth in depths if options.llama_bench else ():
        words = [
            options.llama_bench,
            "-m",
            options.model,
            "-p",
            "0",
            "-n",
            "16",
            "-d",
            str(depth),
            "-t",
            str(options.threads),
        ]
        done = subprocess.run([*map(str, words), "-o", "json"], capture_output=True, text=True, check=True)
        rows.append(
            {"engine": "llama.cpp", "kv": "f16", "depth": depth, "ms": 1e3 / json.loads(done.stdout)[0]["avg_ts"]}
        )
    return rows


def clients(options: argparse.Namespace) -> list[dict]:
    """First tokens and throughput of so many clients at once."""
    counts, rows = numbers(options.clients), []
    size = options.prompt + options.tokens + 16
    for engine, opened in servers(options, size, max(counts)):
        with opened as server:
            asyncio.run(
                together(server, [ids(32)] * max(counts), 8)
            )  # a slot's memory becomes real when it is used first
            for shared in (False, True):
                for count in counts:
                    prompts = [ids(options.prompt)] * count if shared else [ids(options.prompt) for _ in range(count)]
                    rows.append(
                        {"engine": engine, "shared": shared, **asyncio.run(together(server, prompts, options.tokens))}
                    )
    return rows


async def together(server: Server, prompts: list[list[int]], tokens: int) -> dict:
    before, began, begun = computed(server), time.monotonic(), server_cpu(server)
    clock = functools.partial(server_cpu, server)
    replies = await asyncio.gather(*(ask(server, prompt, tokens, clock, stream=True) for prompt in prompts))
    seconds, cpu_seconds = time.monotonic() - began, server_cpu(server) - begun
    first = [reply.tokens_at[0] - began for reply in replies if reply.tokens_at]
    first_cpu = [reply.token_clocks[0] - begun for reply in replies if reply.token_clocks]
    assert len(first) == len(prompts), f"{len(prompts) - len(first)} of {len(prompts)} clients got no answer"
    return {
        "clients": len(prompts),
        "first_token_s": statistics.fmean(first),
        "first_token_cpu_s": statistics.fmean(first_cpu),
        "last_first_token_s": max(first),
        "tokens_a_second": len(prompts) * tokens / seconds,
        "tokens_a_cpu_second": len(prompts) * tokens / cpu_seconds,
        "prompt_tokens_computed": computed(server) - before,
    }


def writer(options: argparse.Namespace) -> dict:
    """Gaps between the tokens of an answer, with a long prompt in their midst."""

    async def measure(server: Server) -> dict:
        answer = asyncio.ensure_future(ask(server, ids(32), 800, stream=True))
        await asyncio.sleep(1.0)
        began = time.monotonic()
        await ask(server, ids(options.long), 1)
        seconds = time.monotonic() - began
        gaps = 1e3 * np.diff((await answer).tokens_at)
        p50, p95 = np.percentile(gaps, (50, 95))
        return {"gaps": len(gaps), "p50_ms": p50, "p95_ms": p95, "max_ms": gaps.max(), "prompt_s": seconds}

    with ours(options, options.long + 1024, 4) as server:
        return asyncio.run(measure(server))


def conversations(options: argparse.Namespace) -> list[dict]:
    """Second turns of many conversations, one after the other."""

    async def measure(server: Server, count: int) -> dict:
        texts = [ids(options.turn_tokens) for _ in range(count)]
        for text in texts:
            await ask(server, text, 4)
        before, times = computed(server), []
        for text in texts:
            began = time.monotonic()
            await ask(server, [*text, *ids(16)], 1)
            times.append(time.monotonic() - began)
        again = (computed(server) - before) / count
        return {"conversations": count, "second_turn_s": statistics.fmean(times), "computed_a_turn": again}

    rows = []
    for count in numbers(options.conversations):
        with ours(options, options.turn_tokens + 256, 4) as server:
            rows.append(asyncio.run(measure(server, count)))
    return rows


def restart(options: argparse.Namespace) -> dict:
    """A conversation of twice --turn-tokens: cold, warm, and as the first request of another server."""
    text, times = ids(2 * options.turn_tokens), {}

    def turn(server: Server, name: str, prompt: list[int]) -> None:
        began = time.monotonic()
        asyncio.run(ask(server, prompt, 1))
        times[name] = time.monotonic() - began

    with tempfile.TemporaryDirectory() as folder:
        with ours(options, len(text) + 256, 4, "--cache-dir", folder) as server:
            asyncio.run(ask(server, ids(32), 4))
            turn(server, "cold_s", text)
            turn(server, "warm_s", [*text, *ids(16)])
        with ours(options, len(text) + 256, 4, "--cache-dir", folder) as server:
            asyncio.run(ask(server, ids(32), 4))
            turn(server, "restored_s", [*text, *ids(16)])
    return times


def slots(options: argparse.Namespace) -> dict:
    """Resident megabytes of a server with 32 slots, before and after one client's conversations."""

    async def measure(server: Server) -> dict:
        await ask(server, ids(32), 4)
        before = anonymous_mb(server.pid)
        for _ in range(40):
            await ask(server, ids(options.turn_tokens), 2)
        return {"before_mb": before, "after_mb": anonymous_mb(server.pid)}

    with ours(options, options.turn_tokens + 64, 32, "--cache-mb", "64") as server:
        return asyncio.run(measure(server))


def files(options: argparse.Namespace) -> list[dict]:
    """From a command to its first token: the first time, which compiles, and again."""
    rows = []
    for path in (options.model, *options.files):
        row = {"file": Path(path).name, "bytes": Path(path).stat().st_size}
        for name in ("first_s", "second_s"):
            words = ["run", path, "--raw", "Hello", "-n", "1", "--ctx", "1024", "-t", str(options.threads)]
            began = time.monotonic()
            subprocess.run(
                [sys.executable, "-m", "hfc", *words, "--device", options.device], capture_output=True, check=True, env=environment()
            )  # fmt: skip
            row[name] = time.monotonic() - began
        rows.append(row)
    return rows


PART = {
    "context": context, "clients": clients, "writer": writer, "conversations": conversations, "restart": restart, "slots": slots,
    "files": files,
}  # fmt: skip


# --- servers ---


def server_cpu(server: Server) -> float:
    """Seconds of processor time that the server's process has taken: with one thread, its own time on a machine that others share."""
    assert server.pid is not None, "a server that was started here"
    return time.clock_gettime(process_clock(server.pid))


async def ask(server: Server, prompt: list[int], tokens: int, clock: Callable[[], float] = time.monotonic, **more):
    body = completion_body(server.model, prompt, tokens, ignore_eos=True, **more)
    reply = await post(server.url, "/v1/completions", body, clock=clock)
    assert reply.status == 200, reply.body[:300]
    return reply


def computed(server: Server) -> float:
    """Prompt tokens that were computed so far; llama-server's name comes second."""
    found = counters(server.url)
    return found.get("hfc_prefill_tokens_total", found.get("llamacpp:prompt_tokens_total", 0.0))


def ours(options: argparse.Namespace, size: int, count: int, *more: str) -> contextlib.AbstractContextManager[Server]:
    words = ["--ctx", str(size), "--slots", str(count), "--device", options.device, "--draft", "off", *more]
    if options.device == "host":
        words += ["-t", str(options.threads)]
    return served(options.model, words)


def servers(
    options: argparse.Namespace, size: int, count: int
) -> Iterator[tuple[str, contextlib.AbstractContextManager[Server]]]:
    yield "hfc", ours(options, size, count)
    if options.llama_server:
        yield "llama.cpp", llama_server(options, size, count)


@contextlib.contextmanager
def llama_server(options: argparse.Namespace, size: int, count: int) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [
        options.llama_server,
        "-m",
        options.model,
        "--port",
        port,
        "-c",
        size * count,
        "-np",
        count,
        "-t",
        options.threads,
    ]
    process = subprocess.Popen([*map(str, words), "--metrics"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url, end = f"http://127.0.0.1:{port}", time.monotonic() + 300
        while get(f"{url}/health", 2.0) is None:
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{options.llama_server} does not get ready")
            time.sleep(0.2)
        yield Server(url, "measured", process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(40)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


if __name__ == "__main__":
    sys.exit(main())
