"""The mistakes that ports of these models make: each must be visible in the fixtures, and absent from the model files.

Every case plants one mistake into a model file and expects logits that are clearly wrong; unchanged they are right.
"""

from dataclasses import replace

import numpy as np
import pytest
from model_reference import MODELS, TOLERANCE, build, interpreter, relative_error

from hfc.formats.checkpoint import open_checkpoint
from hfc.frontend.build import build_graph
from hfc.frontend.model import ModelFile, builtin_folder, find_model
from hfc.frontend.parse import parse
from hfc.ir.ops import definition
from hfc.step import Step

WRONG = 0.02  # relative error that a mistake must exceed: 200 times the tolerance


def planted(model: str, old: str, new: str) -> ModelFile:
    path = builtin_folder() / f"{model}.hfm"
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path.name} has no {old!r}"
    return ModelFile(parse(text.replace(old, new), path.name), path)


def error_of(fixture: str, model: ModelFile | None = None) -> float:
    path = MODELS / fixture
    folder = path if path.is_dir() else path.parent
    with np.load(folder / "reference.npz") as reference:
        logits = interpreter(path, model).run(Step.single(reference["tokens"]))[0]
        return relative_error(logits, reference["prefill_logits"])


CASES = {
    "half_split_rope_llama": ("llama", "llama", '"self_attn.q_proj.weight"  ', 'half_split("self_attn.q_proj.weight", heads)'),
    "half_split_rope_qwen3_5": ("qwen3_5_text", "qwen3_5_text", '"self_attn.k_proj.weight"  ', 'half_split("self_attn.k_proj.weight", kv_heads)'),
    "rope_turns_only_the_rotary_part": ("qwen3_5_text", "qwen3_5_text", "rope_table(rotary, theta, null, scaled)", "rope_table(head, theta)"),
    "llama3_rope_scaling": ("llama", "llama", "rope_table(head, theta, frequency_divisors, scaled)", "rope_table(head, theta)"),
    "gguf_rope_freqs": ("llama/model.gguf", "llama", '"rope_freqs.weight" or null', "null\n  weights ignore | \"rope_freqs.weight\"\n  weights"),
    "gguf_llama_interleaves_q_and_k": ("llama/model.gguf", "llama", 'half_split("attn_q.weight", heads)', '"attn_q.weight"'),
    "one_plus_w_norm": ("qwen3_5_text", "qwen3_5_text", '"input_layernorm.weight" + 1', '"input_layernorm.weight"'),
    "one_plus_w_final_norm": ("qwen3_5_text", "qwen3_5_text", '"norm.weight" + 1 ', '"norm.weight"'),
    "one_plus_w_q_norm": ("qwen3_5_text", "qwen3_5_text", '"self_attn.q_norm.weight" + 1', '"self_attn.q_norm.weight"'),
    "gated_norm_is_plain": ("qwen3_5_text", "qwen3_5_text", '"linear_attn.norm.weight"', '"linear_attn.norm.weight" + 1'),
    "gguf_norms_have_their_one": ("qwen3_5_text/model.gguf", "qwen3_5_text", '"attn_norm.weight"', '"attn_norm.weight" + 1'),
    "gated_query_layout": ("qwen3_5_text", "qwen3_5_text", "split(reshape(linear(x, q_proj), [heads, 2 * head]), [head, head])", "two_halves(linear(x, q_proj))"),
    "gguf_tiles_value_heads": ("qwen3_5_text/model.gguf", "qwen3_5_text", "tiled    = true", "tiled    = false"),
    "hf_groups_value_heads": ("qwen3_5_text", "qwen3_5_text", "tiled    = false", "tiled    = true"),
    "decay_is_minus_exp_a_log": ("qwen3_5_text", "qwen3_5_text", '-exp("linear_attn.A_log")', '-"linear_attn.A_log"'),
    "moe_renormalises": ("qwen3_5_moe_text", "qwen3_5_moe_text", "normalize = true", "normalize = false"),
    "moe_gate_rows_come_first": ("qwen3_5_moe_text", "qwen3_5_moe_text", '"mlp.experts.gate_up_proj"[:, :ffn]', '"mlp.experts.gate_up_proj"[:, ffn : 2 * ffn]'),
    "moe_shared_expert_gate": ("qwen3_5_moe_text", "qwen3_5_moe_text", "sigmoid(linear(x, shared_gate)) * always", "(sigmoid(linear(x, shared_gate)) * 0 + 1) * always"),
    "qwen3_head_norm": ("qwen3", "qwen3", "rms_norm(reshape(linear(x, k_proj), [kv_heads, head]), k_norm, eps)", "reshape(linear(x, k_proj), [kv_heads, head]) + k_norm * 0"),
    "gemma_scales_the_embedding": ("gemma3_text", "gemma3_text", "gather(embed, tokens) * sqrt(hidden)", "gather(embed, tokens)"),
    "gemma_one_plus_w_norm": ("gemma3_text", "gemma3_text", '"post_feedforward_layernorm.weight" + 1', '"post_feedforward_layernorm.weight"'),
    "gemma_window": ("gemma3_text", "gemma3_text", "window = span", "window = 0"),
    "gemma_local_theta": ("gemma3_text", "gemma3_text", "rope_table(head, local_theta)", "rope_table(head, theta)"),
    "gemma_query_scalar": ("gemma3_text", "gemma3_text", "(query_pre_attn_scalar or 256) ** -0.5", "(query_pre_attn_scalar * 0 + head) ** -0.5"),
    "gemma_linear_rope_scaling": ("gemma3_text", "gemma3_text", "rope_table(head, theta, null, scaled)", "rope_table(head, theta)"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_trap(name):
    fixture, model, old, new = CASES[name]
    wrong = planted(model, old, new)
    if "two_halves" in new:
        halves = parse(
            "model m { layer two_halves(y) { q, g = split(y, [heads * head, heads * head])"
            " return reshape(q, [heads, head]), reshape(g, [heads, head]) } graph(t) { return t } }",
            "planted",
        ).functions
        wrong = replace(wrong, syntax=replace(wrong.syntax, functions={**wrong.syntax.functions, **halves}))
    assert error_of(fixture, wrong) > WRONG, "the fixture would not notice this mistake"
    assert error_of(fixture) <= TOLERANCE


@pytest.mark.parametrize("fixture", ["qwen3_5_text", "qwen3_5_text/model.gguf", "qwen3_5_moe_text"])
def test_l2_norm_eps_is_1e_6_added_to_the_sum(fixture):
    """Fixed in the reference, whatever rms_norm_eps is, and under the root of the sum, not of the mean."""
    checkpoint = open_checkpoint(MODELS / fixture)
    config = dict(checkpoint.config)
    for keys in (config, config.get("text_config", {})):
        for key in [k for k in keys if k.endswith(("rms_norm_eps", "layer_norm_rms_epsilon"))]:
            keys[key] = 0.125
    kind = "qwen3_5_moe_text" if "moe" in fixture else "qwen3_5_text"
    graph = build_graph(find_model(kind), config, checkpoint.kind, checkpoint)
    assert {op.attrs["eps"] for op in graph.ops_of("rms_norm")} == {0.125}
    assert {op.attrs["eps"] for op in graph.ops_of("l2_norm")} == {1e-6}
    x = np.full((1, 16), 1e-3, np.float32)
    np.testing.assert_allclose(definition("l2_norm").meaning(x, eps=1e-6), x / np.sqrt(16e-6 + 1e-6), rtol=1e-6)


def test_state_of_a_gguf_and_of_hf_hold_the_same_heads_in_another_order():
    """GGUF position i * k_heads + g is HF head g * r + i."""
    with np.load(MODELS / "qwen3_5_text/reference.npz") as reference:
        tokens = reference["tokens"]
    states = []
    for path in ("qwen3_5_text", "qwen3_5_text/model.gguf"):
        run = interpreter(MODELS / path)
        run.run(Step.single(tokens))
        states.append(run.states["layers.0.memory"][0])
    hf, tiled = states
    for group in range(2):
        for member in range(3):
            assert relative_error(tiled[member * 2 + group], hf[group * 3 + member]) <= TOLERANCE
    assert relative_error(tiled, hf) > WRONG


def test_norm_offsets_may_stand_in_the_graph():
    """`w + 1` in the graph means the same as in the weight table; a pass folds it."""
    text = (builtin_folder() / "qwen3_5_text.hfm").read_text(encoding="utf-8")
    moved = text.replace('"norm.weight" + 1 ', '"norm.weight"').replace(
        "rms_norm(x, final_norm, eps)", "rms_norm(x, final_norm + 1, eps)"
    )
    assert moved != text
    model = ModelFile(parse(moved, "moved.hfm"), builtin_folder() / "qwen3_5_text.hfm")
    assert error_of("qwen3_5_text", model) <= TOLERANCE
    graph, _ = build(MODELS / "qwen3_5_text", model)
    assert graph.ops_of("shift")
