"""Every family at the size of a published model compiles for every kind of GPU; launches a layer stay what docs/models.md promises."""

import json

import pytest
from family_fixture import NAMES
from published_sizes import SIZES, published_config

from hfc.backend import gpu
from hfc.backend.compile import compile_all
from hfc.backend.emit import emit
from hfc.backend.skeletons import geometry
from hfc.cli.check_model import layer_regions
from hfc.compiler import CompileOptions, open_source, settings_for
from hfc.passes.pipeline import run_passes
from hfc.target.arch import find_arch

ARCHS = ("gfx1100", "gfx906", "gfx1201", "sm_90")
# The text of others here, of the same sizes; Gemma 3n has matrices of 4 x 4, which a config alone cannot leave out of a format.
OTHERS = {"gemma3n", "gemma4", "granitemoehybrid_dense", "granitemoehybrid_rope", "qwen2_5_vl", "qwen3_vl"}
MORE = {"gemma4_e", "deepseek_v32", "deepseek_v4"}  # launches a layer: docs/models.md says why
UNSAID = 1024  # bytes of LDS that a kernel may have without saying so


def source_of(name, folder):
    path = folder / f"{name}.config.json"
    path.write_text(json.dumps(published_config(name)))
    return open_source(path, default_format="q8_0")


def test_every_family_has_a_published_size():
    assert SIZES.keys() | OTHERS == set(NAMES)


@pytest.mark.sampled(80)
@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("name", SIZES)
def test_compiles(name, arch, tmp_path):
    """LDS that kernels of a shared launch declare is what was counted when they were put together."""
    source, jobs = source_of(name, tmp_path), {}
    settings = settings_for(source, find_arch(arch), CompileOptions(kv="f16", ctx=2048, profile="auto"))
    emitted = emit(run_passes(source.graph(), settings), settings, gpu.MATRIX_LAYOUT)
    gpu.list_launches(emitted, settings, jobs)
    lds_bytes = {kernel.name: kernel.resources.lds_bytes for kernel in compile_all(jobs.values())}
    for shape in (shape for call in emitted.calls for shape in geometry(call.bound, settings.arch, "decode")):
        said = sum(part.declared + UNSAID for part in shape.beside)
        has = lds_bytes.get(shape.symbol, 0) if shape.beside else 0
        assert has <= said, f"{shape.symbol} of {[part.symbol for part in shape.beside]}"


@pytest.mark.sampled(24)
@pytest.mark.parametrize("name", sorted(SIZES.keys() - MORE))
def test_launches_a_layer(name, tmp_path):
    regions = layer_regions(source_of(name, tmp_path), "gfx1100")
    most = max(len(stems) for layer, stems in regions.items() if layer >= 0)
    assert most <= (9 if {"num_experts", "num_local_experts"} & SIZES[name].keys() else 7)
