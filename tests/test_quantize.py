"""hfc quantize, inspect and the container, and rotated weights in whole models: interpreter, passes, host."""

import errno
import json
import os
import re

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from small_models import CONFIGS, evaluate_random
from test_cli import folder, hfc  # noqa: F401  (fixtures)

from hfc.backend import gpu
from hfc.base.diagnostics import HfcError
from hfc.compiler import CompileOptions, compile_model, emit_model, open_source, outline, settings_for
from hfc.formats import FORMATS
from hfc.formats.checkpoint import open_checkpoint
from hfc.formats.checkpoint.container import ALIGNMENT, report_of
from hfc.formats.rotation import rotate
from hfc.frontend.build import build_graph
from hfc.frontend.model import find_model
from hfc.oracle import InterpretedModel
from hfc.passes.pipeline import run_passes
from hfc.program import Program
from hfc.quantize.convert import plan, quantize
from hfc.quantize.policy import choose, fitting_format, parse_keep
from hfc.quantize.writer import Writer, add_report
from hfc.runtime.executor import load
from hfc.step import Step
from hfc.target.arch import find_arch

TOKENS = np.arange(3, 40) % 150


def write_model(folder, model_type: str = "llama", **changes):  # noqa: F811
    """A model with random weights as a Hugging Face folder; its rows are multiples of 256."""
    config = {
        "model_type": model_type,
        **CONFIGS[model_type],
        "hidden_size": 256,
        "num_attention_heads": 8,
        "intermediate_size": 512,
    }
    if model_type == "qwen3_5_moe_text":
        config |= {"moe_intermediate_size": 256, "shared_expert_intermediate_size": 512}
        del config["intermediate_size"]
    if "linear_num_value_heads" in config:
        config |= {"linear_num_value_heads": 8}
    config |= changes
    graph = build_graph(find_model(model_type), config, "hf", None, default_format="f32")
    tensors = {}
    for op in graph.ops_of("weight"):
        recipe, shape = op.attrs["recipe"], list(op.output.type.shape)
        while recipe.args:
            params, recipe = dict(recipe.params), recipe.args[0]
            if "stop" in params:  # gate and up of all experts are one tensor
                shape[params["axis"]] *= 2
        (name,) = recipe.tensors()
        tensors[name] = evaluate_random(recipe, tuple(shape)) * np.float32(0.5)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors")
    return folder


def converted(source, target, format, keep=()):
    with open_checkpoint(source) as checkpoint:
        return quantize(checkpoint, plan(checkpoint, format, keep), target)


def interpreted(path):
    return InterpretedModel(open_source(path), 64).forward(Step.single(TOKENS))


def distance(a, b):
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("source") / "llama")


@pytest.mark.sampled(3)
@pytest.mark.parametrize("model_type", ["llama", "gemma3_text", "qwen3_5_text", "qwen3_5_moe_text"])
def test_rotated_models_mean_the_same_everywhere(model_type, tmp_path):
    source, target = write_model(tmp_path / "source", model_type), tmp_path / "mq8"
    converted(source, target, "mq8g256")
    expected, found = interpreted(source), interpreted(target)
    assert distance(found, expected) < 0.1  # 8-bit weights; one rotation too few gives more than 1
    opened = open_source(target)
    fused = run_passes(opened.graph(), settings_for(opened, find_arch("host"), CompileOptions(kv="f32", ctx=64)))
    assert not [op for op in fused.ops if op.kind == "hadamard"], "a rotation is never a launch"
    assert fused.ops_of("hadamard") and all(
        op.attrs["stem"] == "linear" for op in fused.ops if op.body and op.body.ops_of("hadamard")
    )
    model = load(compile_model(target, ["host"], CompileOptions(kv="f32", ctx=64)), "host", 2)
    assert distance(model.forward(Step.single(TOKENS[:32])), found[:32]) < 2e-4


@pytest.mark.sampled(3)
@pytest.mark.parametrize("format", ["hfc4", "mq3g256", "mq4g256v2", "mq6g256", "hfq4g256v2", "hfq6g256"])
def test_formats_in_a_model_on_the_host(format, llama, tmp_path):
    converted(llama, tmp_path, format)
    model = load(compile_model(tmp_path, ["host"], CompileOptions(kv="f32", ctx=64)), "host", 2)
    assert distance(model.forward(Step.single(TOKENS[:32])), interpreted(tmp_path)[:32]) < 2e-4
    assert distance(interpreted(tmp_path), interpreted(llama)) < {"hfc4": 0.3, "mq3g256": 1.0}.get(format, 0.8)


