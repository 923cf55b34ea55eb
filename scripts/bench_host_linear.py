#!/usr/bin/env python3
"""Measures the host's linear kernel: GB/s of weights for one row, GMAC/s for many.

scripts/bench_host_linear.py [--format q4_1] [--n 4096] [--k 4096] [--rows 1,8,128] [--threads 1,2] [--cpu native]
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import time

import numpy as np

from hfc.backend.host.build import PLANES, build_host_library
from hfc.backend.skeletons.linear.region import LinearRegion, Matrix
from hfc.backend.spec import Arg, Bound
from hfc.formats import weight_format
from hfc.formats.tile import pack_tiles, tile_layout
from hfc.ir.graph import TensorType, Value
from hfc.runtime.memory import address, allocate
from hfc.step import Step, step_words

WEIGHT_BYTES = 128 << 20  # enough copies of the weight that no cache holds them


def linear(form, n: int, k: int, copies: int) -> tuple[Bound, list]:
    """One kernel, launched once for each copy of the weight."""
    value = Value("w", TensorType(form.name, (n, k)))
    x, w, y = (
        Arg(name, "buffer", ctype, value, "", name == "y2")
        for name, ctype in (("x0", "float"), ("w1", "uint8_t"), ("y2", "float"))
    )
    part = Matrix(w, form, n, f"y2[(size_t)row * {n} + n] = y;")
    region = LinearRegion(k, (part,), f"x0[(size_t)row * {k} + j]")
    launches = [("bench", [0, 2 + copy, 1]) for copy in range(copies)]
    return Bound("linear", "bench", (x, w, y), "T", region), launches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--format", default="q4_1")
    parser.add_argument("--n", type=int, default=4096)
    parser.add_argument("--k", type=int, default=4096)
    parser.add_argument("--rows", default="1,8,128")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--cpu", default="native")
    parser.add_argument("--planes", type=int, default=PLANES)
    asked = parser.parse_args()
    form, n, k = weight_format(asked.format), asked.n, asked.k
    rows_list = [int(r) for r in asked.rows.split(",")]
    nbytes, max_rows = tile_layout(form).nbytes((n, k)), max(rows_list)
    copies = max(1, WEIGHT_BYTES // nbytes)
    bound, launches = linear(form, n, k, copies)
    library = ctypes.CDLL(str(build_host_library([bound], launches, max_rows, 64, asked.cpu, asked.planes)))
    library.hfc_create.restype = ctypes.c_void_p
    library.hfc_create.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
    library.hfc_step.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    library.hfc_destroy.argtypes = [ctypes.c_void_p]

    rng = np.random.default_rng(0)
    raw = form.pack(rng.standard_normal((n, k), np.float32)) if form.encode or not form.quantized else (
        np.zeros((n, form.row_bytes(k)), np.uint8))  # fmt: skip
    x, y, weights = allocate(max_rows * k * 4), allocate(max_rows * n * 4), allocate(copies * nbytes)
    x.view(np.float32)[:] = rng.standard_normal(max_rows * k, np.float32)
    weights.reshape(copies, nbytes)[:] = pack_tiles(form, raw, (n, k))
    addresses = [address(x), address(y), *(address(weights) + copy * nbytes for copy in range(copies))]
    table = (ctypes.c_void_p * len(addresses))(*addresses)
    print(f"{form.name} [{n}, {k}], {nbytes / 1e6:.1f} MB, {asked.planes} planes, cpu {asked.cpu}")
    for threads in map(int, asked.threads.split(",")):
        tape = library.hfc_create(threads, table, len(addresses))
        for rows in rows_list:
            words = np.zeros(step_words(max_rows), np.int32)
            Step.single(np.zeros(rows, np.int32)).encode(max_rows, words)
            seconds = []
            for _ in range(7):
                start = time.perf_counter()
                library.hfc_step(tape, words.ctypes.data)
                seconds.append((time.perf_counter() - start) / copies)
            best, middle = min(seconds), statistics.median(seconds)
            print(f"  {threads} threads, {rows:4d} rows: {middle * 1e6:9.1f} us (best {best * 1e6:9.1f}), "
                  f"{nbytes / middle / 1e9:6.1f} GB/s, {rows * n * k / middle / 1e9:7.1f} GMAC/s")  # fmt: skip
        library.hfc_destroy(tape)


if __name__ == "__main__":
    main()
