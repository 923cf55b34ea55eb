"""`hfc explain --kernel NAME --why`: the region, every variant with its verdict, the limits; for all kernels of a model."""

import re
from types import SimpleNamespace

import pytest

from hfc.backend import gpu
from hfc.backend.emit import emit
from hfc.backend.skeletons import SKELETONS
from hfc.backend.why import explain
from hfc.base.diagnostics import HfcError
from hfc.compiler import CompileOptions, settings_for
from hfc.matrix.models import source
from hfc.passes.pipeline import run_passes
from hfc.target.arch import find_arch


def emitted(model: str, weights: str, arch: str, kv: str = "f16"):
    opened = source(model, weights, quick=True)
    settings = settings_for(opened, find_arch(arch), CompileOptions(kv=kv, ctx=4096))
    made, jobs = emit(run_passes(opened.graph(), settings), settings, gpu.MATRIX_LAYOUT), {}
    gpu.list_launches(made, settings, jobs)
    return made, settings, jobs


@pytest.mark.parametrize(
    "model, weights, arch", [("Qwen3-4B", "q4_k", "gfx1100"), ("Qwen3.5-35B-A3B", "bf16", "gfx942")]
)
def test_every_kernel_of_a_region_has_its_reasons(model, weights, arch):
    made, settings, jobs = emitted(model, weights, arch)
    for name in jobs.keys() - {name for name in jobs if name.startswith(("sample", "adopt"))}:
        text = explain(made, settings, name, {})
        stem = re.search(r"of the (\w+) skeleton", text)[1]
        assert len(re.findall(r"^ +taken$", text, re.MULTILINE)) == 1
        assert text.startswith(f"{name} for {arch}: skeletons/{stem}/")
        rows_class = re.search(rf"Variants of {stem} for (\w+),", text)[1]
        assert all(f"    {variant.name:8} {variant.what}\n" in text for variant in SKELETONS[stem].variants[rows_class])


def test_refusals_have_figures():
    made, settings, jobs = emitted("Qwen3-4B", "q4_k", "gfx1100")
    text = explain(made, settings, next(name for name in jobs if re.search(r"^zip.*_rows$", name)), {})
    assert re.search(
        r"skinny .*\n +not: integer dot products are predicted to be faster: q4_k of \d+ x \d+ takes [\d.]+ us by dot",
        text,
    )
    assert re.search(r"dot +integer dot products.*\n +taken\n", text)
    assert re.search(r"scalar .*\n +not: it comes after the one that is taken", text)
    assert "Promised instructions: dot4_i8." in text and "together 4" in text
    assert re.search(
        r"taken\n +by choices\.csv, no row of its own, the nearest: zip .*: dot split=.* takes .* us, the next, .*predicted",
        text,
    )


def test_mixtures_in_one_region_have_figures_for_their_launches_and_their_members(monkeypatch):
    compiled = []
    monkeypatch.setattr("hfc.backend.why.compile_job", lambda job: compiled.append(job.name) or found)
    found = SimpleNamespace(assembly="", name="x", resources=SimpleNamespace(summary="8 VGPRs"))
    monkeypatch.setattr("hfc.backend.why.code_of", lambda assembly, name: "")
    made, settings, jobs = emitted("Qwen3.5-35B-A3B", "q8_0", "gfx1100")
    text = explain(made, settings, next(name for name in jobs if name.endswith("_down")), {}, is_measured=True)
    assert "mixture skeleton, joined from " in text and "mixture_down: 8 VGPRs" in text
    assert any(name.endswith("_up") for name in compiled) and any(name.startswith("route_") for name in compiled)


def test_resources_stand_beside_their_limits():
    made, settings, jobs = emitted("Qwen3-4B", "q4_k", "gfx1100", "asym3")
    name = next(name for name in jobs if name.startswith("map_") and "kv_append" in name)
    text = explain(made, settings, name, {"occupancy": 12, "vgprs": 120, "lds_bytes": 1024, "scratch_bytes": 0})
    assert (
        "It holds 12: each takes 120 of a SIMD's 1536 vector registers; 1024 of 65536 bytes of LDS, 0 of scratch."
        in text
    )
    assert "Allowed: lanes down to 192, because a key is held whole" in text


def test_an_unknown_kernel_lists_the_nearest():
    made, settings, jobs = emitted("Qwen3-4B", "q4_k", "gfx1100")
    name = next(name for name in jobs if name.endswith("_matrix"))
    with pytest.raises(HfcError) as error:
        explain(made, settings, name.replace("matrix", "matrx"), {})
    assert name in f"{error.value.message} {error.value.hint}"
