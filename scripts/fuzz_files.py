#!/usr/bin/env python
"""Damaged files for every reader of hfc, by seeds: each must be read or refused with a message.

    scripts/fuzz_files.py --count 20000                  # each reader
    scripts/fuzz_files.py --loader gguf --count 100000 --first 50000
    scripts/fuzz_files.py --loader gguf --show 51234 > damaged.gguf

Prints a table; exit code 1 if a file was a fault: a traceback, the end of the process, 2 seconds, or more memory than 3 GiB.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path.insert(0, str(TESTS))

from fuzz.loaders import LOADERS, damaged  # noqa: E402

BATCH = 10_000  # files a process
STUCK_S = 300  # for a batch beside 0.2 s a file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--loader", choices=sorted(LOADERS), help="only this reader")
    parser.add_argument("--count", type=int, default=2000, help="files of each reader")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--show", type=int, metavar="SEED", help="write this file to standard output instead")
    asked = parser.parse_args()
    if asked.show is not None:
        sys.stdout.buffer.write(damaged(LOADERS[asked.loader], asked.show))
        return
    rows = [run(name, asked.first, asked.count) for name in ([asked.loader] if asked.loader else LOADERS)]
    sys.exit(1 if any(row["fault"] for row in rows) else 0)


def run(name: str, first: int, count: int) -> dict:
    """All files of a reader; a row of the table is printed."""
    total: Counter[str] = Counter()
    slowest, peak, at, end, kinds = 0.0, 0, first, first + count, set()
    while at < end:
        done, faults, last = batch(name, at, min(BATCH, end - at))
        for fault in faults:
            kind = (fault["fault"].split(":")[0], fault["where"])
            if kind not in kinds:
                print(f"  {name} {fault['seed']}: {fault['fault']}  {fault['where']}", file=sys.stderr, flush=True)
            kinds.add(kind)
        if done is None:
            total["fault"] += 1 + len(faults)
            print(f"  {name} {last}: the process ended or hung", file=sys.stderr, flush=True)
            at = last + 1
            continue
        total.update(done["done"])
        slowest, peak, at = max(slowest, done["slowest_s"]), max(peak, done["peak_mb"]), at + BATCH
    row = {kind: total[kind] for kind in ("read", "refused", "fault")}
    print(
        f"| {name} | {sum(total.values()):,} | {row['read']:,} | {row['refused']:,} | {row['fault']:,} | {slowest:.2f} s | {peak} MB |",
        flush=True,
    )
    return row


def batch(name: str, first: int, count: int) -> tuple[dict | None, list[dict], int]:
    """The summary (None: the process ended before), its faults, the last file that it looked at."""
    command = [sys.executable, str(TESTS / "fuzz" / "worker.py"), name, str(first), str(count)]
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=STUCK_S + count * 0.2).stdout
    except subprocess.TimeoutExpired as error:
        output = (error.stdout or b"").decode()
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    done = next((line for line in lines if "done" in line), None)
    last = max((line["at"] for line in lines if "at" in line), default=first)
    return done, [line for line in lines if "fault" in line], last


if __name__ == "__main__":
    main()
