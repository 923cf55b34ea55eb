"""Configs -> settings: no key is dropped silently, defaults and requirements do what they say."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from hfc.base.diagnostics import HfcError
from hfc.frontend.config import settings_of
from hfc.frontend.model import find_model
from hfc.frontend.parse import parse
from hfc.frontend.usual import USUAL, usual_text

LLAMA2 = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": 64, "intermediate_size": 96,
    "max_position_embeddings": 4096, "num_attention_heads": 4, "num_hidden_layers": 2, "num_key_value_heads": 4, "pretraining_tp": 1,
    "rms_norm_eps": 1e-5, "rope_scaling": None, "tie_word_embeddings": False, "torch_dtype": "float16", "use_cache": True,
    "vocab_size": 100, "bos_token_id": 1, "eos_token_id": [2, 7], "transformers_version": "4.31.0",
}  # fmt: skip
SCALING = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}
LLAMA3 = (("kind", "llama3"), *((name, SCALING[name]) for name in SCALING if name != "rope_type"))


def settings(block: str, config: dict, source: str = "hf", checkpoint=None) -> dict:
    text = f"model m {{ config {source} {{ layers = n vocab = 9 context = 9 {block} }} graph(t) {{ return t }} }}"
    text = text.replace("config gguf {", 'config gguf "arch" {')
    return settings_of(parse(text, "m.hfm"), {"n": 2, **config}, source, checkpoint)


@pytest.mark.parametrize(
    "block, config, expected",
    [
        ("x = a or 5", {}, 5),
        ("x = a or 5", {"a": None}, 5),
        ("x = a or 5", {"a": 0}, 0),
        ("x = a or true", {"a": False}, False),
        ("x = a.b.c or a.b2 or 1", {"a": {"b": {"c": 3}, "b2": 4}}, 3),
        ("x = int(a * (f or 0.25)) or 7", {"a": 256}, 64),
        ("x = int(a * f) or 7", {"a": 256}, 7),
        ("x = a == 1 or b == 2", {"a": 1, "b": 3}, True),
        ("x = not (a or false) and b in [1, 2]", {"b": 2}, True),
        ("x = a or null", {}, None),
        ("x = 1 if a == null else 2", {}, 1),
        ("x = 1 if a != null else 2", {"a": 0}, 1),
        ("y = a x = y * 2", {"a": 4}, 8),
        ("w = x = a // 2 % 4", {"a": 13}, 2),
        ("x[i] = l[i] or i + 10", {}, [10, 11]),
        ("x[i] = l[i] or i + 10", {"l": [5, 6]}, [5, 6]),
        ("x = repeated(a, 2)", {"a": 9}, (9, 9)),
        ("x = normal_quantile(a)", {"a": 0.5}, 0.0),
        ("x = sqrt(max(a, 16)) + min(a, 1) - len([1, 2])", {"a": 9}, 3.0),
    ],
)
def test_expressions(block, config, expected):
    found = settings(block, config)["x"]
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    "block, config, message",
    [
        ("x = hiden", {"hidden": 4}, "config.json has the key 'hidden', which the model file does not mention"),
        (
            "x = hiden ignore hidden",
            {"hidden": 4},
            "no key 'hiden', which the model needs\n.*\n.*\n  hint: did you mean 'hidden'",
        ),
        (
            "x = hiden",
            {},
            "no key 'hiden', .*\n.*\n.*\n  hint: where the modelling code has a default, write `hiden or DEFAULT`$",
        ),
        (
            "usual eps",
            {},
            "no key 'rms_norm_eps', .*\n.*\n.*\n  hint: .*`rms_norm_eps or DEFAULT`, in a line of its own in place of `usual`",
        ),
        (
            "require new or (par or true)",
            {"new": False, "par": True},
            "new is false, par is true\n.*\n.*\n  hint: .*write `new == true or ...`",
        ),
        ("require new or (par or true)", {"new": False, "par": False}, "new is false, par is false\n.*\n.*$"),
        ("require par or true", {"par": False}, "par is false\n.*\n.*$"),
        ("ignore b_*", {"a_b": 1}, "'a_b'"),
        ("x = a.b", {"a": {"b": 1, "c": 2}}, "'a.c'"),
        ("x = a + 1", {"a": "s"}, 'cannot compute this from "s", 1'),
        ("x = a // 0", {"a": 4}, "cannot compute this from 4, 0"),
        ("require a == 1", {"a": 2}, "config.json does not fit this model: a is 2"),
        ('require a in ["x", "y"]', {"a": "z"}, 'a is "z"'),
        ("require a == 1", {}, "no key 'a'"),
        ("x = repeated(1, a)", {"a": -1}, "cannot compute this from 1, -1"),
        ("x = f(1)", {}, "only int, sqrt, log, min, max, len, normal_quantile, repeated, moved may be called here"),
        ("x = a[2]", {"a": [1, 2]}, "index 2 is outside of a list of 2"),
        ('x = shape("t")[0]', {}, "the checkpoint has no tensor 't'"),
    ],
)
def test_what_does_not_fit_is_an_error_with_its_place(block, config, message):
    import re

    with pytest.raises(HfcError) as caught:
        settings(block, config)
    assert re.search(message if "\n" in message else re.escape(message), str(caught.value)), str(caught.value)
    assert str(caught.value).startswith("m.hfm:1:")


def test_gguf_keys_are_below_the_architecture_and_other_namespaces_are_left_alone():
    config = {
        "general.architecture": "arch", "arch.n": 3, "arch.attention.head_count": 8, "general.name": "x", "tokenizer.ggml.eos_token_id": 7,
        "GGUF.version": 3,
    }  # fmt: skip
    found = settings("heads = attention.head_count", config | {"n": None}, "gguf")
    assert (found["layers"], found["heads"], found["eos_token_id"]) == (3, 8, 7)
    with pytest.raises(HfcError, match="GGUF metadata has the key 'rope.scaling.factor'"):
        settings("heads = attention.head_count", config | {"arch.rope.scaling.factor": 2.0}, "gguf")


def test_a_gguf_of_another_architecture_is_refused():
    with pytest.raises(HfcError, match="model llama does not describe gguf qwen2; expected llama"):
        find_model("llama").settings({"general.architecture": "qwen2"}, "gguf")


def test_every_block_sets_what_the_runtime_needs():
    model = parse("model m { config hf { layers = 1 vocab = 2 } graph(t) { return t } }", "m.hfm")
    with pytest.raises(HfcError, match="must set layers, vocab, context; context is missing"):
        settings_of(model, {}, "hf")


def test_text_config_is_entered_and_keys_beside_it_stand_in():
    inner = {key: value for key, value in LLAMA2.items() if key != "tie_word_embeddings"}
    outer = {
        "model_type": "big",
        "tie_word_embeddings": True,
        "vision_config": {"depth": 3},
        "hidden_size": 1,
        "text_config": inner,
    }
    found = find_model("llama").settings(outer, "hf")
    assert found["tied"] is True and found["hidden"] == 64 and found["eos_token_id"] == [2, 7]


@pytest.mark.parametrize(
    "change, expected",
    [
        ({}, {"theta": 10000, "scaled": None, "head": 16, "tied": False}),
        (
            {"rope_theta": 5e5, "rope_scaling": SCALING},
            {"theta": 5e5, "scaled": LLAMA3},
        ),
        ({"rope_parameters": {"rope_theta": 1e5, **SCALING}}, {"theta": 1e5, "scaled": LLAMA3}),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, {"scaled": (("kind", "linear"), ("factor", 2.0))}),
        ({"head_dim": 32, "num_key_value_heads": None}, {"head": 32, "kv_heads": 4}),
        ({"rope_parameters": {"rope_theta": 1e5, "partial_rotary_factor": 1.0}}, {"theta": 1e5, "scaled": None}),
        ({"rope_interleaved": False, "transformers.js_config": {"dtype": {"a": 1}}}, {"theta": 10000}),  # SmolLM2
    ],
)
def test_llama_configs_of_several_years(change, expected):
    found = find_model("llama").settings({**LLAMA2, **change}, "hf")
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    "change, message",
    [
        ({"hidden_act": "gelu"}, 'hidden_act is "gelu"'),
        ({"mlp_bias": True}, "mlp_bias is true"),
        ({"rope_scaling": {"type": "dynamo", "factor": 2.0}}, "unknown RoPE scaling 'dynamo'"),
        ({"sliding_window": 4096}, "'sliding_window'"),
        (
            {"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}},
            "'rope_parameters.partial_rotary_factor'",
        ),
    ],
)
def test_llama_variants_that_would_compute_something_else_are_refused(change, message):
    with pytest.raises(HfcError) as caught:
        find_model("llama").settings({**LLAMA2, **change}, "hf")
    assert message in str(caught.value)


def test_gemma_multimodal_config_with_little_in_it():
    """google/gemma-3-4b-it: what equals transformers' defaults is left out."""
    config = {
        "architectures": ["Gemma3ForConditionalGeneration"], "boi_token_index": 255999, "eoi_token_index": 256000,
        "eos_token_id": [1, 106], "image_token_index": 262144, "initializer_range": 0.02, "mm_tokens_per_image": 256,
        "model_type": "gemma3", "torch_dtype": "bfloat16", "transformers_version": "4.50.0.dev0",
        "vision_config": {"hidden_size": 1152, "model_type": "siglip_vision_model"},
        "text_config": {
            "hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024,
        },
    }  # fmt: skip
    found = find_model("gemma3").settings(config, "hf")
    assert (found["heads"], found["kv_heads"], found["head"], found["vocab"], found["window"]) == (
        8,
        4,
        256,
        262208,
        1024,
    )
    assert (found["theta"], found["local_theta"], found["scale"]) == (1000000, 10000, 1 / 16)
    assert found["scaled"] == (("kind", "linear"), ("factor", 8.0))
    assert [i for i, kind in enumerate(found["kind"]) if kind == "full_attention"] == [5, 11, 17, 23, 29]


