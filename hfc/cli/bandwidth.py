"""How fast this machine's memory is: the ceiling of decode speed."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

_PROBE_BYTES = 256 << 20  # well above the last-level caches
_TRIES = 5


def read_bandwidth_gb_s(threads: int) -> float:
    """Bytes read per second, in GB/s, when each thread sums its part of a large array; the best of several tries.

    numpy adds integers with vector instructions and without the interpreter's lock.
    """
    parts = np.array_split(np.ones(_PROBE_BYTES // 8, np.uint64), threads)
    best_s = float("inf")
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(_TRIES):
            start = time.perf_counter()
            for total in pool.map(np.sum, parts):
                assert total, "every part has ones"
            best_s = min(best_s, time.perf_counter() - start)
    return _PROBE_BYTES / best_s / 1e9