def test_launches_do_not_grow_with_rotation(llama, tmp_path):
    converted(llama, tmp_path, "mq4g256")
    counts = [
        len(compile_model(path, ["host"], CompileOptions(ctx=64)).plans["host"].programs["step"])
        for path in (llama, tmp_path)
    ]
    assert counts[0] == counts[1]


def test_gpus_rotate_in_no_launch_of_its_own(llama, tmp_path):
    converted(llama, tmp_path / "rotated", "mq4g256")
    converted(llama, tmp_path / "plain", "hfq4g256")
    for arch in ("gfx1100", "gfx1030", "sm_90"):
        launches = {}
        for name in ("plain", "rotated"):
            opened = open_source(tmp_path / name)
            settings = settings_for(opened, find_arch(arch), CompileOptions(ctx=64))
            _, programs = gpu.list_launches(emit_model(opened, settings), settings, {})
            launches[name] = len(programs[Program.DECODE])
        assert 0 < launches["rotated"] <= launches["plain"]
    config = open_source(llama / "config.json", default_format="mq4g256")  # no file says that the table is not rotated
    table = next(
        w
        for w in outline(config, settings_for(config, find_arch("host"), CompileOptions(ctx=64))).weights
        if w.name == "embed@rows"
    )
    assert table.format == "q8_0"


def test_container(llama, tmp_path):
    path = converted(llama, tmp_path, "mq4g256", parse_keep(["*.o_proj.*=q8_0", "*.v_proj.*=source"]))
    with open_checkpoint(llama) as source, open_checkpoint(tmp_path) as target:
        assert target.names() == source.names() and target.config == source.config
        formats = {name: target.info(name).format for name in target.names()}
        assert formats["model.layers.0.mlp.up_proj.weight"] == "mq4g256"
        assert formats["model.layers.0.self_attn.o_proj.weight"] == "q8_0"
        assert formats["model.layers.0.self_attn.v_proj.weight"] == "f32"
        assert formats["model.embed_tokens.weight"] == "q8_0" and formats["model.norm.weight"] == "f32"
        name = "model.layers.1.mlp.down_proj.weight"
        assert np.array_equal(target.raw(name), FORMATS["mq4g256"].pack(rotate(source.f32(name)), search=True))
        assert all(target.info(n).offset % ALIGNMENT == 0 for n in target.names())
    with safe_open(path, "np") as library:
        assert library.get_tensor(name).shape == (256, 2 * 136)
    add_report(path, {"perplexity": 3.5})
    with open_checkpoint(tmp_path) as target:
        assert report_of(target.metadata) == {"perplexity": 3.5}
        assert np.array_equal(target.f32("model.norm.weight"), open_checkpoint(llama).f32("model.norm.weight"))


def test_quantizing_again_keeps_what_fits(llama, tmp_path):
    converted(llama, tmp_path / "a", "mq4g256")
    converted(tmp_path / "a", tmp_path / "b", "mq4g256")
    assert (tmp_path / "a/model.safetensors").read_bytes()[-9999:] == (tmp_path / "b/model.safetensors").read_bytes()[
        -9999:
    ]
    converted(llama, tmp_path / "six", "mq6g256")
    converted(tmp_path / "six", tmp_path / "c", "hfc4")
    with open_checkpoint(tmp_path / "c") as target, open_checkpoint(tmp_path / "six") as source:
        name = "model.layers.1.mlp.down_proj.weight"
        assert (target.info(name).format, source.info(name).format) == ("hfc4", "mq6g256")
        with open_checkpoint(llama) as first:  # rotated back, so both are near the first
            assert distance(target.f32(name), first.f32(name)) < 0.2


def test_rows_that_fit_no_block(tmp_path):
    source = write_model(tmp_path / "source", hidden_size=192, intermediate_size=256)
    with open_checkpoint(source) as checkpoint:
        made = plan(checkpoint, "mq4g256")
        assert {t.name.split(".")[-2]: t.format for t in made.tensors if "proj" in t.name} == {
            "q_proj": "q5_0", "k_proj": "q5_0", "v_proj": "q5_0", "gate_proj": "q5_0", "up_proj": "q5_0",
            "o_proj": "mq4g256", "down_proj": "mq4g256",
        }  # fmt: skip
        assert "no multiple of 256" in made.choices["model.layers.0.mlp.up_proj.weight"].reason
        odd = checkpoint.info("model.layers.0.mlp.up_proj.weight")
        assert choose(type(odd)("w", "f32", (8, 40), 0, 1280, 160), "hfc4").format == "bf16"
    converted(source, tmp_path / "out", "mq4g256")
    assert distance(interpreted(tmp_path / "out"), interpreted(source)) < 0.8


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(bad, tmp_path):
    source = write_model(tmp_path / "source")
    with safe_open(source / "model.safetensors", "np") as file:
        tensors = {name: file.get_tensor(name).copy() for name in file.keys()}
    tensors["model.layers.1.mlp.up_proj.weight"][7, 3] = bad
    save_file(tensors, source / "model.safetensors")
    with pytest.raises(HfcError, match="'model.layers.1.mlp.up_proj.weight' has NaN or infinity in row 7"):
        converted(source, tmp_path / "out", "hfc4")
    assert not (tmp_path / "out/model.safetensors").exists()


