"""Accepted means compiled: whatever the interpreter runs, the host and the emulated GPUs run with the same numbers.

    HFC_RANDOM_GRAPHS=0:2000 pytest -m long tests/test_random_graphs.py -n 2

The graphs that once showed a fault stay by their seeds, each beside what was wrong.
"""

import os
from collections import Counter

import pytest
from random_graphs import random_graph
from random_plain import MAKERS
from random_runs import check_graph

from hfc.backend import gpu
from hfc.backend.emit import emit
from hfc.ir.graph import SOURCES
from hfc.ir.opdef import OPS
from hfc.ir.text import parse_graph
from hfc.passes.pipeline import run_passes
from hfc.passes.settings import Settings
from hfc.target.arch import find_arch

GPUS = ("gfx1100", "gfx906")
LONG = range(*map(int, os.environ.get("HFC_RANDOM_GRAPHS", "100:300").split(":")))
PART = 25  # graphs of one long test


@pytest.mark.parametrize("seed", range(4))
def test_host(seed):
    check_graph(seed, "host")


@pytest.mark.parametrize("seed", range(2))
def test_emulated(seed):
    check_graph(seed, GPUS[seed % 2])


def test_memory_that_regions_share_has_the_longest_row_of_them():
    """Seed 10211: short rows of every row of a step need as much as long ones of eight outputs, and a step of two had too little."""
    graph = parse_graph("""graph g(%t: i32[T]) {
  %e: f32[24, 32] = weight() {name="e", recipe=tensor(name="e")}
  %a: q8_0[64, 32] = weight() {name="a", recipe=tensor(name="a")}
  %b: q4_0[24, 64] = weight() {name="b", recipe=tensor(name="b")}
  %x: f32[T, 32] = gather(%e, %t)
  %y: f32[T, 64] = linear(%x, %a)
  %l: f32[T, 24] = linear(%y, %b)
  return %l, %y
}""")
    settings = Settings(find_arch("gfx1100"), 48, 2, 24, 8, "f32", "f32", ("y",))
    emitted, _programs = gpu.list_launches(emit(run_passes(graph, settings), settings, gpu.MATRIX_LAYOUT), settings, {})
    (operands,) = (buffer for buffer in emitted.buffers if buffer.name == "operands")
    assert operands.row_bytes == 4 * (64 // 2 + 4), "planes of 64 inputs, a unit and a sum of each 32"


@pytest.mark.long
@pytest.mark.parametrize("first", LONG[::PART])
def test_many(first):
    faults = []
    for seed in range(first, min(first + PART, LONG.stop)):
        try:
            check_graph(seed, "host", *GPUS)
        except Exception as error:  # the test's purpose: every graph of the part is tried, and each fault is listed
            faults.append(f"seed {seed}: {type(error).__name__}: {error}")
    assert not faults, "\n".join(faults)


def test_every_op_is_drawn():
    assert set(MAKERS) == set(OPS) - set(SOURCES)
    drawn = Counter(op.kind for seed in range(60) for op in random_graph(seed)[0].ops)
    missing = set(OPS) - set(drawn) - {"pick_rows", "peer"}  # peers: of several ranks, test_ranks.py
    assert not missing, "60 graphs leave out some op"
