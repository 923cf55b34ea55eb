#!/usr/bin/env python3
"""Replicas of `hfc serve` behind a router, simulated with measured step times: what saturates first as streams grow.

    scripts/simulate_fleet.py                          # 100, 1,000 and 10,000 streams, both ways to route
    scripts/simulate_fleet.py --streams 1000 --replicas 40,63,80 --seconds 60
    scripts/simulate_fleet.py --relay                  # measures what passing on one event costs a core, on this machine

Conversations come back with their history: a replica that has a conversation's prefix reads only what is new of it. `least` sends a turn to
the replica with the fewest sequences, `prefix` to the one that answered the last turn, unless its queue is that much longer.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import random
import statistics
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field

# 9B in q4_k on one H200 by docs/bench/serve.md and docs/performance.md: milliseconds between two events of a stream by sequences that
# decode, tokens a second of prompts, answers whose states the prefix cache keeps; CPU of a server by scripts/serve_overhead.py
STEP_MS = {1: 2.91, 8: 3.71, 16: 5.76}
PROMPT_TOK_S = 17_781.0
CHUNK = 512
KEPT = 70
CPU_US_A_TOKEN = 2_554 / 16
RELAY_US = 36.0  # of one core for one event passed on by Python's asyncio: `--relay`, 36 to 37 on a core of Zen 5
AGAIN = 8  # decode steps that a replica runs before it looks for arrivals


@dataclass
class Turn:
    """A request: when it came, tokens to read, tokens to write."""

    conversation: int
    came: float
    unread: int
    answer: int
    unwritten: int
    first: float = 0.0


@dataclass
class Replica:
    """Slots, a queue, and the conversations whose prefix it keeps."""

    slots: int
    running: list[Turn] = field(default_factory=list)
    reading: deque[Turn] = field(default_factory=deque)
    queue: deque[Turn] = field(default_factory=deque)
    kept: OrderedDict[int, int] = field(default_factory=OrderedDict)
    is_awake: bool = False
    tokens: int = 0

    @property
    def load(self) -> int:
        return len(self.running) + len(self.reading) + len(self.queue)

    def admit(self) -> None:
        while self.queue and len(self.running) + len(self.reading) < self.slots:
            turn = self.queue.popleft()
            turn.unread -= min(self.kept.pop(turn.conversation, 0), turn.unread - 1)
            self.reading.append(turn)

    def work(self, now: float) -> tuple[float, list[Turn]]:
        """Some steps: how long they take, and the turns that end in them."""
        self.admit()
        took, ended = 0.0, []
        if self.running:
            steps = 1 if self.reading else min(AGAIN, min(turn.unwritten for turn in self.running))
            took = steps * step_s(len(self.running))
            self.tokens += steps * len(self.running)
            for turn in self.running:
                turn.unwritten -= steps
            ended = [turn for turn in self.running if turn.unwritten <= 0]
            self.running = [turn for turn in self.running if turn.unwritten > 0]
        if self.reading:
            turn, room = self.reading[0], CHUNK
            read = min(room, turn.unread)
            took += max(read / PROMPT_TOK_S, STEP_MS[1] / 1e3)
            turn.unread -= read
            if not turn.unread:
                turn.first = now + took
                self.running.append(self.reading.popleft())
        return took, ended

    def keep(self, conversation: int, tokens: int) -> None:
        self.kept[conversation] = tokens
        while len(self.kept) > KEPT:
            self.kept.popitem(last=False)


def step_s(sequences: int) -> float:
    """Between the measured numbers of sequences as on a line."""
    known = sorted(STEP_MS)
    for low, high in zip(known, known[1:]):
        if sequences <= high:
            share = (sequences - low) / (high - low)
            return (STEP_MS[low] + share * (STEP_MS[high] - STEP_MS[low])) / 1e3
    return STEP_MS[known[-1]] / 1e3 * sequences / known[-1]


@dataclass(frozen=True)
class Result:
    first_ms: tuple[float, float]
    stream_tok_s: float
    all_tok_s: float
    cpu: float
    hits: float


def simulate(streams: int, replicas: int, routing: str, options: argparse.Namespace) -> Result:
    """streams: conversations, each of which asks again `--think` seconds after its answer."""
    rng = random.Random(7)
    fleet = [Replica(options.slots) for _ in range(replicas)]
    home: dict[int, int] = {}
    history = [0] * streams
    events: list[tuple[float, int, int]] = [(rng.uniform(0, options.think + 5), 0, c) for c in range(streams)]
    heapq.heapify(events)
    done: list[tuple[Turn, float]] = []
    asked = hits = 0
    while events and events[0][0] < options.seconds:
        now, kind, which = heapq.heappop(events)
        if kind == 0:
            answer = max(8, round(rng.expovariate(1 / options.answer)))
            if history[which] > options.longest:
                history[which] = 0
            turn = Turn(which, now, history[which] + options.prompt, answer, answer)
            at = route(which, fleet, home, routing, rng)
            asked, hits = asked + (history[which] > 0), hits + (which in fleet[at].kept)
            history[which] += options.prompt + answer
            home[which] = at
            fleet[at].queue.append(turn)
            if not fleet[at].is_awake:
                fleet[at].is_awake = True
                heapq.heappush(events, (now, 1, at))
            continue
        replica = fleet[which]
        took, ended = replica.work(now)
        for turn in ended:
            done.append((turn, now + took))
            replica.keep(turn.conversation, history[turn.conversation])
            heapq.heappush(events, (now + took + rng.expovariate(1 / options.think), 0, turn.conversation))
        replica.is_awake = replica.load > 0
        if replica.is_awake:
            heapq.heappush(events, (now + took, 1, which))
    late = [(turn, end) for turn, end in done if turn.came > options.seconds / 3]
    firsts = sorted(1e3 * (turn.first - turn.came) for turn, _ in late) or [float("nan")]
    tokens = sum(replica.tokens for replica in fleet)
    rates = [turn.answer / max(1e-9, end - turn.first) for turn, end in late]
    return Result(
        (firsts[len(firsts) // 2], firsts[len(firsts) * 99 // 100]),
        statistics.median(rates) if rates else float("nan"),
        tokens / options.seconds,
        tokens / options.seconds / replicas * CPU_US_A_TOKEN / 1e6,
        hits / max(1, asked),
    )


def route(conversation: int, fleet: list[Replica], home: dict[int, int], routing: str, rng: random.Random) -> int:
    """Of few that are drawn the least loaded, as a router that knows all of them late can do; its own where that keeps the prefix."""
    drawn = [rng.randrange(len(fleet)) for _ in range(4)]
    best = min(drawn, key=lambda at: fleet[at].load)
    own = home.get(conversation)
    if routing == "prefix" and own is not None and fleet[own].load <= fleet[best].load + fleet[own].slots // 2:
        return own
    return best


async def relay_us(count: int = 40_000) -> float:
    """CPU of this process to read an event of 200 bytes from one connection and write it to another, in microseconds."""
    event = b"data: " + b"x" * 192 + b"\n\n"

    async def source(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(count):
            writer.write(event)
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    async def passing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, held = await asyncio.open_connection("127.0.0.1", sources.sockets[0].getsockname()[1])
        for _ in range(count):
            writer.write(await upstream.readuntil(b"\n\n"))
            await writer.drain()
        held.close()
        writer.close()

    async def drained(port: int) -> float:
        reader, _ = await asyncio.open_connection("127.0.0.1", port)
        begin, seen = time.process_time(), 0
        while seen < count * len(event):
            data = await reader.read(1 << 16)
            if not data:
                break
            seen += len(data)
        return time.process_time() - begin

    sources = await asyncio.start_server(source, "127.0.0.1", 0)
    relays = await asyncio.start_server(passing, "127.0.0.1", 0)
    direct = await drained(sources.sockets[0].getsockname()[1])
    through = await drained(relays.sockets[0].getsockname()[1])
    sources.close(), relays.close()
    return 1e6 * (through - direct) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", default="100,1000,10000")
    parser.add_argument(
        "--replicas",
        default="",
        help="with commas between; else as many as have a slot for each active stream, and 0.8 times",
    )
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--prompt", type=int, default=200, help="tokens that a turn adds")
    parser.add_argument("--answer", type=int, default=250, help="mean")
    parser.add_argument("--think", type=float, default=0.5, help="seconds between an answer and the next turn, mean")
    parser.add_argument(
        "--longest", type=int, default=8192, help="tokens of a conversation, after which it begins anew"
    )
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--relay", action="store_true")
    options = parser.parse_args()
    if options.relay:
        print(f"an event passed on: {asyncio.run(relay_us()):.1f} us of a core")
        return
    print(
        "streams replicas routing | first token ms, median and 99 % | tok/s a stream | tok/s of all | server CPU | prefix hits | cores of relays"
    )
    for streams in map(int, options.streams.split(",")):
        writing_s = options.answer * STEP_MS[16] / 1e3
        active = streams * writing_s / (writing_s + options.think)
        counts = [int(n) for n in options.replicas.split(",") if n] or [
            max(1, round(active / options.slots * share)) for share in (1.3, 1.0, 0.8)
        ]
        for replicas in counts:
            for routing in ("least", "prefix"):
                r = simulate(streams, replicas, routing, options)
                print(
                    f"{streams:7} {replicas:8} {routing:7} | {r.first_ms[0]:6.0f} {r.first_ms[1]:6.0f} | {r.stream_tok_s:5.0f} | {r.all_tok_s:9,.0f} | "
                    f"{r.cpu:4.0%} | {r.hits:4.0%} | {r.all_tok_s * RELAY_US / 1e6:5.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
