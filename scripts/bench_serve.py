#!/usr/bin/env python3
"""Measures `hfc serve` from its clients' side: one JSON file, the source of docs/bench/serve.md.

    scripts/bench_serve.py MODEL [-o FILE] [--streams 1,8,16] [-- OPTIONS of hfc serve]    # starts the server, and ends it
    scripts/bench_serve.py --url http://127.0.0.1:11435 --model NAME                        # one that runs
    scripts/bench_serve.py 9B-16.hfp --turns 0 -- --device cuda --trust --weights FOLDER --random-weights --draft off

Streams: rounds of so many equal requests at once, each of --tokens tokens behind a --prompt of its own, for --seconds and at least
three rounds. Turns: a chat whose first message is --turn-tokens long goes on for --turns turns; the time to the first token of each
later turn, and of the last conversation under another first word, of which nothing is cached. The client needs numpy only.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from serve_client import ROOT, Reply, Server, chat_body, completion_body, counters, events_in, post, served, text_of

FORMAT = 1  # of the JSON file
IDS = (300, 3000)  # of prompts: in every vocabulary
LEAST_ROUNDS = 3


def main() -> int:
    options, serve_options = parse(sys.argv[1:])
    with opened(options, serve_options) as server:
        record = {
            "format": FORMAT,
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "command": shlex.join(
                ["scripts/bench_serve.py", *(Path(word).name if Path(word).exists() else word for word in sys.argv[1:])]
            ),
            "commit": options.commit or commit(),
            "machine": options.machine or f"{platform.machine()}, {len(os.sched_getaffinity(0))} CPUs",
            **asyncio.run(measure(server, options)),
        }
    text = json.dumps(record, indent=1)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(text + "\n")
    return 0


def parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("served", nargs="?", metavar="MODEL", help="what hfc serve can serve")
    parser.add_argument("--url", help="of a server that runs")
    parser.add_argument("--model", default="measured", help="its name there")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--streams", default="1,8,16")
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=20.0, help="for each number of streams")
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--turn-tokens", type=int, default=2000)
    parser.add_argument("--repeat", type=int, default=3, help="conversations")
    parser.add_argument("--ready", type=float, default=300.0, help="seconds that the server may take to load")
    parser.add_argument("--machine", help="in words, for the record")
    parser.add_argument("--commit", help="of hfc, where the checkout has no history")
    options = parser.parse_args(arguments[:cut])
    if bool(options.served) == bool(options.url):
        parser.error("give a MODEL to serve, or the --url of a server")
    return options, arguments[cut + 1 :]


def opened(options: argparse.Namespace, serve_options: list[str]) -> contextlib.AbstractContextManager[Server]:
    if options.url:
        return contextlib.nullcontext(Server(options.url.rstrip("/"), options.model))
    streams = max(map(int, options.streams.split(",")))
    slots = [] if "--slots" in serve_options or options.served.endswith(".hfp") else ["--slots", str(streams)]
    return served(options.served, [*slots, *serve_options], options.ready)


def commit() -> str:
    done = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip()


async def measure(server: Server, options: argparse.Namespace) -> dict:
    counts = [int(word) for word in options.streams.split(",")]
    await round_of(server, options, max(counts), 16, 0)  # a slot's memory becomes real when it is used first
    result = {"streams": await measure_streams(server, options, counts)}
    if options.turns:
        result["turns"] = summary([await conversation(server, options, turn) for turn in range(options.repeat)])
        print(json.dumps({k: v for k, v in result["turns"].items() if k != "conversations"}), flush=True)
    return result


async def measure_streams(server: Server, options: argparse.Namespace, counts: list[int]) -> list[dict]:
    """Rounds of each number of streams until it has had its --seconds; they take turns, so that all meet the same machine."""
    rounds: dict[int, list[dict]] = {count: [] for count in counts}
    spent = dict.fromkeys(counts, 0.0)
    while left := [c for c in counts if len(rounds[c]) < LEAST_ROUNDS or spent[c] < options.seconds]:
        for count in left:
            began = time.monotonic()
            rounds[count].append(await round_of(server, options, count, options.tokens, len(rounds[count]) + 1))
            spent[count] += time.monotonic() - began
    results = [row_of(count, rounds[count], options) for count in counts]
    for result in results:
        print(json.dumps(result), flush=True)
    return results


def row_of(count: int, rounds: list[dict], options: argparse.Namespace) -> dict:
    """Speeds in tokens a second over all streams, times in milliseconds."""
    steps, seconds = sum(r["steps"] for r in rounds), sum(r["step_seconds"] for r in rounds)
    gaps = np.concatenate([r["gaps_ms"] for r in rounds])
    return {
        "streams": count,
        "rounds": len(rounds),
        "tokens": options.tokens,
        "prompt": options.prompt,
        "decode_tok_s": spread([r["decode_tok_s"] for r in rounds]),  # while all streams write
        "tok_s": spread([r["tok_s"] for r in rounds]),  # from the requests to the last event, prompts included
        "first_token_ms": spread([t for r in rounds for t in r["first_ms"]]),
        "gap_ms": dict(zip(("p50", "p90", "p99"), np.percentile(gaps, (50, 90, 99)).round(3).tolist())),
        "steps": steps,
        # the model's time, mean over prompts and answers
        "step_ms": round(1000 * seconds / steps, 3) if steps else None,
    }


async def round_of(server: Server, options: argparse.Namespace, count: int, tokens: int, number: int) -> dict:
    rng = np.random.default_rng([count, number])
    prompts = rng.integers(*IDS, (count, options.prompt)).tolist()
    more = {"ignore_eos": True, "stream": True, "stream_options": {"include_usage": True}}
    bodies = [completion_body(server.model, prompt, tokens, **more) for prompt in prompts]
    before, began = counters(server.url), time.monotonic()
    replies = await asyncio.gather(*(post(server.url, "/v1/completions", body) for body in bodies))
    seconds, after = time.monotonic() - began, counters(server.url)
    made = [tokens_of(reply, tokens) for reply in replies]
    return {
        "steps": round(after["hfc_steps_total"] - before["hfc_steps_total"]),
        "step_seconds": after["hfc_step_seconds_total"] - before["hfc_step_seconds_total"],
        "tok_s": sum(made) / seconds,
        "decode_tok_s": together(made, replies),
        "first_ms": [1000 * (r.tokens_at[0] - began) for r in replies],
        "gaps_ms": np.concatenate([1000 * np.diff(r.tokens_at) for r in replies]),
    }


def together(made: list[int], replies: list[Reply]) -> float:
    """Tokens a second while every stream wrote: from the last one's first event to the first one's last. nan without such a time."""
    began, ended = max(r.tokens_at[0] for r in replies), min(r.tokens_at[-1] for r in replies)
    share = sum(n * sum(began < at <= ended for at in r.tokens_at) / len(r.tokens_at) for n, r in zip(made, replies))
    return share / (ended - began) if ended > began else float("nan")


def tokens_of(reply: Reply, expected: int) -> int:
    if not reply.is_whole_stream:
        raise RuntimeError(f"status {reply.status}: {reply.body[-500:]!r}")
    made = reply.events()[-1]["usage"]["completion_tokens"]
    if made != expected:
        raise RuntimeError(f"{made} tokens of {expected}: {reply.body[-500:]!r}")
    return made


async def conversation(server: Server, options: argparse.Namespace, number: int) -> dict:
    """One chat, turn by turn, then its last turn again under another first word."""
    words = "the cache keeps keys and values of a text that was read before".split()
    rng = np.random.default_rng(number)
    text = " ".join(rng.choice(words, options.turn_tokens).tolist())  # a token or a little more a word
    messages, turns = [{"role": "user", "content": f"Conversation {number} begins. {text}"}], []
    for turn in range(options.turns):
        turns.append(await one_turn(server, messages))
        messages += [
            {"role": "assistant", "content": turns[-1].pop("text")},
            {"role": "user", "content": f"And what about part {turn}?"},
        ]
    other = [{"role": "user", "content": f"Elsewhere {messages[0]['content']}"}, *messages[1 : 2 * options.turns - 1]]
    cold = await one_turn(server, other)
    cold.pop("text")
    return {"turns": turns, "cold": cold}


async def one_turn(server: Server, messages: list[dict]) -> dict:
    more = {"temperature": 0, "stream": True, "stream_options": {"include_usage": True}}
    began = time.monotonic()
    reply = await post(server.url, "/v1/chat/completions", chat_body(server.model, messages, 16, **more))
    if not reply.is_whole_stream:
        raise RuntimeError(f"status {reply.status}: {reply.body[-500:]!r}")
    events = reply.events()
    usage = events[-1]["usage"]
    text = "".join(map(text_of, events))
    first = next(
        (at for at, part in zip(reply.times, reply.parts) if any(map(text_of, events_in(part)))), reply.times[-1]
    )
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    return {
        "text": text,
        "first_token_ms": round(1000 * (first - began), 2),
        "prompt": usage["prompt_tokens"],
        "cached": cached,
    }


def summary(conversations: list[dict]) -> dict:
    warm = [turn["first_token_ms"] for one in conversations for turn in one["turns"][1:]]
    cold = [one["cold"]["first_token_ms"] for one in conversations]
    return {
        "warm_first_token_ms": spread(warm),
        "cold_first_token_ms": spread(cold),
        "warm_to_cold": round(statistics.median(warm) / statistics.median(cold), 4),
        # tokens of a later turn
        "most_computed": max(turn["prompt"] - turn["cached"] for one in conversations for turn in one["turns"][1:]),
        "conversations": conversations,
    }


def spread(values: list[float]) -> dict[str, float]:
    values = [value for value in values if value == value] or [0.0]
    return {"median": round(statistics.median(values), 2), "min": round(min(values), 2), "max": round(max(values), 2)}


if __name__ == "__main__":
    sys.exit(main())
