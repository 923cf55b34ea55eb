"""Fixtures of the emulator's tests. They need llvm-objdump (Debian: llvm-19) and the extra `isa`."""

import pytest
from harness import ARCHS, Gpu, compile_hip


@pytest.fixture(params=ARCHS)
def arch(request) -> str:
    return request.param


@pytest.fixture
def t(arch, request) -> Gpu:
    """The GPU with the kernels of the test file's code object."""
    return Gpu(arch, compile_hip(request.module.KERNELS, arch))
