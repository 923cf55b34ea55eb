"""Fixtures of the emulator's tests. They need the extra `isa`, and no disassembler beside the pip packages."""

import pytest
from harness import ARCHS, Gpu, compile_hip

from hfc.isa import disassemble


@pytest.fixture(autouse=True)
def no_disassembler_from_elsewhere(monkeypatch):
    """What is installed beside Python must not decide whether a test passes."""
    monkeypatch.setattr(disassemble, "PLACES", ())
    disassemble.objdump.cache_clear()


# gfx1151 has gfx1100's instructions but for a few; its kernels take as long to compile.
@pytest.fixture(params=[pytest.param(a, marks=pytest.mark.long) if a == "gfx1151" else a for a in ARCHS])
def arch(request) -> str:
    return request.param


@pytest.fixture
def t(arch, request) -> Gpu:
    """The GPU with the kernels of the test file's code object."""
    return Gpu(arch, compile_hip(request.module.KERNELS, arch))
