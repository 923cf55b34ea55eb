"""`hfc serve --ray` with Ray Serve: replicas that are killed under load, that begin and end by load, and a drain. pip install 'hfc[ray]'"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest
from hip_double.build import environment as software
from test_serve_cli import cache, completion, model, post, serving  # noqa: F401

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'hfc[ray]'"),
]
CLIENTS, PROMPTS, TOKENS = 12, 24, 400
OPTIONS = ("--ray", "--slots", 4, "--ctx", 1024, "--cache-mb", 64, "--drain", 60)
BACK_S = 120


def told(url, path):
    try:
        with urllib.request.urlopen(url + path, timeout=20) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)


def running(url):
    return told(url, "/health")["replicas"].get("RUNNING", 0)


def until(condition, seconds, what):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def question(i, **more):
    return completion(TOKENS, prompt=f"question {i}: {'why ' * (i % 7 + 1)}", **more)


def stream(url, asked):
    """(text, error or None, whether it ended as it should, when its tokens came)."""
    text, error, is_whole, times = "", None, False, []
    with post(f"{url}/v1/completions", {**asked, "stream": True}) as answer:
        for line in answer:
            if line.startswith(b"data: [DONE]"):
                is_whole = True
            elif line.startswith(b"data: "):
                event = json.loads(line[6:])
                if "error" in event:
                    error = event["error"]
                elif event["choices"]:
                    text += event["choices"][0]["text"]
                    times.append(time.monotonic())
    return text, error, is_whole, times


def whole(url, asked):
    with post(f"{url}/v1/completions", asked) as answer:
        return json.load(answer)["choices"][0]["text"]


class Load:
    """Clients that ask one question after another, streamed and whole by turns, and hold the answers against those asked alone."""

    def __init__(self, url, wanted):
        self.url, self.wanted, self.is_over = url, wanted, threading.Event()
        self.ended, self.wrong, self.lost, self.broken = [], [], [], []
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(CLIENTS)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive(), "a client waits for ever"

    def _run(self, n):
        for turn in range(n, 1 << 20, CLIENTS):
            if self.is_over.is_set():
                return
            self._ask(turn % PROMPTS, is_stream=bool(turn // PROMPTS % 2 ^ n % 2))

    def _ask(self, i, is_stream):
        try:
            if is_stream:
                text, error, is_whole, _ = stream(self.url, question(i))
                if error is not None and text:
                    self.broken.append((i, error))
                    if not self.wanted[i].startswith(text):
                        self.wrong.append((i, text))
                    return
                if error is not None or not is_whole:
                    self.lost.append((i, "stream", error))
                    return
            else:
                text = whole(self.url, question(i))
        except (OSError, ValueError) as error:
            self.lost.append((i, is_stream, repr(error), getattr(error, "read", bytes)()))
            return
        if text != self.wanted[i]:
            self.wrong.append((i, text))
        self.ended.append(time.monotonic())


@pytest.fixture(scope="module")
def three(model, cache):  # noqa: F811
    with serving(model, cache, options=(*OPTIONS, "--replicas", 3)) as (process, url):
        yield process, url


@pytest.fixture(scope="module")
def wanted(three):
    return [whole(three[1], question(i)) for i in range(PROMPTS)]


def test_nothing_listens_to_others(three):
    """Ray's own processes neither."""
    family, found = [three[0].pid], []
    parents = {int(p.name): int(p.joinpath("stat").read_text().rpartition(")")[2].split()[1]) for p in _processes()}
    for pid in family:
        family += [child for child, parent in parents.items() if parent == pid]
    sockets = {os.readlink(fd) for pid in family for fd in _descriptors(pid)}
    for table in ("tcp", "tcp6"):
        for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = row.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                found.append(fields[1].partition(":")[0])
    loopback = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
    assert found and set(found) <= loopback, found


def _processes():
    return [p for p in Path("/proc").iterdir() if p.name.isdigit() and p.joinpath("stat").exists()]


def _descriptors(pid):
    with contextlib.suppress(OSError):
        return [fd for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()]
    return []


def test_a_conversation_stays_where_its_beginning_is(three):
    url = three[1]
    for name in ("one", "two", "three", "four"):
        prompt = f"conversation {name}: " + "blah " * 60
        for turn in range(4):
            with post(f"{url}/v1/completions", completion(8, prompt=prompt)) as answer:
                told = json.load(answer)
            cached = told["usage"]["prompt_tokens_details"]["cached_tokens"]
            assert turn == 0 or cached >= told["usage"]["prompt_tokens"] - 64, (name, turn, cached)
            prompt += told["choices"][0]["text"] + " more " * 4


