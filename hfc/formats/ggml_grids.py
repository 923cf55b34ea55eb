"""Grids of GGUF's IQ types, by the gguf package: what an index stands for. Loaded where a file has some: it takes a while."""

from __future__ import annotations

from functools import cache

import numpy as np
from gguf import quants


@cache
def codes(name: str) -> np.ndarray:
    """u8 [points, elements]: of the grid that type `name` indexes, each element's place among the grid's distinct numbers."""
    kind = getattr(quants, name.upper())
    kind.init_grid()
    found = np.searchsorted(np.array(kind.grid_map, np.float32), kind.grid[0, 0]).astype(np.uint8)
    found.flags.writeable = False
    return found


@cache
def signs() -> np.ndarray:
    """u8 [128]: the eight signs that seven bits stand for; their number is even."""
    return np.frombuffer(quants.IQ2_XXS.ksigns, np.uint8)
