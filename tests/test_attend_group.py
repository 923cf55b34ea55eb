"""Decode over a packed cache on Hopper: what it serves, how contexts are split, and on a card that is present its results."""

import ctypes
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hip_cases import attend

from hfc.backend import skeletons
from hfc.backend.compile import compile_job
from hfc.backend.gpu import kernel_job
from hfc.backend.skeletons.attend import geometry, group
from hfc.base.diagnostics import HfcError
from hfc.bundles.grid import grid_value
from hfc.formats import kv_format
from hfc.passes.settings import Settings
from hfc.target.arch import find_arch

sys.path.insert(0, str(Path(__file__).parent / "isa"))
from attention import Attention, error, step_of

HOPPER = find_arch("sm_90")
PACKED = (("q8", "q8"), *((f"{kind}{bits}", "q8") for kind in ("asym", "fwht") for bits in (4, 3, 2)))
BOUND = 5e-4  # values are rounded to f16
# heads, KV heads, size, window, softcap, sinks, slopes
SHAPES = (
    (16, 4, 256, 0, 0.0, False, False),
    (16, 2, 256, 300, 20.0, False, True),
    (5, 1, 128, 0, 0.0, True, False),
    (7, 1, 256, 0, 0.0, True, True),
)


def region(heads=16, kv_heads=4, size=256, formats=("q8", "q8"), capacity=4096, rounds=True, slopes=False):
    bound = attend(heads, kv_heads, size, formats=formats, capacity=capacity, slopes=slopes)
    return replace(bound, region=replace(bound.region, rounds=rounds))


@pytest.mark.parametrize("formats", PACKED, ids="/".join)
def test_packed_caches_are_read_once_for_all_query_heads(formats):
    for heads, kv_heads, size in ((16, 4, 256), (16, 2, 256), (24, 8, 128)):
        assert skeletons.chosen(region(heads, kv_heads, size, formats), HOPPER, "decode").name == "group"
    assert skeletons.chosen(region(formats=formats), find_arch("gfx1100"), "decode").name == "splits"


@pytest.mark.parametrize(
    "case, why",
    (
        (dict(formats=("f16", "f16")), "f16 as they lie"),
        (dict(formats=("q8", "q4")), "values in q4 have no operands"),
        (dict(formats=("f32", "q8")), "keys in f32"),
        (dict(size=64), "heads of 64 elements"),
        (dict(heads=18, kv_heads=2), "9 query heads"),
        (dict(capacity=4100), "no multiple of 16"),
        (dict(rounds=False), "the profile"),
    ),
)
def test_what_it_does_not_serve_goes_by_vectors(case, why):
    bound = region(**case)
    assert why in group.refuses(bound, HOPPER)
    assert skeletons.chosen(bound, HOPPER, "decode").name == "splits"


@pytest.mark.parametrize(
    "size, capacity", ((256, 262144), (256, 8192), (256, 8208), (64, 100), (128, 131072), (16, 5000))
)
def test_a_step_launches_the_splits_of_its_context(size, capacity):
    bound = region(16, 4, size, capacity=capacity, formats=("f16", "f16")).region
    first, count = geometry.splits_of(bound)
    begins, begin = [], 0
    while begin < capacity:  # 64 of one size, then 32 of each twice as large
        begins.append(begin)
        begin += first << max(0, (len(begins) - 33) // 32)
    assert len(begins) == count
    for context in {1, first, first + 1, capacity, capacity - 1, *begins[::7], *begins[-2:], 8192, 8193, 16384, 16385}:
        if 0 < context <= capacity:
            launched = grid_value(geometry.split_count(bound), {"C": context})
            assert launched == sum(begin < context for begin in begins), context
    assert grid_value(geometry.split_count(bound), {"C": 4 * capacity}) == count  # a step's reach is rounded up


@pytest.mark.parametrize("name", ("asym2", "asym3", "asym4", "fwht2", "fwht3", "fwht4"))
def test_levels_as_f16_are_nearly_what_they_are(name):
    form = kv_format(name).sized(256)
    bits, unit = group.rounded_levels(form)
    found = np.array(bits, np.uint16).view(np.float16).astype(np.float64) * unit
    assert np.abs(found / np.array(form.code_levels) - 1).max() < {2: 1e-5, 3: 5e-5, 4: 1.5e-4}[int(name[-1])]


@pytest.mark.parametrize("heads", (16, 24))
def test_its_code_copies_in_bulk_and_multiplies_on_matrix_units(heads):
    bound = region(heads, 4, 256, ("asym3", "q8"), slopes=heads == 16)
    first = skeletons.geometry(bound, HOPPER, "decode")[0]
    code = compile_job(kernel_job(bound, first, Settings(HOPPER, 4096, 2, 16, 16, "asym3", "q8"))).assembly
    assert "cp.async.bulk" in code and "mma.sync" in code and ".local" not in code


class OnCard(Attention):
    """The same on the first NVIDIA card."""

    def launch(self, code, shape, grid, pointers, options):
        from hfc.runtime.cuda import CudaDriver

        driver = CudaDriver(0)
        function = driver.function(driver.load_module(code), shape.symbol)
        placed = [driver.allocate(pointer.view.nbytes) for pointer in pointers]
        for address, pointer in zip(placed, pointers):
            driver.copy_in(address, pointer.view)
        values = (ctypes.c_uint64 * len(placed))(*placed)
        arguments = (ctypes.c_void_p * len(placed))(*(ctypes.addressof(values) + 8 * i for i in range(len(placed))))
        prototype = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, *[ctypes.c_uint] * 7, *[ctypes.c_void_p] * 3)
        stream, call = driver.create_stream(), prototype(driver.entry_points()["launch"])
        driver.synchronize(0)
        error = call(function, *grid, shape.block, 1, 1, shape.lds_bytes, stream, ctypes.addressof(arguments), None)
        assert not error
        driver.synchronize(stream)
        for address, pointer in zip(placed, pointers):
            driver.copy_out(pointer.view, address)
            driver.free(address)


@pytest.mark.long
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("formats", PACKED, ids="/".join)
def test_on_a_card(formats, shape):
    """Tiles that end in the middle, one split, several; caches end in NaN. D10: a row alone and in company."""
    try:
        from hfc.runtime.cuda import list_devices

        list_devices()
    except (ImportError, HfcError) as none:
        pytest.skip(f"no NVIDIA card: {none}")
    heads, kv_heads, size, window, softcap, sinks, slopes = shape
    case = OnCard("sm_90", 8400, heads, kv_heads, size, window, softcap, formats, sinks=sinks, slopes=slopes)
    case.bound = replace(case.bound, region=replace(case.bound.region, rounds=True))
    step = step_of((3, 8397), (5, 125), (2, 0))
    whole = case.run(step, "decode")
    assert error(whole, case.expected(step)) < BOUND
    for row, slot, position in ((0, 2, 8397), (2, 2, 8399), (5, 0, 127), (8, 1, 0)):
        alone = case.run(step_of((1, position), slots=(slot,)), "decode", first=row)
        np.testing.assert_array_equal(alone[0], whole[row])