def test_entries_of_one_layer():
    """Mappings are entered by number and by name; one number of a GGUF stands for all layers, a pattern of n for all but each n-th."""
    config = {"n": None, "layers": {"1": {"head_dim": 16}}, "head_dim": 8}
    text = "model m {{ config {0} {{ layers = 4 vocab = 2 context = 9 {1} }} graph(t) {{ return t }} }}"
    model = parse(text.format("hf", 'head[i] = layers_by[i, "head_dim"] or head_dim'), "m.hfm")
    found = settings_of(model, {"layers_by": config["layers"], "head_dim": 8}, "hf")
    assert found["head"] == [8, 16, 8, 8]
    model = parse(text.format('gguf "a"', "kv[i] = kv[i] local[i] = attention.sliding_window_pattern[i]"), "m.hfm")
    keys = {"general.architecture": "a", "a.kv": 3, "a.attention.sliding_window_pattern": 2}
    found = settings_of(model, keys, "gguf")
    assert found["kv"] == [3] * 4 and found["local"] == [True, False, True, False]
    keys |= {"a.kv": [1, 2, 3, 4], "a.attention.sliding_window_pattern": [True, True, False, False]}
    found = settings_of(model, keys, "gguf")
    assert found["kv"] == [1, 2, 3, 4] and found["local"] == [True, True, False, False]


