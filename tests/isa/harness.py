"""One GPU's self-test kernels, compiled by the pip toolchain, and comparisons that say where arrays differ."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hfc.backend.toolchain import toolchain
from hfc.base.assembly import keep_assembly
from hfc.base.cache import cached, key_of
from hfc.base.diagnostics import HfcError
from hfc.isa import run_kernel
from hfc.isa.program import load_code_object
from hfc.target.arch import find_arch

ARCHS = ("gfx1100", "gfx1151", "gfx1201", "gfx942", "gfx90a", "gfx906", "gfx1030", "gfx1010")
HERE = Path(__file__).parent


def compile_hip(name: str, arch_name: str, *replaced: tuple[str, str]) -> bytes:
    """The code object of tests/isa/<name>.hip, after textual replacements."""
    arch, tools = find_arch(arch_name), toolchain()
    source = (HERE / f"{name}.hip").read_text().replace('#include "common.h"', (HERE / "common.h").read_text())
    for old, new in replaced:
        assert old in source, f"{name}.hip has no {old!r}"
        source = source.replace(old, new)
    key = key_of("isa test", tools.version, arch_name, repr(arch), source)
    assembly = cached(key, ".s", lambda: tools.assembly(source, name, arch)).read_bytes()
    data = cached(key, ".hsaco", lambda: tools.code_object(assembly, name, arch)).read_bytes()
    keep_assembly(data, assembly)
    return data


@dataclass
class Gpu:
    """Launches kernels of one code object and draws random inputs."""

    arch: str
    data: bytes
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))

    @property
    def wave(self) -> int:
        return 64 if self.arch.startswith("gfx9") else 32

    @property
    def kernels(self) -> dict:
        return load_code_object(self.data, self.arch).kernels

    def __call__(self, name, grid, block, *arguments, **options):
        return run_kernel(self.data, name, grid, block, list(arguments), label=self.arch, **options)

    def f32(self, *shape):
        return self.rng.standard_normal(shape).astype(np.float32)

    def f16(self, *shape):
        return self.rng.standard_normal(shape).astype(np.float16)

    def u32(self, *shape):
        return self.rng.integers(0, 1 << 32, shape, dtype=np.uint32)


def same(a, b):
    """Bit for bit equal."""
    if not np.array_equal(a, b):
        first = tuple(np.argwhere(a != b)[0])
        raise AssertionError(
            f"{np.count_nonzero(a != b)} of {a.size} differ, first at {first}: got {a[first]}, want {b[first]}"
        )


def close(a, b, rtol=1e-6, atol=0.0):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    bad = ~np.isclose(a, b, rtol=rtol, atol=atol, equal_nan=True)
    if bad.any():
        worst, first = np.nanmax(np.abs(a - b)), np.argwhere(bad)[0]
        raise AssertionError(
            f"{np.count_nonzero(bad)} of {a.size} off, first at {first}: {a[bad][0]}, want {b[bad][0]}, max {worst:.3g}"
        )


def raises(run, text: str) -> str:
    """`run()` must raise an HfcError whose message has `text`; returns the message."""
    try:
        run()
    except HfcError as error:
        assert text in str(error), f"expected {text!r} in: {error}"
        return str(error)
    raise AssertionError(f"no error; expected {text!r}")