def test_a_full_disk_says_what_is_kept_and_is_gone_on_with(llama, tmp_path, monkeypatch):
    whole = converted(llama, tmp_path / "whole", "mq4g256").read_bytes()
    written, write = [], os.pwrite

    def full_after_a_while(file, data, offset):
        if len(written) == 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(offset)
        return write(file, data, offset)

    monkeypatch.setattr(os, "pwrite", full_after_a_while)
    message = "(?s)model.safetensors: cannot write the model: No space left.*[.]model.safetensors.partial.*the same command goes on"
    with open_checkpoint(llama) as checkpoint, pytest.raises(HfcError, match=message):
        quantize(checkpoint, plan(checkpoint, "mq4g256"), tmp_path / "out")
    monkeypatch.undo()
    assert converted(llama, tmp_path / "out", "mq4g256").read_bytes() == whole


def test_unfinished_files_are_not_written_through_links(llama, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "out" / ".model.safetensors.partial").symlink_to(tmp_path / "victim")
    with open_checkpoint(llama) as checkpoint, pytest.raises(HfcError, match="cannot write the model"):
        quantize(checkpoint, plan(checkpoint, "mq4g256"), tmp_path / "out")
    assert (tmp_path / "victim").read_text() == "mine"


def test_an_interrupted_run_leaves_nothing_and_is_gone_on_with(llama, tmp_path, monkeypatch):
    whole = converted(llama, tmp_path / "whole", "mq4g256").read_bytes()
    seen = []

    def stop_after(done, total):
        seen.append(done)
        if len(seen) == 6:
            raise KeyboardInterrupt

    with open_checkpoint(llama) as checkpoint:
        made = plan(checkpoint, "mq4g256")
        with pytest.raises(KeyboardInterrupt):
            quantize(checkpoint, made, tmp_path / "cut", stop_after)
        assert not (tmp_path / "cut/model.safetensors").exists()
        with pytest.raises(HfcError, match="model.safetensors"):
            open_checkpoint(tmp_path / "cut")
        written, write = [], Writer.write
        monkeypatch.setattr(
            Writer, "write", lambda self, piece, *rest: (written.append(piece), write(self, piece, *rest))
        )
        path = quantize(checkpoint, made, tmp_path / "cut")
    assert path.read_bytes() == whole
    assert 0 < len(written) <= len(made.tensors) - 6
    assert sorted(p.name for p in (tmp_path / "cut").iterdir()) == ["config.json", "model.safetensors"]


def test_damage_is_named(llama, tmp_path):
    path = converted(llama, tmp_path, "hfc4")
    data = path.read_bytes()
    path.write_bytes(data.replace(b'\\"format\\": \\"hfc4\\"', b'\\"format\\": \\"hfc9\\"', 1))
    with pytest.raises(HfcError, match="no format and shape that this hfc knows"):
        open_checkpoint(path)
    path.write_bytes(data.replace(b"[512, 256]}", b"[511, 256]}", 1))
    with pytest.raises(HfcError, match="takes"):
        open_checkpoint(path)
    path.write_bytes(data[:-5000])
    with pytest.raises(HfcError, match="truncated"):
        open_checkpoint(path)


def test_gguf_becomes_a_container_with_its_vocabulary(hfc, smollm2_gguf, tmp_path):  # noqa: F811
    code, out, err = hfc("quantize", smollm2_gguf, "--format", "hfc4", "-o", tmp_path / "out")
    assert code == 0 and "bits a weight" in out, err
    code, text, err = hfc("run", tmp_path / "out", "--raw", "The capital of France is", "--temperature", 0, "-n", 6)
    assert code == 0 and "Paris" in text, err
    found = json.loads(hfc("inspect", tmp_path / "out", "--json")[1])
    assert found["kind"] == "gguf" and found["formats"]["hfc4"]["tensors"] == 30  # the others have rows of 576
    assert found["bits_per_weight"] < 7


def test_what_stays_because_it_has_fewer_bits_is_said(hfc, llama, tmp_path):  # noqa: F811
    """More bits than a weight has bring nothing back."""
    small = converted(llama, tmp_path, "hfc4").parent
    code, out, err = hfc("quantize", small, "--format", "q8_0", "-o", tmp_path / "again")
    counted = int(re.search(r"  hfc4 +(\d+) tensors", out)[1])
    assert code == 0 and f"  {counted} tensors stay as they are: stored in fewer bits than q8_0 has" in out, err
    assert "stay as they are" not in hfc("quantize", llama, "--format", "q8_0", "-o", tmp_path / "other")[1]


