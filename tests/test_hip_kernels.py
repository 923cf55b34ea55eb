"""Kernels of every stem at awkward sizes: formats compile, sources are reproducible, blocks make every output once.

tests/test_gates.py compiles them all."""

import re

import pytest
from hip_cases import CASES, CONTEXT, MAX_ROWS, SLOTS, linear

from hfc.backend.compile import KernelJob, compile_all
from hfc.backend.hip import hip_source
from hfc.backend.skeleton import ROWS_CLASSES
from hfc.backend.skeletons import geometry
from hfc.formats import FORMATS
from hfc.runtime.launcher import grid_size
from hfc.step import Step
from hfc.target.arch import GPUS, find_arch


def jobs_for(bounds, arch):
    found = {}
    for bound in bounds:
        for rows_class in ROWS_CLASSES:
            for shape in geometry(bound, arch, rows_class):
                found[shape.symbol] = KernelJob(
                    shape.symbol, hip_source(bound, arch, shape, MAX_ROWS, CONTEXT, SLOTS), arch
                )
    return list(found.values())


@pytest.mark.parametrize("arch", GPUS, ids=lambda arch: arch.name)
def test_every_stem_has_kernels(arch):
    assert len(jobs_for(CASES, arch)) > len(CASES)  # linear has two classes


@pytest.mark.sampled(18)
@pytest.mark.parametrize("arch", ("gfx906", "gfx1100", "sm_90"))
@pytest.mark.parametrize("name", FORMATS)
def test_every_weight_format_compiles(name, arch):
    bounds = [linear([name], 2 * FORMATS[name].block + (0 if FORMATS[name].quantized else 35), [10])]
    assert len(compile_all(jobs_for(bounds, find_arch(arch)))) >= 2


def test_plain_scalars_are_read_in_wide_loads():
    """Bytes that a loader names one by one must reach memory as one load: 8 weights of 2 bytes are 16 bytes."""
    wide = linear(["bf16"], 1024, [64], norm=False)
    arch = find_arch("gfx1100")
    decode = next(made for made in compile_all(jobs_for([wide], arch)) if not made.name.endswith("_tiled"))
    loads = re.findall(r"global_load_(\w+)", decode.assembly)
    assert not {"u8", "i8", "u16", "d16_b16"} & set(loads), loads


def test_sources_do_not_depend_on_the_run():
    arch = find_arch("gfx1201")
    assert [job.source for job in jobs_for(CASES, arch)] == [job.source for job in jobs_for(CASES, arch)]


@pytest.mark.parametrize("arch", ("gfx1010", "gfx1100"))
def test_a_block_makes_every_output_once(arch):
    """The parts of a linear region take consecutive blocks, enough for all of their outputs."""
    bound = linear(["q8_0", "q8_0", "q8_0"], 64, [17, 1, 64])
    shape = geometry(bound, find_arch(arch), "decode")[-1]
    made = shape.params.waves // shape.params.split * shape.params.outputs
    ends = [*shape.params.starts[1:], grid_size(shape.grid[0], Step.single([1]))]
    for start, end, part in zip(shape.params.starts, ends, bound.region.parts):
        assert (end - start - 1) * made < part.n <= (end - start) * made


@pytest.mark.parametrize("rows", (1, 2, 16))
def test_each_number_of_rows_has_its_kernels(rows):
    """On matrix units parts of one format are one family; what several rows need comes first, and nothing else runs."""
    bound = linear(["q8_0", "q4_k", "q8_0"], 256, [17, 1, 64])
    step = Step.single([1] * rows)
    shapes = [s for s in geometry(bound, find_arch("sm_90"), "decode") if all(grid_size(size, step) for size in s.grid)]
    assert [s.template.name for s in shapes] == (["skinny_row"] if rows == 1 else ["skinny_stage", "skinny_rows"])
    params, outputs, found = shapes[-1].params, 16 * shapes[-1].params.waves_n, []
    for family in params.families:
        ends = [*family.firsts[1:], family.stop - family.start]
        for start, end, part in zip(family.firsts, ends, family.parts):
            assert (end - start - 1) * outputs < part.n <= (end - start) * outputs
            found.append(part)
    assert len(found) == 3 and params.families[-1].stop == grid_size(shapes[-1].grid[0], step)