def test_a_replica_that_is_killed_loses_no_request_that_has_not_begun(three, wanted, capsys):
    url = three[1]
    until(lambda: len(told(url, "/ready")["replicas"]) == 3, BACK_S, "three replicas")
    recovered, gaps, before_s = [], [], 4.0
    with Load(url, wanted) as load:
        for _ in range(3):
            time.sleep(before_s)
            replicas = told(url, "/ready")["replicas"]
            busiest = max(replicas.values(), key=lambda r: r["models"]["tiny"]["slots_busy"])
            assert busiest["models"]["tiny"]["slots_busy"] > 0
            os.kill(busiest["pid"], signal.SIGKILL)
            killed = time.monotonic()
            until(lambda: running(url) < 3, 30, "Ray Serve sees that one has gone")
            until(lambda: running(url) == 3 and len(told(url, "/ready")["replicas"]) == 3, BACK_S, "another one")
            recovered.append(time.monotonic() - killed)
            ended = [t for t in load.ended if t >= killed]
            gaps.append(max((b - a for a, b in zip([killed, *ended], ended)), default=0.0))
    assert not load.wrong and not load.lost, (load.wrong[:3], load.lost[:3])
    assert len(load.ended) > 3 * CLIENTS
    assert all("failed" in error["message"] for _, error in load.broken)
    metrics = urllib.request.urlopen(f"{url}/metrics").read().decode()
    counts = [line for line in metrics.splitlines() if line.startswith("hfc_door_")]
    with capsys.disabled():
        print(
            f"\n3 killed under load: {len(load.ended)} answers right, {len(load.broken)} streams broken off, 0 lost; "
            f"{[f'{s:.1f}' for s in recovered]} s to three replicas, longest silence {[f'{s:.2f}' for s in gaps]} s; {counts}"
        )


def test_a_drain_lets_streams_finish(three, wanted):
    """The last test of this server."""
    process, url = three
    found, first = {}, threading.Barrier(5)

    def ask(i):
        with post(f"{url}/v1/completions", question(i, stream=True)) as answer:
            lines = [answer.readline()]
            first.wait(60)
            lines += answer.readlines()
        events = [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]
        found[i] = "".join(e["choices"][0]["text"] for e in events), lines

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    first.wait(60)
    pids = [r["pid"] for r in told(url, "/ready")["replicas"].values()]
    process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join(60)
    assert {i: text for i, (text, _) in found.items()} == {i: wanted[i] for i in range(4)}
    assert all(b"data: [DONE]\n" in lines for _, lines in found.values())
    assert process.wait(60) == 0, process.stdout.read()
    until(lambda: not any(Path(f"/proc/{pid}/fd").exists() for pid in pids), 30, "replicas are left behind")


def test_replicas_come_and_go_with_the_load(model, cache, wanted):  # noqa: F811
    options = (*OPTIONS, "--replicas", "1:3", "--replica-load", 2, "--scale-up", 1, "--scale-down", 2)
    with serving(model, cache, options=options) as (process, url):
        assert running(url) == 1
        with Load(url, wanted) as load:
            until(lambda: running(url) == 3, BACK_S, "more replicas")
            time.sleep(2)
        assert not load.wrong and not load.lost and not load.broken, (load.wrong[:3], load.lost[:3], load.broken[:3])
        ends = time.monotonic() + BACK_S
        while running(url) > 1:  # one client's streams, which some of those that are told to end are writing
            for i in range(PROMPTS):
                assert stream(url, question(i))[:3] == (wanted[i], None, True)
            assert time.monotonic() < ends, "fewer replicas"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


CARDS = """
import os
import ray
from hfc.runtime.devices import find_cards
from hfc.serve.ray.cards import see_only

@ray.remote(num_gpus=1)
class Taker:
    def cards(self):
        see_only(ray.get_runtime_context().get_accelerator_ids()["GPU"], os.environ)
        return [card.info.arch for card in find_cards().cards]

ray.init(address="local", num_cpus=3, num_gpus=3, include_dashboard=False, log_to_driver=False)
takers = [Taker.remote() for _ in range(3)]
print(sorted(ray.get([taker.cards.remote() for taker in takers])))
"""


@pytest.mark.parametrize("chosen", [None, "3,1,0"])
def test_replicas_of_one_machine_take_different_cards(tmp_path, chosen):
    """Ray is told of three cards; what lies in the machine is software. Whoever starts the door may have chosen among four."""
    pytest.importorskip("rocm.bindings.hip", reason="rocm-bindings-hip has no wheel for this machine")
    kinds = ["gfx1100", "gfx1030", "gfx1201", "gfx906"]
    env = software(tmp_path, ",".join(f"{kind}:4G" for kind in kinds)) | {"RAY_USAGE_STATS_ENABLED": "0"}
    seen = [kinds[int(n)] for n in chosen.split(",")] if chosen else kinds[:3]
    env |= {"HIP_VISIBLE_DEVICES": chosen} if chosen else {}
    done = subprocess.run([sys.executable, "-c", CARDS], capture_output=True, text=True, env=env, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == str(sorted([kind] for kind in seen))
