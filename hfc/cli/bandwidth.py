"""How fast a device's memory is: the ceiling of decode speed."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from hfc.runtime.driver import Driver

_PROBE_BYTES = 256 << 20  # well above the last-level caches
_COPY_BYTES = 1 << 30  # so that a GPU's caches and the launch do not count
_TRIES, _COPIES = 5, 8
_DEFAULT_STREAM = 0


def read_bandwidth_gb_s(threads: int) -> float:
    """Bytes read per second, in GB/s, when each thread sums its part of a large array; the best of several tries.

    numpy adds integers with vector instructions and with the GIL released.
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


def copy_bandwidth_gb_s(driver: Driver) -> float:
    """Bytes read and written per second, in GB/s, by copies within a GPU's memory, timed by its events; the best try."""
    driver.make_current()
    nbytes = min(_COPY_BYTES, driver.free_memory() // 4)
    source, target = driver.allocate(nbytes), driver.allocate(nbytes)
    try:
        driver.zero(source, nbytes)
        start, end = driver.create_event(), driver.create_event()
        best_ms = float("inf")
        for _ in range(_TRIES):
            driver.record(start, _DEFAULT_STREAM)
            for _ in range(_COPIES):
                driver.copy_device(target, source, nbytes)
            driver.record(end, _DEFAULT_STREAM)
            best_ms = min(best_ms, driver.elapsed_ms(start, end))
    finally:
        driver.free(source)
        driver.free(target)
    return 2 * _COPIES * nbytes / best_ms / 1e6
