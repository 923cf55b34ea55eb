"""Host kernels as arm64 machine code, run by qemu: the numeric tests of the host's kernels, on CPUs with and without dot products."""

import re

import host_kernels
import numpy as np
import pytest
import test_host_kernels_attend as attend
import test_host_kernels_linear as linear
import test_host_kernels_recurrent as recurrent
from host_kernels import ARM_ROOT, QEMU, Kernel, Machine

from hfc.backend.library import assembly_for_cpu
from hfc.formats import weight_format
from hfc.formats.tile import pack_tiles

pytestmark = pytest.mark.skipif(
    not (QEMU and ARM_ROOT.exists()), reason="needs qemu-user and libc6-arm64-cross (names of Debian's packages)"
)
CPUS = ("arm64", "arm64-dotprod", "arm64-i8mm")


@pytest.fixture(params=CPUS)
def cpu(request, monkeypatch, tmp_path):
    under_qemu(monkeypatch, tmp_path, request.param)
    return request.param


def under_qemu(monkeypatch, folder, cpu):
    monkeypatch.setattr(Machine, "cpu", cpu)
    monkeypatch.setattr(Machine, "folder", folder, raising=False)
    monkeypatch.setattr(Machine, "command", [QEMU, "-cpu", "max", "-L", ARM_ROOT])


@pytest.mark.long
@pytest.mark.parametrize("form_name", linear.CODED + linear.PLAIN)
def test_every_format(form_name, cpu):
    linear.test_every_format(form_name)


@pytest.mark.long
def test_regions(cpu):
    linear.test_parts_of_different_formats_share_the_input()
    linear.test_zipped_parts()
    linear.test_norm_before_and_residual_after()
    linear.test_outliers_and_bad_numbers()
    linear.test_experts(shared=True)
    linear.test_one_plane_is_eight_bits()


@pytest.mark.long
def test_attention(cpu):
    for form in ("f32", "f16", "q8", "q4"):
        attend.test_decode(127, form)
    for form in ("asym2", "asym3", "asym4", "fwht3"):
        attend.test_rows_of_every_layout_with_and_without_wide_registers(form, "native")
    attend.test_sinks("q8")
    attend.test_rows_that_see_their_whole_segment(6, 250)


@pytest.mark.long
def test_recurrences(cpu):
    recurrent.test_delta_does_not_depend_on_chunks_neighbours_or_threads()
    recurrent.test_conv(4)
    recurrent.test_map_embeds_normalises_and_writes_the_cache()


@pytest.mark.long
def test_dot_products_give_the_bits_of_the_portable_code(monkeypatch, tmp_path):
    """Codes of 8 bits above 127 and both planes of activations; sums of whole numbers are exact."""
    under_qemu(monkeypatch, tmp_path, "arm64")
    form = weight_format("q8_0")
    raw, w = linear.random_weight(form, (32, 64))
    x = np.random.default_rng(1).standard_normal((3, 64), np.float32)
    found = {}
    for cpu in CPUS:
        (found[cpu],) = linear.run(
            Kernel(linear.linear(["q8_0"], [32], 64), cpu), x, [pack_tiles(form, raw, (32, 64))], [32]
        )
    assert linear.error(found["arm64"], x @ w.T) < 2e-4
    assert np.array_equal(found["arm64"], found["arm64-dotprod"]) and np.array_equal(
        found["arm64"], found["arm64-i8mm"]
    )


@pytest.mark.parametrize(
    ("cpu", "instruction"), [pytest.param("arm64-dotprod", "sdot", marks=pytest.mark.long), ("arm64-i8mm", "usdot")]
)
def test_the_dot_product_is_one_instruction(cpu, instruction):
    kernel = linear.linear(["q4_0"], [32], 64)
    source = host_kernels.source_of(kernel)
    assert re.search(rf"\t{instruction}\t", assembly_for_cpu(source, cpu))
