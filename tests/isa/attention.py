"""One attention region as gfx machine code in the emulator, beside numpy: caches end in NaN, scratch and outputs start as NaN."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from hfc.backend.compile import compile_job
from hfc.backend.gpu import kernel_job
from hfc.backend.shape import Geometry
from hfc.backend.skeletons import geometry
from hfc.formats import kv_format
from hfc.ir.interpret import KvCache
from hfc.ir.ops import definition
from hfc.isa import LaunchOptions
from hfc.isa.arena import Arena
from hfc.isa.launch import launch_kernel
from hfc.passes.settings import Settings
from hfc.runtime.launcher import grid_size
from hfc.step import Segment, Step, step_words
from hfc.target.arch import find_arch

sys.path.insert(0, str(Path(__file__).parent.parent))
from hip_cases import attend

SLOTS, MAX_ROWS = 3, 80
DEFAULT = LaunchOptions()


def step_of(*lengths_and_positions: tuple[int, int], slots: tuple[int, ...] = (2, 0, 1)) -> Step:
    """(rows, position) of each segment."""
    segments, row = [], 0
    for slot, (rows, position) in zip(slots, lengths_and_positions):
        segments.append(Segment(slot, row, rows, position))
        row += rows
    return Step(np.zeros(row, np.int32), tuple(segments), np.arange(row, dtype=np.int32))


class Attention:
    """A region for one arch. filled: tokens of each slot that hold keys; the cache ends behind them."""

    def __init__(
        self,
        arch: str,
        filled: int,
        heads=4,
        kv_heads=2,
        size=64,
        window=0,
        softcap=0.0,
        formats=("f16", "f16"),
        causal=True,
        context=None,
        sinks=False,
        slopes=False,
    ):
        self.arch, self.context = find_arch(arch), context or filled
        made = attend(heads, kv_heads, size, window, softcap, formats, causal, self.context, sinks, slopes)
        self.bound = replace(made, name=f"{made.name}_{'_'.join(formats)}")
        self.forms = [kv_format(name).sized(size) for name in formats]
        self.attrs = {"scale": size**-0.5, "window": window, "softcap": softcap, "causal": causal}
        self.settings = Settings(self.arch, self.context, SLOTS, MAX_ROWS, MAX_ROWS, *formats)
        rng = np.random.default_rng(filled)
        self.raw, self.values = [], []
        for form in self.forms:
            content = rng.standard_normal((SLOTS, kv_heads, filled, size), np.float32)
            raw = np.full((SLOTS, kv_heads, self.context, form.row_bytes(size)), 0xFF, np.uint8)
            raw[:, :, :filled] = form.pack(content)
            self.raw.append(raw)
            self.values.append(np.asarray(form.unpack(raw[:, :, :filled]), np.float32))
        self.sinks = [2 * rng.standard_normal(heads, np.float32)] if sinks else []
        self.slopes = [2.0 ** -rng.uniform(0, 8, heads).astype(np.float32)] if slopes else []
        self.queries = rng.standard_normal((MAX_ROWS, heads, size), np.float32)

    def run(self, step: Step, rows_class: str, options: LaunchOptions = DEFAULT, first: int = 0) -> np.ndarray:
        """Rows of `step` take queries from `first` on."""
        rows = len(step.tokens)
        q = np.ascontiguousarray(self.queries[first : first + rows])
        shapes = geometry(self.bound, self.arch, rows_class)
        scratch = {s.name: s.row_bytes * rows for shape in shapes for s in shape.scratch}
        fixed = {
            "step": step.encode(MAX_ROWS, np.full(step_words(MAX_ROWS), -1, np.int32)),
            "q": q,
            "k": self.raw[0],
            "v": self.raw[1],
            **{f"vector{at}": vector for at, vector in enumerate((*self.sinks, *self.slopes))},
        }
        wanted = (
            [(n, a.nbytes, False) for n, a in fixed.items()]
            + [("out", q.nbytes, True)]
            + [(n, b, True) for n, b in scratch.items()]
        )
        regions = {region.name: region for region in Arena(wanted).regions}
        for name, array in fixed.items():
            regions[name].view[:] = array.reshape(-1).view(np.uint8)
        for name in ("out", *scratch):
            regions[name].view[:] = 0xFF
        for shape in shapes:
            made = compile_job(kernel_job(self.bound, shape, self.settings))
            grid = tuple(grid_size(expression, step) for expression in shape.grid)
            if math.prod(grid):
                pointers = [regions[n] for n in (*fixed, "out", *(s.name for s in shape.scratch))]
                self.launch(made.data, shape, grid, pointers, options)
        return regions["out"].view.view(np.float32).reshape(q.shape).copy()

    def launch(self, code: bytes, shape: Geometry, grid, pointers, options: LaunchOptions) -> None:
        launch_kernel(code, shape.symbol, grid, shape.block, pointers, shape.lds_bytes, options, shape.symbol)

    def expected(self, step: Step, first: int = 0) -> np.ndarray:
        cache = KvCache(*self.values, *(form.name for form in self.forms))
        return definition("attend").meaning(
            self.queries[first : first + len(step.tokens)],
            cache,
            *(self.sinks or [None]),
            *self.slopes,
            **self.attrs,
            step=step,
        )


def error(found: np.ndarray, expected: np.ndarray) -> float:
    """Relative L2; NaN where anything was not written."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
