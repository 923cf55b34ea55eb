"""Host kernels as arm64 machine code, run by qemu: the numeric tests of the host's kernels, on CPUs with and without dot products."""

import re

import host_kernels
import numpy as np
import pytest
import test_host_kernels_linear as linear
from host_kernels import ARM_ROOT, QEMU, Kernel, Machine
from host_numeric import FORMATS, KINDS, every_format

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
@pytest.mark.parametrize("form_name", FORMATS)
def test_every_format(form_name, cpu):
    every_format(form_name)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_kernels(kind, cpu):
    kind()


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
