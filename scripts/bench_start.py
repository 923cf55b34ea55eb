"""What `hfc run BUNDLE` costs before its first token, beside reading vocabulary and weights: CPU seconds by part, and help's.

    python scripts/bench_start.py BUNDLE.hfp [--runs 9]

Each run is a process of its own, started as `python -m hfc` starts. `loading` is the time in `load_vocabulary` and in `load`
(weights); the bar of a start, 0.5 s, is for the rest. Other work on the machine makes every figure larger (shared caches, clock), and so
does PYTHONDONTWRITEBYTECODE: it is not passed on.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys

CHILD = """
import gc, sys, time
gc.disable()
now = time.process_time
marks = {"python": now()}
from hfc.cli import without_blas
run = without_blas("hfc.cli.run")
import hfc.cli.open_model as opening
marks["imports"] = now()
spent = 0.0
def timed(module, name):
    plain = getattr(module, name)
    def call(*words, **named):
        global spent
        begin = now()
        try:
            return plain(*words, **named)
        finally:
            spent += now() - begin
    setattr(module, name, call)
timed(opening, "load_vocabulary")
timed(opening, "load")
plain_open, plain_encode = run.open_model, run.encode_chat
def opened(*words, **named):
    found = plain_open(*words, **named)
    marks["opening"] = now()
    return found
def encoded(*words, **named):
    found = plain_encode(*words, **named)
    marks["template and tokens"] = now()
    return found
run.open_model, run.encode_chat = opened, encoded
class Timed(run.Generation):
    def __iter__(self):
        for piece in super().__iter__():
            marks.setdefault("prompt", now())
            yield piece
run.Generation = Timed
from hfc.cli import main
sys.argv = ["hfc", "run", sys.argv[1], "Hello", "-n", "1"]
try:
    main()
except SystemExit:
    pass
marks["opening"] -= spent
for name in ("template and tokens", "prompt"):
    marks[name] -= spent
last = 0.0
for name, at in marks.items():
    print("", f"PART {name}={at - last}", sep="\\n", file=sys.stderr)
    last = at
print(f"PART loading={spent}", file=sys.stderr)
"""
WITH_BYTECODE = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
HELP = (["--help"], ["run", "--help"], ["ps"], ["list"])


def first_token(bundle: str) -> dict[str, float]:
    """Part -> CPU seconds of one start."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, bundle], capture_output=True, text=True, check=True, env=WITH_BYTECODE
    )
    said = [line.removeprefix("PART ") for line in done.stderr.splitlines() if line.startswith("PART ")]
    parts = dict(line.split("=") for line in said)
    return {name: float(seconds) for name, seconds in parts.items()}


def of_command(words: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "hfc", *words], capture_output=True, check=True, env=WITH_BYTECODE)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def told(name: str, values: list[float]) -> str:
    return f"{name:22} {statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--runs", type=int, default=9)
    chosen = parser.parse_args()
    first_token(chosen.bundle)  # bytecode and files are in the page cache then
    starts = [first_token(chosen.bundle) for _ in range(chosen.runs)]
    for name in starts[0]:
        print(told(name, [start[name] for start in starts]))
    print(told("all but loading", [sum(start.values()) - start["loading"] for start in starts]))
    for words in HELP:
        print(told("hfc " + " ".join(words), [of_command(words) for _ in range(chosen.runs)]))


if __name__ == "__main__":
    main()
