"""A model file of one's own: the ways to bring it, what a bundle keeps of it, and what is said of what it lacks."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from model_reference import MODELS

from hfc.base.diagnostics import HfcError
from hfc.cli import take_model_file
from hfc.cli.interpret import open_interpreted
from hfc.cli.open_model import ModelChoice, open_bundle, resolve
from hfc.compiler import CompileOptions, compile_model, open_source, source_of
from hfc.frontend.build import build_graph
from hfc.frontend.model import _headings, builtin_folder, find_model, load_model, read_model
from hfc.ir.interpret import Interpreter
from hfc.plan import Bundle
from hfc.runtime.executor import load
from hfc.step import Step

LLAMA = MODELS / "llama"
TOKENS = np.array([5, 17, 3, 9], np.int32)


@pytest.fixture
def private(tmp_path) -> Path:
    """Llama with another activation: what runs it as Llama is wrong."""
    text = (builtin_folder() / "llama.hfm").read_text()
    assert "silu(linear(x, gate_proj))" in text
    path = tmp_path / "mine.hfm"
    path.write_text(text.replace("silu(linear(x, gate_proj))", "gelu(linear(x, gate_proj))"))
    return path


def logits(model) -> np.ndarray:
    found = model.forward(Step.single(TOKENS))
    model.close()
    return found


def test_a_bundle_is_interpreted_from_the_model_file_that_it_carries(private, tmp_path):
    bundle = compile_model(private, ["host"], CompileOptions(weights=LLAMA, ctx=64))
    bundle.save(tmp_path / "mine.hfp")
    private.unlink()
    oracle = open_interpreted(resolve(str(tmp_path / "mine.hfp")), ModelChoice("interpret"), False)
    expected, plan = logits(oracle.model), logits(load(bundle, "host", 1))
    assert np.linalg.norm(plan - expected) <= 5e-3 * np.linalg.norm(expected)
    shipped = logits(load(compile_model(LLAMA, ["host"], CompileOptions(ctx=64)), "host", 1))
    assert np.linalg.norm(shipped - expected) > 0.01 * np.linalg.norm(expected), "the model files do not differ"
    assert source_of(bundle).model.text != (builtin_folder() / "llama.hfm").read_text()
    with pytest.raises(HfcError, match="does not carry its model file"):
        source_of(Bundle(bundle.model, bundle.plans, {}))


def test_a_model_file_for_one_command_and_a_folder_for_all(private, tmp_path, monkeypatch):
    monkeypatch.setenv("HFC_MODEL_FILE", "")
    assert take_model_file(["run", "--model-file", str(private), "x"]) == ["run", "x"]
    assert Path(os.environ["HFC_MODEL_FILE"]) == private
    assert open_source(LLAMA).model.path == private
    bundle = compile_model(LLAMA, ["host"], CompileOptions(ctx=64))
    bundle.save(tmp_path / "b.hfp")
    with pytest.raises(HfcError, match="is compiled already"):
        open_bundle(resolve(str(tmp_path / "b.hfp")), ModelChoice())
    monkeypatch.setenv("HFC_MODEL_FILE", "")
    assert open_source(LLAMA).model.path != private
    monkeypatch.setenv("HFC_MODELS", str(private.parent))
    assert open_source(LLAMA).model.path == private
    monkeypatch.setenv("HFC_MODELS", str(private.parent / "nowhere"))
    with pytest.raises(HfcError, match="there is no such folder"):
        open_source(LLAMA)
    for words in (["run", "--model-file"], ["run", "--model-file=no.hfm"]):
        with pytest.raises(HfcError, match="--model-file"):
            take_model_file(words)
    assert take_model_file(["run", "--", "--model-file"]) == ["run", "--", "--model-file"]


def test_an_unknown_type_is_no_other_family():
    with pytest.raises(HfcError) as error:
        find_model("qwen3_omni")
    assert "docs/add-a-model.md" in str(error.value) and "--model-file" in str(error.value)
    assert "qwen3'" not in str(error.value) and "did you mean" not in str(error.value)
    with pytest.raises(HfcError, match="did you mean 'qwen3'"):
        find_model("Qwen3")


CONFIG = {"n": 8, "v": 16, "c": 32, "deep": {"1": {"size": 8}}, "list": [{"size": 8}]}
FRAME = """model m {
  config hf { hidden = n layers = 1 vocab = v context = c inner = deep.1.size also = list.0.size }
  weights embed [vocab, hidden] "embed.weight"
    w [hidden, hidden] "w.weight"
    stacked [2, hidden, hidden] stack(e in 2, "all.weight"[e * hidden : (e + 1) * hidden]) | null
  graph(tokens) {
    x = gather(embed, tokens)
    state kv = f32[hidden, 1]
    %s
    return linear(x, embed)
  }
}"""


def built(statement: str):
    return build_graph(read_model(FRAME % statement, Path("m.hfm")), CONFIG, "hf")


@pytest.mark.parametrize(
    "statement, message, hint",
    [
        ("x = min(x, 7)", r"min works on numbers, not on tensors: min\(f32\[T, 8\], 7\)", r"clamp\(x, high = 7\)"),
        ("x = max(0, x)", "max works on numbers", "relu"),
        ("x = len([x])", "len works on numbers", ""),
        ("x = x if x else x", "neither true nor false", ""),
        ("x = x if not x else x", "neither true nor false", ""),
        ("x = x if x and true else x", "neither true nor false", ""),
        ("x = x > 3", "tensors have no operator '>'", ""),
        ("x = x ** 2", r"tensors have no operator '\*\*'", r"x \* x"),
        ("x = x if x == 1 else x", "tensors have no operator '=='", "choose between elements"),
        ("x = square(x)", "unknown function or op 'square'", r"x \* x"),
        ("x = torch.where(x, x, 0)", "unknown function or op 'torch.where'", "choose between elements"),
        ("x = x.abs()", "unknown function or op 'x.abs'", r"relu\(x\) \+ relu\(-x\)"),
        ("x = transpose(x)", "unknown function or op 'transpose'", "weight table"),
        ("x = dropout(x)", "unknown function or op 'dropout'", "it changes nothing here"),
        ("x = x * null", r"cannot compute f32\[T, 8\] \* null", "lacks"),
        ("x = concat(x, x)", r"concat takes \(parts\), got 2 values", r"concat\(\[x, y\]\)"),
        ("x = kv + 1", r"a state has no arithmetic, found the state f32\[S, 8, 1\] \+ 1", "recall"),
        ("x = -kv", "a state has no arithmetic", "recall"),
        ('x = x * ("a" - 1)', "cannot compute this from \"a\", 1: they do not go together", ""),
        ("x = gelu_new(x)", "unknown function or op 'gelu_new'", r"gelu_tanh\(x\)"),
        ("x = LayerNorm(x)", "unknown function or op 'LayerNorm'", r"layer_norm\(x, weight, bias, eps\)"),
        ("x = matmul(x, w)", "unknown function or op 'matmul'", r"linear\(x, w\)"),
        ("x = silo(x)", "unknown function or op 'silo'", "did you mean 'silu'"),
        ("x = linear(x, sigmoid(w))", "w must be a weight or a table, found f32", "weight table"),
        ("x = linear(reshape(x, [2, 4]), w)", r"linear: x is f32\[T, 2, 4\]; it must be \[T, 8\]", ""),
        ("x = rms_norm(w, eps = 1e-6)", "which has no rows", ""),
        ("x = x + argmax(x)", "arithmetic needs numbers", ""),
        ("x = reshape(x, [1, 8]) + x", "reshape the one with fewer axes", ""),
    ],
)  # fmt: skip
def test_messages_speak_the_language(statement, message, hint):
    with pytest.raises(HfcError, match=message) as error:
        built(statement)
    assert error.value.span is not None and error.value.span.line == 9, "the message has its place"
    assert not hint or re.search(hint, error.value.hint or ""), error.value.hint
    assert "'int'" not in str(error.value) and "Value" not in str(error.value)


def test_a_number_over_a_tensor_is_each_element_s():
    x, expected = built("x = x + 3"), built("x = 2 / (x + 3)")
    model = [Interpreter(graph, lambda op: np.full(op.output.type.shape, 0.5, np.float32)) for graph in (x, expected)]
    plain, over = (m.run(Step.single([1, 2]))[0] for m in model)
    assert plain.shape == over.shape and plain[0, 0] == 8 * 0.5 * 3.5 and over[0, 0] == np.float32(8 * 0.5 * 2 / 3.5)


def test_numbers_in_keys_and_the_variable_of_a_stack():
    graph = built("x = x + gather(embed, tokens) * inner + also")
    assert graph.outputs[0].type.shape == ("T", 16)
    text = (
        FRAME
        % "s, ids = route(linear(x, w), 1)\n    y = weighted_sum(expert_linear(x, stacked, ids), s)\n    x = x + y"
    )
    graph = build_graph(read_model(text, Path("m.hfm")), CONFIG, "hf")
    stacked = next(op for op in graph.ops if op.kind == "weight" and op.attrs["name"] == "stacked")
    assert "start=8, stop=16" in str(stacked.attrs["recipe"])


def test_half_of_a_family_names_the_tensor_and_the_row(tmp_path):
    config = json.loads((LLAMA / "config.json").read_text())
    folder = tmp_path / "cut"
    folder.mkdir()
    for path in LLAMA.iterdir():
        if path.suffix == ".safetensors":
            (folder / path.name).symlink_to(path)
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": config["num_hidden_layers"] - 1}))
    with pytest.raises(HfcError, match="one more of those that this row reads") as error:
        open_source(folder).graph()
    assert error.value.span is not None and "layers.1" in str(error.value)
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": config["num_hidden_layers"] + 1}))
    with pytest.raises(HfcError, match="the checkpoint has no tensor 'model.layers.2") as error:
        open_source(folder).graph()
    assert error.value.span is not None and "llama.hfm" in error.value.span.file


def test_the_names_of_a_file_are_found_without_parsing_it(tmp_path):
    for path in builtin_folder().glob("*.hfm"):
        model = load_model(path)
        names, is_draft = _headings(path, 0)
        assert (
            set(names) == {model.name, *model.model_types, *model.gguf_architectures} and is_draft == model.is_draft
        ), path
    (tmp_path / "bad.hfm").write_bytes(b"\xff\xfe")
    assert find_model("llama", [tmp_path]).path.parent == builtin_folder()