def test_usual_settings_are_the_lines_that_docs_list():
    text = (Path(__file__).resolve().parents[1] / "docs/model-language.md").read_text()
    listed = dict(re.findall(r"^\| `(\w+)` \| `([^|]*)` \| `[^|]*` \|$", text, re.M))
    assert listed == {name: meaning["hf"] for name, meaning in USUAL.items()}
    for source in ("hf", "gguf"):
        (block,) = parse(usual_text(source), "usual.hfm").configs
        assert [setting.names for setting in block.settings] == [(name,) for name in USUAL]


def test_usual_settings_have_their_keys_and_defaults_and_no_others():
    config = {"hidden_size": 64, "num_attention_heads": 4, "head_dim": None}
    found = settings("usual hidden, heads, kv_heads, head x = head * 2", config)
    assert (found["hidden"], found["heads"], found["kv_heads"], found["x"]) == (64, 4, 4, 32)
    with pytest.raises(HfcError, match="has the key 'intermediate_size', which the model file does not mention"):
        settings("usual hidden", {"hidden_size": 64, "intermediate_size": 96})


def test_faults_of_usual_settings_are_those_of_the_line_that_names_them():
    with pytest.raises(HfcError, match=r"m.hfm:1:\d+: error: config.json has no key 'hidden_size'") as missing:
        settings("usual hidden", {})
    assert "  ^^^^^^" in str(missing.value)
    with pytest.raises(HfcError, match="unknown usual setting 'haeds'") as misspelt:
        settings("usual haeds", {})
    assert "did you mean 'heads'" in str(misspelt.value)


def test_a_key_that_is_there_is_not_taken_for_another_one():
    """`max_window_layers` is read and exists: it is no misspelt num_hidden_layers."""
    with pytest.raises(HfcError, match="has the key 'num_hidden_layers'") as error:
        settings("x = max_window_layers", {"max_window_layers": 1, "num_hidden_layers": 2})
    assert "meant to be" not in error.value.hint
    with pytest.raises(HfcError, match="has the key 'num_hidden_layers'") as error:
        settings("x = num_hiden_layers", {"num_hidden_layers": 2})
    assert error.value.hint == "is 'num_hiden_layers' meant to be 'num_hidden_layers'?"


class Tensors:
    def names(self):
        return ["blk.1.extra"]

    def info(self, name):
        return SimpleNamespace(shape=(4, 2))


def test_the_layer_of_a_list_stands_in_the_name_of_a_tensor():
    found = settings('x[i] = "mixture" if (shape("blk.{i}.extra")[0] or 0) > 0 else "mlp"', {}, checkpoint=Tensors())
    assert found["x"] == ["mlp", "mixture"]
