"""`hfc new-model` begins a file that parses and leaves nothing out; `hfc check-model` says all that is wrong with one."""

import json
import re
from pathlib import Path

import pytest
from model_reference import MODELS

from hfc.cli import check_model, new_model
from hfc.compiler import open_source
from hfc.formats.checkpoint import open_checkpoint
from hfc.frontend.evaluate import names_in
from hfc.frontend.parse import parse
from hfc.frontend.skeleton import skeleton

OLMO = MODELS / "olmo2"
DOCS = Path(__file__).parent.parent / "docs" / "add-a-model.md"


@pytest.fixture
def olmo(tmp_path) -> Path:
    """The model file that the docs write."""
    path = tmp_path / "olmo2.hfm"
    path.write_text("\n".join(re.findall(r"```hfm\n(.*?)```", DOCS.read_text(), re.S)))
    return path


def test_every_key_and_tensor_is_in_the_beginning_of_a_model_file(tmp_path, capsys):
    out = tmp_path / "begun.hfm"
    new_model.command(str(OLMO), out, False)
    text = out.read_text()
    assert (
        "    usual hidden, layers, ffn, vocab, heads, kv_heads, eps, theta, context, tied, scaled\n" in text
        and "    head      = hidden // heads   # ? the config has no head_dim" in text
        and 'require hidden_act == "silu"   # ?' in text
    )
    for tensor in open_checkpoint(OLMO).names():
        assert re.sub(r"^(model\.)?(layers\.\d+\.)?", "", tensor) in text, tensor
    assert "[kv_heads * head, hidden]" in text and "not read by this graph yet: post_feedforward_layernorm" in text
    with pytest.raises(Exception, match="exists already"):
        new_model.command(str(OLMO), out, False)
    with pytest.raises(SystemExit):
        check_model.command(str(out), str(OLMO), "gfx1100")
    assert "rms_norm: x is f32[T, 4, 16], weight is f32[64]" in capsys.readouterr().out


def test_a_config_alone_and_a_layer_of_experts(tmp_path, capsys):
    config = {"model_type": "odd", "hidden_size": 8, "num_hidden_layers": 2, "vocab_size": 16, "num_experts": 4,
              "max_position_embeddings": 64, "strange_factor": 2.5, "layers_that_differ": [1]}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    new_model.command(str(tmp_path / "config.json"), None, False)
    text = capsys.readouterr().out
    assert "require strange_factor == 2.5   # ?" in text and "# ? layers_that_differ is [1]" in text
    assert (
        re.search(r"usual hidden, layers, .*\bexperts, scaled\n", text)
        and "give a checkpoint beside the config" in text
    )


def test_a_right_file_is_checked_to_the_end(olmo, capsys):
    check_model.command(str(olmo), str(OLMO), "gfx1100")
    found = capsys.readouterr().out
    assert "are described" in found and re.search(r"2 layers of \d+ launches: linear", found)
    assert "relative L2" in found and "equal" in found or "not compared" in found


def test_all_that_is_missing_is_said_with_its_line(olmo, capsys):
    text = olmo.read_text()
    olmo.write_text(text.replace('"self_attn.q_norm.weight"', '"self_attn.query_norm.weight"').replace("[ffn, hidden]", "[ffn + 1, hidden]"))  # fmt: skip
    with pytest.raises(SystemExit):
        check_model.command(str(olmo), str(OLMO), "gfx1100")
    found = capsys.readouterr().out
    assert "(and 1 more like it)" in found and "layers.0.self_attn.query_norm.weight" in found
    assert re.search(r"olmo2.hfm:\d+:\d+: error", found) and "97" in found
    olmo.write_text(text.replace("ignore attention_dropout", "").replace('require hidden_act == "silu" and', "require"))
    with pytest.raises(SystemExit):
        check_model.command(str(olmo), str(OLMO), "gfx1100")
    assert "has the key 'hidden_act'" in capsys.readouterr().out


def test_the_problems_of_a_right_file_are_none(olmo):
    assert check_model.problems(open_source(olmo, OLMO)) == []


class Tensors:
    """Names and shapes alone."""

    def __init__(self, shapes: dict[str, tuple[int, ...]]):
        self._shapes = shapes

    def names(self):
        return list(self._shapes)

    def info(self, name: str):
        return type("Facts", (), {"shape": self._shapes[name], "format": "f32"})()


GPT2 = {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "vocab_size": 80,
        "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new"}  # fmt: skip
LLAMA = {"model_type": "odd", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
         "vocab_size": 80, "hidden_activation": "gelu_pytorch_tanh", "lru_width": 32}  # fmt: skip


def llama_tensors(stem: str) -> dict[str, tuple[int, ...]]:
    """Two layers below `stem`, whose keys differ in size."""
    found = {}
    for i in range(2):
        found |= {f"{stem}.{i}.attn.{n}_proj.weight": (32, 32) for n in "qvo"}
        found |= {f"{stem}.{i}.attn.k_proj.weight": (32 >> i, 32), f"{stem}.{i}.mlp.down_proj.weight": (32, 48)}
        found |= {f"{stem}.{i}.mlp.{n}_proj.weight": (48, 32) for n in ("gate", "up")}
    return found


