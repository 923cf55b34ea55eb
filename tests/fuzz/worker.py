"""`python worker.py LOADER FIRST COUNT`: reads damaged files one after the other and prints a line for each fault, and a summary.

It runs in a process of its own: an end of the process is a fault too, and `at` says which file it was.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from fuzz.loaders import LOADERS, cases, prepare, read

SLOW_S = 2.0  # of the processor; a file of a few KB takes milliseconds
MEMORY = 3 << 30  # bytes of the process; more is refused by the system and is a MemoryError


def main() -> None:
    name, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    found: Counter[str] = Counter()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        loader, folder = LOADERS[name], Path(folder) / "model"
        prepare(loader, folder)
        for seed, content in cases(loader, first, count):
            print(json.dumps({"at": seed}), flush=True)
            start = time.process_time()
            try:
                kind = read(loader, folder, content)
            except BaseException as error:  # whatever a reader raises is what is looked for, panics of native code too
                kind = "fault"
                last = traceback.extract_tb(error.__traceback__)[-1]
                say(seed, f"{type(error).__name__}: {error}"[:200], f"{last.filename}:{last.lineno}")
            spent = time.process_time() - start
            slowest = max(slowest, spent)
            if spent > SLOW_S:
                kind = "fault"
                say(seed, f"{spent:.1f} s for {len(content)} bytes", "")
            found[kind] += 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"done": dict(found), "slowest_s": round(slowest, 3), "peak_mb": peak}), flush=True)


def say(seed: int, what: str, where: str) -> None:
    print(json.dumps({"seed": seed, "fault": what, "where": where}), flush=True)


if __name__ == "__main__":
    main()
