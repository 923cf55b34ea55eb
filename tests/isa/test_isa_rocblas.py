"""Large products by rocBLAS: the launch tape calls a library that is found by dlopen, kernels run in the emulator around it."""

import ctypes
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))
from fake_driver import FakeDriver
from regions import VOCAB, Builder

from hfc.backend import gpu
from hfc.backend.emit import emit
from hfc.backend.library import build_for_cpu
from hfc.backend.skeletons.linear.library import geometry as library
from hfc.bundles import read_bundle
from hfc.cli.explain import list_kernels
from hfc.ir.graph import TensorType
from hfc.isa import launch_kernel
from hfc.isa.arena import Region
from hfc.passes.pipeline import run_passes
from hfc.passes.settings import Settings
from hfc.plan import Bundle
from hfc.runtime import rocblas
from hfc.runtime.gpu import GpuModel
from hfc.runtime.random_weights import RandomWeights
from hfc.step import Step
from hfc.target.arch import find_arch

SOURCE = Path(__file__).parent.parent / "data" / "fake_rocblas.c"
CONTEXT, MAX_ROWS = 320, 300
# relative L2: inputs are pairs of the weights' type, 22 or 16 bits; measured 7e-8, 1.2e-5
BOUND = {"f16": 2e-6, "bf16": 5e-5}


class EmulatingDriver(FakeDriver):
    """Kernels that are launched run in the emulator, on the fake card's memory."""

    def __init__(self, arch: str):
        super().__init__(arch)
        self.images, self.functions = [], []

    def load_module(self, image: bytes) -> int:
        self.images.append(image)
        return len(self.images)

    def function(self, module: int, symbol: str) -> int:
        self.functions.append((self.images[module - 1], symbol))
        return super().function(module, symbol)

    def _launch(self, function, gx, gy, gz, block, _y, _z, lds_bytes, stream, arguments, extra) -> int:
        image, symbol = self.functions[function - 1]
        count = POINTERS[symbol] + 1
        places = ctypes.cast(arguments, ctypes.POINTER(ctypes.POINTER(ctypes.c_uint64)))
        launch_kernel(image, symbol, (gx, gy, gz), block, [self._region(places[i][0]) for i in range(count)], lds_bytes)
        return self._run(symbol, (gx, gy, gz))

    def _region(self, address: int) -> Region:
        start, array = next((s, a) for s, a in self.memory.items() if s <= address < s + a.nbytes)
        return Region(hex(address), address, array[address - start :])


POINTERS: dict[str, int] = {}  # kernel -> how many pointers it takes beside the step