@pytest.mark.parametrize("stem", ["transformer.h", "model.decoder.layers", "gpt_neox.layers", "model.layers", "blocks"])
def test_layers_are_seen_below_any_running_number(stem):
    text = skeleton(LLAMA, Tensors(llama_tensors(stem)), "x")
    assert text.count("_proj.weight") == 7 and "layers only" not in text
    shown = "attn.q_proj.weight" if stem == "model.layers" else f"/{stem}.{{i}}.attn.q_proj.weight"
    assert re.search(rf'  weights layer i\n(.*\n)*.* "{re.escape(shown)}"', text)


@pytest.mark.parametrize(
    ("name", "shape", "role"),
    [
        ("transformer.wte.weight", (80, 32), "embed"),
        ("gpt_neox.embed_in.weight", (80, 32), "embed"),
        ("transformer.word_embeddings.weight", (80, 32), "embed"),
        ("transformer.wpe.weight", (64, 32), "places"),
        ("transformer.ln_f.weight", (32,), "final_norm"),
        ("embed_out.weight", (80, 32), "lm_head"),
    ],
)
def test_tensors_of_the_whole_model_have_roles(name, shape, role):
    text = skeleton(GPT2, Tensors({name: shape, "h.0.w.bias": (32,), "h.1.w.bias": (32,)}), "x")
    assert re.search(rf'\n    {role} .*"/{re.escape(name)}"', text) and re.search(r"\n    w_bias ", text)


@pytest.mark.parametrize(
    "tensors", [None, {}, {"h.0.c.weight": (32, 96), "h.1.c.weight": (32, 96)}, llama_tensors("h")]
)
@pytest.mark.parametrize("config", [GPT2, LLAMA])
def test_a_begun_graph_names_only_what_is_declared(config, tensors):
    text = skeleton(config, None if tensors is None else Tensors(tensors), "x")
    model = parse(text, "begun.hfm")
    declared = {name for table in model.weights for row in table.rows for name in row.names}
    declared |= {name for block in model.configs for setting in block.settings for name in setting.names}
    ours = {"tokens", "x", "i", "angles", "q", "k", "v", "kv", "h"}
    for function in (*model.functions.values(), model.graph):
        used = {n for statement in function.body for n in names_in(statement)} - ours - set(model.functions)
        calls = set(re.findall(r"(\w+)\(", text))
        assert used - calls <= declared, (used - calls - declared, text)


def test_what_the_config_does_not_say_is_marked():
    text = skeleton(GPT2, Tensors({"wte.weight": (80, 32), "h.0.c.weight": (32, 96), "h.1.c.weight": (32, 96)}), "x")
    for name in ("ffn:", "kv_heads  = heads", "head      = hidden // heads", "theta     = 10000", "tied      = true"):
        assert re.search(rf"    (# \? )?{re.escape(name)}.*\?? the config has no ", text), name
    assert "96 may be 3 * hidden" in text and "context   = n_positions\n" in text
    assert re.search(r"context   = 2048   # \? the config has no max_position_embeddings", skeleton(LLAMA, None, "x"))


def test_ambiguous_sizes_and_sizes_by_layer_are_marked():
    text = skeleton(LLAMA, Tensors({**llama_tensors("h"), "h.0.mix.weight": (32, 7), "h.1.mix.weight": (32, 7)}), "x")
    assert re.search(r"k_proj .*# \? sizes differ by layer: \[32, 32\], \[16, 32\]", text)
    assert re.search(r"mix .*# \? hidden may be lru_width; 7 is no setting yet", text)
    assert not re.search(r"q_proj .*\?.*\n", text.split("weights layer i")[1].split("layer self_attention")[0])


def test_another_activation_than_silu_stands_in_the_graph_and_is_marked():
    text = skeleton(LLAMA, Tensors(llama_tensors("h")), "x")
    assert re.search(r'gelu_tanh\(linear\(x, gate_proj\)\).*# \? hidden_activation is "gelu_pytorch_tanh"', text)
    text = skeleton({**LLAMA, "hidden_activation": "xielu"}, Tensors(llama_tensors("h")), "x")
    assert re.search(r'silu\(linear\(x, gate_proj\)\).*# \? hidden_activation is "xielu"', text)


def test_a_part_of_each_head_that_is_turned_is_marked():
    """It changes every product of queries and keys, and stands where scaling does."""
    rope = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.25}
    text = skeleton({**LLAMA, "rope_parameters": rope}, Tensors(llama_tensors("h")), "x")
    assert "require rope_parameters.partial_rotary_factor == 0.25   # ?" in text and "rope_type" not in text
    assert "partial" not in skeleton({**LLAMA, "rope_parameters": rope | {"partial_rotary_factor": 1.0}}, None, "x")
