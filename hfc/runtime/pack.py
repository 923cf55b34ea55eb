"""Weights into the CPU's tiles by all threads: the packers that a host plan's library carries, numpy's where it has none."""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from hfc.formats import weight_format
from hfc.formats.tile import pack_tiles, tile_layout, tiles
from hfc.runtime.memory import address

LEAST_BYTES = 1 << 20  # of rows that are worth a thread


class TilePacker:
    """Packs matrices with the functions `hfc_pack_<format>` of a library; they run without the GIL, a range of tiles a thread."""

    def __init__(self, library: ctypes.CDLL, threads: int):
        self._library, self._threads = library, threads
        self._pool = ThreadPoolExecutor(threads)

    def __enter__(self) -> TilePacker:
        return self

    def __exit__(self, *_) -> None:
        self._pool.shutdown()

    def __call__(self, format_name: str, raw: np.ndarray, shape: tuple[int, ...], out: np.ndarray) -> np.ndarray:
        """raw: uint8 [..., N, row_bytes(K)] -> `out`, zeroed uint8 of the layout's size, which is returned."""
        form = weight_format(format_name)
        pack = getattr(self._library, f"hfc_pack_{format_name}", None)
        if pack is None:  # a bundle of a version before packers
            return pack_tiles(form, raw, shape, out)
        n, k = shape[-2:]
        layout, rows = tile_layout(form), np.ascontiguousarray(raw).reshape(-1, n, raw.shape[-1])
        assert out.nbytes == layout.nbytes(shape) and out.dtype == np.uint8, (
            "tiles need uint8 memory of their exact size"
        )
        size = out.nbytes // len(rows)
        parts = min(self._threads, tiles(n), rows[0].nbytes // LEAST_BYTES + 1)
        cuts = [tiles(n) * i // parts for i in range(parts + 1)]
        jobs = [
            (address(matrix), address(out) + i * size, first, last)
            for i, matrix in enumerate(rows)
            for first, last in zip(cuts, cuts[1:])
        ]

        def run(job: tuple[int, int, int, int]) -> None:
            source, target, first, last = job
            pack(ctypes.c_void_p(source), ctypes.c_void_p(target), n, k, first, last)

        for _ in self._pool.map(run, jobs):
            pass
        return out
