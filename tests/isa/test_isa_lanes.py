"""The lane layouts that docs/learn draws are those of the matrix instructions that the emulator executes."""

import sys
from pathlib import Path

import numpy as np
import pytest
from harness import compile_hip

from hfc.isa import run_kernel

sys.path.insert(0, str(Path(__file__).parents[2]))

from scripts.pictures.matrix_units import LAYOUTS, SIZE


def in_lanes(matrix: np.ndarray, layout) -> np.ndarray:
    """f16 [row, k] -> [lane, element]."""
    places = [[layout.operand(lane, element) for element in range(layout.elements)] for lane in range(layout.lanes)]
    rows, columns = np.array(places).transpose(2, 0, 1)
    return np.ascontiguousarray(matrix[rows, columns])


@pytest.mark.parametrize(
    "arch, layout", [*zip(("gfx1100", "gfx1201", "gfx942"), LAYOUTS)], ids=lambda x: getattr(x, "name", x)
)
def test_a_product_of_lanes_is_the_product_of_matrices(arch, layout):
    rng = np.random.default_rng(1)
    a, b = (rng.integers(-8, 9, (SIZE, SIZE)).astype(np.float16) for _ in range(2))
    out = np.full((layout.lanes, layout.registers), np.nan, np.float32)
    run_kernel(
        compile_hip("lanes", arch),
        "product",
        1,
        layout.lanes,
        [in_lanes(a, layout), in_lanes(b, layout), out],
        label=arch,
    )
    found = np.full((SIZE, SIZE), np.nan, np.float32)
    for lane in range(layout.lanes):
        for register in range(layout.registers):
            found[layout.total(lane, register)] = out[lane, register]
    np.testing.assert_array_equal(found, a.astype(np.float32) @ b.astype(np.float32).T)
