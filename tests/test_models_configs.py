"""The official configs build graphs; their parameters and states are those of the published models."""

import json
import math
from pathlib import Path

import pytest

from hfc.base.diagnostics import HfcError
from hfc.frontend.build import build_graph
from hfc.frontend.model import find_model, model_type_of
from hfc.ir.graph import Graph
from hfc.ir.verify import verify

CONFIGS = Path(__file__).parent / "data/configs"
PARAMETERS = {  # of the text model, without multi-token prediction
    "Qwen3.5-0.8B": 752_393_024,
    "Qwen3.5-2B": 1_881_825_088,
    "Qwen3.5-4B": 4_205_751_296,
    "Qwen3.5-9B": 8_953_803_264,
    "Qwen3.5-27B": 26_895_998_464,
    "Qwen3.6-27B": 26_895_998_464,
    "Qwen3.5-35B-A3B": 34_660_610_688,
    "Qwen3.6-35B-A3B": 34_660_610_688,
    "Qwen3.5-122B-A10B": None,
    "Qwen3.5-397B-A17B": None,
}


def official_config(name: str) -> dict:
    return json.loads((CONFIGS / f"{name}.config.json").read_text())


def official_graph(name: str) -> Graph:
    config = official_config(name)
    return build_graph(find_model(model_type_of(config, "hf")), config, "hf")


@pytest.mark.parametrize("name", PARAMETERS)
def test_official_config_builds_a_graph_with_the_published_size(name):
    graph = official_graph(name)
    verify(graph)
    size = sum(math.prod(op.output.type.shape) for op in graph.ops_of("weight"))
    published = PARAMETERS[name] or float(name.split("-")[1].removesuffix("B")) * 1e9
    assert size == published if PARAMETERS[name] else abs(size / published - 1) < 0.01


def test_state_of_the_smallest_model_is_18_mib_and_6144_elements_a_token():
    states = [op.output.type for op in official_graph("Qwen3.5-0.8B").ops_of("state")]
    memory = sum(4 * math.prod(t.shape[1:]) for t in states if t.dtype == "f32" and len(t.shape) == 4)
    per_token = sum(2 * t.shape[1] * t.shape[3] for t in states if t.dtype == "kv")
    assert (memory, per_token) == (18 << 20, 6144)


def test_settings_name_what_the_runtime_asks_for():
    config = official_config("Qwen3.6-27B")
    settings = find_model("qwen3_5").settings(config, "hf")
    assert settings["context"] == 262144 and settings["vocab"] == 248320 and settings["layers"] == 64
    assert settings["eos_token_id"] == 248044 and settings["kind"].count("full_attention") == 16


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("hidden_act", "gelu", 'hidden_act is "gelu"'),
        ("attention_bias", True, "attention_bias is true"),
        ("mlp_only_layers", [3], "mlp_only_layers is [3]"),
        ("num_hidden_layers", None, "config.json has no key 'num_hidden_layers', which the model needs"),
        ("qk_clip", 1.0, "config.json has the key 'qk_clip', which the model file does not mention"),
        ("num_attention_heads", 0, "a size must be a whole number above 0, found 0"),
        ("rope_parameters", {"rope_type": "yarn", "rope_theta": 1e7}, "yarn RoPE needs factor"),
        (
            "rope_parameters",
            {"rope_type": "yarn", "rope_theta": 1e7, "factor": 4, "beta": 3},
            "parameter of yarn RoPE 'beta'",
        ),
        ("layer_types", ["sliding_attention"] * 24, "'sliding_attention'"),
        ("layer_types", ["full_attention"] * 3, "index 3 is outside of a list of 3"),
    ],
)
def test_an_unexpected_config_is_refused_with_the_key_and_the_line(key, value, message):
    config = official_config("Qwen3.5-0.8B")
    config["text_config"][key] = value
    with pytest.raises(HfcError) as caught:
        build_graph(find_model("qwen3_5"), config, "hf")
    assert message in str(caught.value)
    assert "qwen3_5_text.hfm:" in str(caught.value)


@pytest.mark.parametrize("name", ["qwen4", "lama", "zzzzzzzz"])
def test_an_unknown_model_type_names_the_way_to_add_it_and_no_other_family(name):
    with pytest.raises(HfcError, match=f"no model file describes the model type '{name}'") as refused:
        find_model(name)
    assert "docs/add-a-model.md" in str(refused.value) and "did you mean" not in str(refused.value)