@pytest.mark.parametrize(("format", "huge"), [("f16", 7e4), ("q8_0", 1e7), ("hfc4", 1e9), ("mq4g256v2", 1e9)])
def test_a_number_that_does_not_fit_names_tensor_and_row(format, huge, tmp_path):
    source = write_model(tmp_path / "source")
    with safe_open(source / "model.safetensors", "np") as file:
        tensors = {name: file.get_tensor(name).copy() for name in file.keys()}
    tensors["model.layers.1.mlp.up_proj.weight"][7, 3] = huge
    save_file(tensors, source / "model.safetensors")
    with pytest.raises(HfcError, match=f"'model.layers.1.mlp.up_proj.weight' has .* in row 7, which {format} cannot"):
        converted(source, tmp_path / "out", format)
    assert not (tmp_path / "out/model.safetensors").exists()
    converted(source, tmp_path / "kept", format, keep=[("*layers.1.mlp.up_proj*", "source")])


def test_command(hfc, llama, tmp_path):  # noqa: F811
    code, out, _ = hfc("quantize", llama, "--format", "mq4g256v2", "--dry-run", "--keep", "*q_proj*=q8_0")
    assert code == 0 and "tables and the head" in out and "--keep *q_proj*" in out
    assert "did you mean 'hfc4'" in hfc("quantize", llama, "--format", "hfc5")[2]
    assert "cannot quantize to q6_k" in hfc("quantize", llama, "--format", "q6_k", "-o", tmp_path)[2]
    assert "PATTERN=FORMAT" in hfc("quantize", llama, "--format", "hfc4", "--keep", "x")[2]
    assert "its own target" in hfc("quantize", llama, "--format", "hfc4", "-o", llama)[2]
    assert "f32" in hfc("inspect", llama)[1]


def test_sharded_sources(llama, tmp_path):
    """An index and two shards give the file that the single source gives."""
    whole = converted(llama, tmp_path / "whole", "mq4g256")
    with safe_open(llama / "model.safetensors", "np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    names, source = list(tensors), tmp_path / "source"
    source.mkdir()
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for shard, mine in shards.items():
        save_file({name: tensors[name] for name in mine}, source / shard)
    index = {
        "metadata": {},
        "weight_map": {name: shard for name in names for shard, mine in shards.items() if name in mine},
    }
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    (source / "config.json").write_bytes((llama / "config.json").read_bytes())
    found = converted(source, tmp_path / "found", "mq4g256")
    with open_checkpoint(found) as one, open_checkpoint(whole) as other:
        assert sorted(one.names()) == sorted(other.names())
        assert all(np.array_equal(one.raw(name), other.raw(name)) for name in one.names())
    (source / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(HfcError, match="model-00002-of-00002.safetensors"):
        converted(source, tmp_path / "no", "mq4g256")


def test_the_report_stays_in_the_file(hfc, folder, llama, tmp_path):  # noqa: F811
    source = write_model(tmp_path / "source", vocab_size=json.loads((folder / "config.json").read_text())["vocab_size"])
    (source / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    code, out, err = hfc("quantize", source, "--format", "mq4g256v2", "-o", tmp_path / "out", "--eval", 80)
    assert code == 0 and "KL divergence" in out, err
    report = json.loads(hfc("inspect", tmp_path / "out", "--json")[1])["report"]
    again = json.loads(hfc("eval", tmp_path / "out", "--against", source, "-n", 80, "--json")[1])
    assert report["tokens"] == 80 and report["kl_mean"] > 0
    assert {key: again[key] for key in report if key in again and key != "text"} == pytest.approx(
        {k: v for k, v in report.items() if k in again and k != "text"}
    )
    text = hfc("inspect", tmp_path / "out")[1]
    assert "kl_mean" in text and f"{report['perplexity']}" in text
    # the header with its report is still a header
    model = load(compile_model(tmp_path / "out", ["host"], CompileOptions(ctx=64)), "host", 1)
    assert model.vocab == 128


@pytest.mark.parametrize(
    "wanted, columns, stored",
    [("q4_k", 256, "q4_k"), ("q4_k", 64, "q5_0"), ("q6_k", 64, "q8_0"), ("q8_0", 4, "bf16"), ("f16", 3, "f16")],
)
def test_rows_shorter_than_a_block_are_stored_in_the_next_larger_format(wanted, columns, stored):
    assert fitting_format(wanted, columns) == stored
