"""`hfc new-model` begins a file that parses and leaves nothing out; `hfc check-model` says all that is wrong with one."""

import json
import re
from pathlib import Path

import pytest
from model_reference import MODELS

from hfc.cli import check_model, new_model
from hfc.compiler import open_source
from hfc.formats.checkpoint import open_checkpoint

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
        "    usual hidden, layers, ffn, vocab, heads, kv_heads, head, eps, theta, context, tied, scaled\n" in text
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
    assert found.count("query_norm") >= 2 and "layers.0.self_attn.query_norm.weight" in found
    assert re.search(r"olmo2.hfm:\d+:\d+: error", found) and "97" in found
    olmo.write_text(text.replace("ignore attention_dropout", "").replace('require hidden_act == "silu" and', "require"))
    with pytest.raises(SystemExit):
        check_model.command(str(olmo), str(OLMO), "gfx1100")
    assert "has the key 'hidden_act'" in capsys.readouterr().out


def test_the_problems_of_a_right_file_are_none(olmo):
    assert check_model.problems(open_source(olmo, OLMO)) == []
