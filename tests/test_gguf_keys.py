"""Keys of GGUF files that change what a model computes: each is read, or refused by its name. Keys as llama.cpp b11434 reads them."""

import pytest
from family_fixture import Fixture

from hfc.base.diagnostics import HfcError
from hfc.formats.checkpoint.checkpoint import open_checkpoint


def settings(name: str, changes: dict) -> dict:
    """Of a family's file, with other metadata; a key with None is left out."""
    checkpoint = open_checkpoint(Fixture(name).gguf)
    arch = checkpoint.config["general.architecture"]
    config = {**checkpoint.config, **{f"{arch}.{key}": value for key, value in changes.items()}}
    config = {key: value for key, value in config.items() if value is not None}
    return Fixture(name).source.model.settings(config, "gguf", checkpoint)


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        *((name, {"rope.dimension_count": 2}, "rope.dimension_count is 2")
          for name in ("falcon_h1", "lfm2", "lfm2_moe", "olmo2", "exaone4", "falcon")),
        ("granitemoehybrid", {"rope.scaling.finetuned": True, "rope.dimension_count": 2}, "rope.dimension_count is 2"),
        ("granitemoe", {"rope.scaling.finetuned": False}, "rope.scaling.finetuned is false"),
        ("qwen2", {"rope.scaling.attn_factor": 1.2}, "attn_factor"),
        ("qwen2", {"rope.scaling.yarn_attn_factor": 1.2}, "attention_factor"),
        ("mixtral", {"expert_weights_norm": False}, "expert_weights_norm"),
        ("mixtral", {"expert_weights_norm": True}, "expert_weights_norm"),
        ("mixtral", {"expert_weights_scale": 2.5}, "expert_weights_scale"),
        ("qwen2", {"attention.causal": False}, "attention.causal"),
        ("qwen2", {"attention.sliding_window": 4096}, "attention.sliding_window"),
        ("gpt2", {"attention.max_alibi_bias": 8.0}, "attention.max_alibi_bias"),
        ("mpt", {"attention.max_alibi_bias": 0.0}, "most is 0"),
        ("falcon", {"tensor_data_layout": "other"}, "tensor_data_layout"),
        ("gemma2", {"attention.sliding_window_pattern": 3}, "attention.sliding_window_pattern"),
    ],
)  # fmt: skip
def test_what_would_compute_something_else_is_refused_by_name(name, changes, said):
    with pytest.raises(HfcError, match=said):
        settings(name, changes)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("qwen2", {"rope.scaling.type": "none", "rope.scaling.factor": 4.0, "rope.scaling.attn_factor": 1.0}),
        ("qwen2", {"rope.scaling.finetuned": True, "rope.scaling.original_context_length": 256}),
        ("qwen2", {"expert_count": 0, "expert_weights_norm": True}),
        ("qwen2", {"rope.dimension_sections": [4, 4, 0, 0], "pooling_type": 0, "attention.causal": True}),
    ],
)  # fmt: skip
def test_what_changes_nothing_is_left_out(name, changes):
    assert settings(name, changes) == settings(name, {})


@pytest.mark.parametrize("name", ("exaone4", "olmo3", "cohere2", "gemma3n"))
def test_which_layers_slide_is_a_list_or_a_period(name):
    """Files without it have the family's period, those of Gemma 3n have a list."""
    layers = settings(name, {})["layers"]
    listed = [at % 2 == 0 for at in range(layers)]
    assert [
        kind.startswith("sliding") for kind in settings(name, {"attention.sliding_window_pattern": listed})["kind"]
    ] == listed
    period = settings(name, {"attention.sliding_window_pattern": 2})["kind"]
    assert [kind.startswith("sliding") for kind in period] == listed
    if name != "gemma3n":
        kinds = settings(name, {"attention.sliding_window_pattern": None, "attention.sliding_window": 8})["kind"]
        assert [kind.startswith("sliding") for kind in kinds] == [(at + 1) % 4 != 0 for at in range(layers)]


def test_shares_of_experts_follow_the_file():
    for name, usual in (("qwen3_moe", True), ("qwen2_moe", False), ("olmoe", False)):
        assert settings(name, {"expert_weights_norm": None})["shares"] is usual
        assert settings(name, {"expert_weights_norm": not usual})["shares"] is not usual
    assert settings("granitemoehybrid", {"rope.scaling.finetuned": None, "rope.dimension_count": None})["rotated"]