@pytest.fixture(scope="module")
def fake_library(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("rocblas") / "librocblas.so"
    path.write_bytes(build_for_cpu(SOURCE.read_text(), "native").read_bytes())
    return path


@pytest.fixture
def bundle_of(monkeypatch):
    monkeypatch.setattr(library, "LARGE", 1)

    def build(graph, arch="gfx942", max_rows=MAX_ROWS, profile="exact") -> Bundle:
        settings = Settings(find_arch(arch), CONTEXT, 1, max_rows, 32, "f16", "f16", profile=profile)
        plan, files = gpu.build(emit(run_passes(graph, settings), settings, gpu.MATRIX_LAYOUT), settings)
        POINTERS.update({x.kernel: len(x.pointers) for program in plan.programs.values() for x in program})
        return read_bundle(Bundle({"name": "m", "weights": "w"}, {arch: plan}, files).pack(), "m.hfp")

    return build


def attended(format: str):
    """q and k side by side, v as gate times up, so that every row of a prompt is needed; then attention and a head."""
    b = Builder()
    x = b.normed(b.vectors("embed", 96))
    q, k = (b.op("reshape", b.op("linear", x, b.matrix(name, format, 32, 96)), shape=(1, 32)) for name in ("q", "k"))
    gate, up = (b.op("linear", x, b.matrix(name, format, 32, 96)) for name in ("gate", "up"))
    v = b.op("reshape", b.op("mul", b.op("silu", gate), up), shape=(1, 32))
    kv = b.op("kv_append", b.state("kv", TensorType("kv", ("S", 1, "C", 32))), k, v)
    y = b.op("reshape", b.op("attend", q, kv, scale=32**-0.5, window=0, softcap=0.0), shape=(32,))
    return b.finish(b.op("linear", y, b.matrix("head", "f32", VOCAB, 32)))


def open_model(bundle: Bundle, arch: str = "gfx942") -> GpuModel:
    return GpuModel(bundle, bundle.plans[arch], EmulatingDriver(arch), RandomWeights(CONTEXT))


def prompt(rows: int) -> Step:
    step = Step.single(np.arange(rows) * 7 % VOCAB)
    return Step(step.tokens, step.segments, np.arange(0, rows, -(-rows // 32), dtype=np.int32))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("format", ["f16", "bf16"])
def test_the_tape_multiplies_with_the_library_it_finds(format, bundle_of, fake_library, monkeypatch, capfd):
    """The same logits as by hfc's own kernels; rows come in pieces of one size, whatever the step has."""
    bundle = bundle_of(attended(format))
    monkeypatch.setenv("HFC_ROCBLAS", str(fake_library))
    with_library, counts = open_model(bundle), ctypes.CDLL(str(fake_library))
    products = ctypes.c_int.in_dll(counts, "products")
    products.value = 0
    found = with_library.forward(prompt(270))
    assert products.value == 2 * 2 * 4  # two pieces of rows, high and low parts, four weights
    assert ctypes.c_int.in_dll(counts, "last_columns").value == library.ROWS
    assert ctypes.c_int.in_dll(counts, "atomics").value == 0
    assert any(symbol.endswith("_finish") for symbol, _ in with_library.driver.launches)
    few = with_library.forward(prompt(20))
    with_library.close()
    assert ctypes.c_int.in_dll(counts, "handles").value == 0
    monkeypatch.setenv("HFC_ROCBLAS", "off")
    own = open_model(bundle)
    expected = own.forward(prompt(270))
    assert not any(symbol.endswith("_finish") for symbol, _ in own.driver.launches)
    assert np.linalg.norm(found - expected) / np.linalg.norm(expected) <= BOUND[format]
    np.testing.assert_array_equal(few[0], found[0])  # D10, as far as the library keeps to it
    assert capfd.readouterr().err == ""


def test_without_the_library_own_kernels_serve_and_one_line_says_so(
    bundle_of, fake_library, monkeypatch, tmp_path, capfd
):
    bundle = bundle_of(attended("f16"))
    rocblas._say.cache_clear()
    monkeypatch.setenv("HFC_ROCBLAS", str(tmp_path / "librocblas.so"))
    for _ in range(2):
        model = open_model(bundle)
        model.forward(prompt(20))
        assert not any(symbol.endswith("_finish") for symbol, _ in model.driver.launches)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1 and "rocBLAS is not used" in lines[0] and "hfc's own kernels" in lines[0]
    monkeypatch.setenv("HFC_ROCBLAS", str(fake_library))
    monkeypatch.setenv("FAKE_ROCBLAS_STATUS", "6")
    open_model(bundle).forward(prompt(20))
    assert "failed with status 6" in capfd.readouterr().err


def test_only_archs_that_ask_for_it_have_the_program(bundle_of, capfd):
    graph = attended("f16")
    plan = bundle_of(graph).plans["gfx942"]
    assert [bool(x.product) for x in plan.programs["prefill_rocblas"]].count(True) == 8
    assert "rocblas_gemm_ex" in list_kernels(plan)
    assert "prefill_rocblas" not in bundle_of(graph, "gfx90a").plans["gfx90a"].programs
    assert "prefill_rocblas" not in bundle_of(graph, max_rows=library.ROWS - 1).plans["gfx942"].programs
    assert "prefill_rocblas" not in bundle_of(attended("q8_0")).plans["gfx942"].programs  # a format it does not know


def test_in_the_fast_profile_the_library_still_has_pairs(bundle_of):
    """Its products are two; matrix tiles of the same region take high parts alone, from a launch of their own."""
    programs = bundle_of(attended("f16"), profile="fast").plans["gfx942"].programs

    def stage(program: str) -> list[str]:
        return sorted(
            {x.kernel for x in programs[program] if x.kernel.startswith("linear_f16") and "_stage" in x.kernel}
        )

    assert [name.endswith("_stage_high") for name in stage("prefill")] == [True]
    assert [name.endswith("_stage") for name in stage("prefill_rocblas")] == [True]
