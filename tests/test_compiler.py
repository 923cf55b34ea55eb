"""The whole compiler on small models: every arch, bundles that load back, goldens of the null device, bad input."""

import json
import time

import numpy as np
import pytest
from small_models import CONFIGS

from hfc.backend import gpu
from hfc.base.diagnostics import HfcError
from hfc.bundles import load_bundle
from hfc.compiler import CompileOptions, compile_model, emit_model, open_source, outline, settings_for
from hfc.runtime.executor import load
from hfc.runtime.null import NullModel
from hfc.step import Segment, Step
from hfc.target.arch import ARCHS, find_arch

GPUS = [name for name, arch in ARCHS.items() if arch.platform.has_registers]
ONE_OF_EACH = ["gfx906", "gfx942", "gfx1010", "gfx1030", "gfx1100", "gfx1201"]


@pytest.fixture
def config(tmp_path):
    def write(model: str):
        data = {"model_type": model, **CONFIGS[model]}
        if model == "qwen3_5_moe_text":
            data.pop("intermediate_size")
        path = tmp_path / model / "config.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(data))
        return path

    return write


@pytest.mark.sampled(36)
@pytest.mark.parametrize("arch", ONE_OF_EACH)
@pytest.mark.parametrize("model", CONFIGS)
def test_every_model_compiles_for_each_generation(model, arch, config):
    bundle = compile_model(config(model), [arch])
    plan = bundle.plans[arch]
    assert set(plan.programs) == {"decode", "prefill", "sample"}
    for kernel in plan.kernels:
        assert bundle.files[kernel.file][:4] == b"\x7fELF"
        assert kernel.resources["spills"] == 0 and kernel.resources["scratch_bytes"] == 0, kernel
        assert kernel.resources["lds_bytes"] <= find_arch(arch).lds_bytes


@pytest.mark.long
@pytest.mark.parametrize("model", CONFIGS)
def test_every_model_compiles_for_every_arch(model, config):
    assert set(compile_model(config(model), GPUS).plans) == set(GPUS)


def test_a_second_compilation_runs_no_compiler(config, monkeypatch):
    path = config("llama")
    compile_model(path, ["gfx1100", "host"])
    monkeypatch.setattr("subprocess.run", lambda *a, **k: pytest.fail("a compiler was started"))
    start = time.process_time()  # a busy machine does not count
    compile_model(path, ["gfx1100", "host"])
    assert time.process_time() - start < 1.0


def test_a_bundle_loads_back_equal_and_damage_is_seen(config, tmp_path):
    bundle = compile_model(config("llama"), ["gfx1100"])
    path = tmp_path / "out.hfp"
    bundle.save(path)
    again = load_bundle(path)
    assert again.plans == bundle.plans and again.files == bundle.files and again.model == bundle.model
    data = bytearray(path.read_bytes())
    data[data.index(b"\x7fELF") + 64] ^= 1
    (tmp_path / "bad.hfp").write_bytes(data)
    with pytest.raises(HfcError, match="damaged|hash"):
        load_bundle(tmp_path / "bad.hfp")
    (tmp_path / "short.hfp").write_bytes(path.read_bytes()[:1000])
    with pytest.raises(HfcError, match="damaged"):
        load_bundle(tmp_path / "short.hfp")
    with pytest.raises(HfcError, match="only for gfx1100.*|no plan for host"):
        load(bundle, "host")


def test_a_full_disk_leaves_the_old_bundle(config, tmp_path, monkeypatch):
    bundle = compile_model(config("llama"), ["gfx1100"])
    path = tmp_path / "out.hfp"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(HfcError, match="No space left"):
        bundle.save(path)
    assert path.read_bytes() == b"old" and list(tmp_path.glob(".out*")) == []


# launches a step, and bytes of a decode step at position 100, f16 KV. A change here is a change of the plan: look at it.
GOLDEN = {
    "llama": (14, 260096),
    "qwen3": (14, 260096),
    "gemma3_text": (16, 263168),
    "qwen3_5_text": (13, 358672),
    "qwen3_5_moe_text": (21, 517144),
}


@pytest.mark.parametrize("model", GOLDEN)
def test_launches_and_bytes_of_a_step(model, config):
    opened = open_source(config(model))
    settings = settings_for(opened, find_arch("gfx1100"), CompileOptions(ctx=256, slots=2))
    emitted, programs = gpu.list_launches(emit_model(opened, settings), settings, {})
    model_ = NullModel(gpu.make_plan(emitted, settings, (), programs))
    model_.forward(Step.single([1], position=100))
    assert (model_.count.launches, model_.count.bytes) == GOLDEN[model]
    model_.forward(Step(np.array([1, 2], np.int32), (Segment(0, 0, 1, 100), Segment(1, 1, 1, 0)), np.arange(2)))
    assert model_.count.launches == 2 * GOLDEN[model][0]


@pytest.mark.parametrize(
    "change, message",
    [
        (("gfx1109", {}), "unknown architecture 'gfx1109'"),
        (("host", {"kv": "f17"}), "unknown KV format 'f17'"),
        (("host", {"ctx": 100000}), "made for at most 256 tokens"),
    ],
)
def test_bad_choices_are_named(change, message, config):
    with pytest.raises(HfcError, match=message):
        compile_model(config("llama"), [change[0]], CompileOptions(**change[1]))


def test_bad_sources_are_named(tmp_path, config):
    with pytest.raises(HfcError, match="needs? .*--weights|no sizes"):
        open_source("models/llama.hfm")
    (tmp_path / "config.json").write_text('{"model_type": "qwen33"}')
    with pytest.raises(HfcError, match="no model file describes the model type 'qwen33'"):
        open_source(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(HfcError, match="not valid JSON: Expecting property name"):
        open_source(tmp_path)
    opened = open_source(config("llama"))
    assert settings_for(opened, find_arch("host"), CompileOptions(kv="f16/f32")).v_format == "f32"


def test_precision_profiles(config):
    """Prompts of a GPU's plan take one product a weight in fast, two or three in exact; a CPU's plan has no choice."""
    source = config("llama")
    opened = open_source(source)
    for profile in ("exact", "fast", "turbo"):
        settings = settings_for(opened, find_arch("gfx1100"), CompileOptions(ctx=64, profile=profile))
        assert outline(opened, settings).profile == profile
    assert settings_for(open_source(source), find_arch("host"), CompileOptions(profile="auto")).profile == "exact"
    assert settings_for(open_source(source), find_arch("gfx1100"), CompileOptions(profile="auto")).profile == "fast"
    with pytest.raises(HfcError, match="host has no such plan"):
        compile_model(source, ["host"], CompileOptions(profile="fast"))
    with pytest.raises(HfcError, match="gfx1010 has no such plan: it has no products of bytes") as refused:
        compile_model(source, ["gfx1010"], CompileOptions(profile="turbo"))
    assert refused.value.hint == "leave it out: gfx1010 does fast or exact"
    with pytest.raises(HfcError, match="fsat"):
        compile_model(source, ["gfx1100"], CompileOptions(profile="fsat"))
