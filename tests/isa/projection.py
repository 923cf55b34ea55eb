"""One linear region as gfx machine code in the emulator, beside numpy: inputs end with the step's last row, outputs start as NaN."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from hfc.backend.compile import compile_job
from hfc.backend.gpu import kernel_job
from hfc.backend.skeletons import geometry
from hfc.formats import weight_format
from hfc.formats.rotation import rotate
from hfc.isa import LaunchOptions
from hfc.isa.arena import Arena
from hfc.isa.launch import launch_kernel
from hfc.passes.settings import Settings
from hfc.runtime.launcher import grid_size
from hfc.step import Segment, Step, step_words
from hfc.target.arch import find_arch

sys.path.insert(0, str(Path(__file__).parent.parent))
from hip_cases import linear

MAX_ROWS, EXPERTS = 40, 5
DEFAULT = LaunchOptions()


def random_weights(name: str, rng: np.random.Generator, rows: int, k: int) -> np.ndarray:
    """uint8 [rows, row_bytes]: any codes, numbers without infinities."""
    form = weight_format(name)
    if not form.quantized:
        return form.pack(rng.standard_normal((rows, k), np.float32) / 8)
    raw = rng.integers(0, 256, (rows * k // form.block, form.block_bytes), np.uint8)
    exponents = {plane.field for code in form.codes.values() if code.power for plane in code.planes}
    for field in form.fields:
        if field.name in exponents:  # of two: any would leave the range of floats
            at = form.offsets[field.name]
            raw[:, at : at + field.nbytes] = rng.integers(118, 131, (len(raw), field.nbytes), np.uint8)
        elif field.count == 1 and field.dtype in ("f16", "f32", "bf16"):
            at = form.offsets[field.name]
            values = form.assemble({field.name: rng.uniform(-2, 2, (len(raw), 1)).astype(np.float32)})
            raw[:, at : at + field.nbytes] = values[:, at : at + field.nbytes]
    return raw.reshape(rows, -1)


class Projection:
    """y = norm(x) wᵀ of one or more weights. sizes: their outputs.  zipped: y0 * sigmoid(y1).  top: experts of a row."""

    def __init__(
        self,
        arch: str,
        formats: list[str],
        k: int,
        sizes: list[int],
        zipped: bool = False,
        norm: bool = True,
        top: int = 0,
    ):
        self.arch, self.k, self.sizes, self.zipped, self.norm, self.top = find_arch(arch), k, sizes, zipped, norm, top
        self.bound = linear(formats, k, sizes, zipped, norm, top)
        self.settings = Settings(self.arch, 64, 1, MAX_ROWS, MAX_ROWS, "f16", "f16")
        rng = np.random.default_rng(k)
        count = EXPERTS if top else 1
        self.raw = [random_weights(f, rng, count * n, k) for f, n in zip(formats, sizes)]
        # Rows of very different sizes: each has its own unit.
        self.x = rng.standard_normal((MAX_ROWS, k), np.float32) * np.float32(10) ** rng.uniform(
            -4, 4, (MAX_ROWS, 1)
        ).astype(np.float32)
        self.experts = rng.integers(0, EXPERTS, (MAX_ROWS, top or 1), np.int32)

    def of_wanted_rows(self) -> Projection:
        """In profile "fast", for the rows whose logits are wanted, as a head is."""
        region = replace(self.bound.region, single_product=True)
        self.bound = replace(self.bound, rows="R", region=region)
        return self

    def in_turbo(self) -> Projection:
        """Inputs may be rounded to bytes."""
        region = replace(self.bound.region, single_product=True, byte_inputs=True)
        self.bound = replace(self.bound, region=region)
        return self

    def run(
        self, rows: int, first: int = 0, options: LaunchOptions = DEFAULT, rows_class: str = "decode"
    ) -> list[np.ndarray]:
        step = Step(np.zeros(rows, np.int32), (Segment(0, 0, rows, 0),), np.arange(rows, dtype=np.int32))
        shapes = geometry(self.bound, self.arch, rows_class)
        scratch = {s.name: s.row_bytes * rows for shape in shapes for s in shape.scratch}
        fixed = {
            "step": step.encode(MAX_ROWS, np.full(step_words(MAX_ROWS), -1, np.int32)),
            "x0": np.ascontiguousarray(self.x[first : first + rows]),
        }
        if self.top:
            fixed["x1"] = np.ascontiguousarray(self.experts[first : first + rows])
        fixed |= {f"w{i}": raw for i, raw in enumerate(self.raw)}
        outputs = {
            f"out{i}": 4 * rows * max(1, self.top) * n for i, n in enumerate(self.sizes[: 1 if self.zipped else None])
        }
        wanted = [(n, a.nbytes, False) for n, a in fixed.items()] + [
            (n, b, True) for n, b in (outputs | scratch).items()
        ]
        regions = {region.name: region for region in Arena(wanted).regions}
        for name, array in fixed.items():
            regions[name].view[:] = array.reshape(-1).view(np.uint8)
        for name in (*outputs, *scratch):
            regions[name].view[:] = 0xFF
        for shape in shapes:
            made = compile_job(kernel_job(self.bound, shape, self.settings))
            grid = tuple(grid_size(expression, step) for expression in shape.grid)
            if math.prod(grid):
                pointers = [
                    regions[n] for n in ("step", *(a.name for a in self.bound.args), *(s.name for s in shape.scratch))
                ]
                launch_kernel(
                    made.data, shape.symbol, grid, shape.block, pointers, shape.lds_bytes, options, shape.symbol
                )
        return [regions[n].view.view(np.float32).reshape(rows * max(1, self.top), -1).copy() for n in outputs]

    def expected(self, rows: int, first: int = 0) -> list[np.ndarray]:
        x = self.x[first : first + rows].astype(np.float64)
        if self.norm:
            x = x / np.sqrt((x * x).mean(axis=1, keepdims=True) + 1e-6)
        made = [self._products(x, i, first) for i in range(len(self.sizes))]
        return [made[0] / (1 + np.exp(-made[1]))] if self.zipped else made

    def _products(self, x: np.ndarray, i: int, first: int) -> np.ndarray:
        part = self.bound.region.parts[i]
        w = part.format.unpack(self.raw[i]).astype(np.float64).reshape(-1, part.n, self.k)
        x = rotate(x) if part.format.rotated else x
        if not self.top:
            return x @ w[0].T
        chosen = self.experts[first : first + len(x)].reshape(-1)
        return np.einsum("rk,rnk->rn", np.repeat(x, self.top, axis=0), w[chosen])


def error(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """The largest relative L2 of any row of any output; NaN where something was not written."""
    return max(
        float(np.max(np.linalg.norm(f - e, axis=1) / np.linalg.norm(e, axis=1))) for f, e in zip(found, expected)
    )
