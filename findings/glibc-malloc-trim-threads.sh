#!/usr/bin/env bash
# What: malloc_trim(0) of glibc (seen with 2.36 of Debian 12) in a Python process after eight threads have freed numpy 2.2.6 arrays
#   of 1 MB, 160 MB in all, where larger ones had been freed before.
# Seen: all of it stays resident: free memory at the end of a thread's own heap is not given back. After mallopt(M_ARENA_MAX, 1) and
#   mallopt(M_MMAP_THRESHOLD, 4 << 20) the same call gives everything back.
# Why a good guess is wrong: the manual says that since glibc 2.8 malloc_trim frees memory in all arenas and in all chunks with whole free
#   pages, so a server that calls it after large requests expects to shrink. And arrays of 1 MB are mapped by themselves, and go back when
#   they are freed, only until a larger one is freed: that raises the threshold (to 32 MB at most), for the whole process.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "numpy==2.2.6"
cat > "$work/show.py" <<'PY'
import ctypes, sys, threading
from pathlib import Path
import numpy
M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8
library = ctypes.CDLL("libc.so.6")
if sys.argv[1] == "one heap":
    library.mallopt(M_ARENA_MAX, 1)
    library.mallopt(M_MMAP_THRESHOLD, 4 << 20)
def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20
def work():
    for megabytes in (16, 1):
        gate.wait()
        arrays = [numpy.ones(megabytes << 20, numpy.uint8) for _ in range(20 // megabytes)]
        gate.wait()
        del arrays
gate, before = threading.Barrier(8), resident_mb()
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
library.malloc_trim(0)
print(round(resident_mb() - before))
PY
usual=$("$work/venv/bin/python" "$work/show.py" "as it is")
one=$("$work/venv/bin/python" "$work/show.py" "one heap")
ldd --version | head -1
echo "resident beyond the start after malloc_trim(0): $usual MB as it is, $one MB with one heap for all threads"
[ "$usual" -gt 100 ] && [ "$one" -lt 20 ]
