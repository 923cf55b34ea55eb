"""Small configs of every model that hfc ships, and graphs of them with random weights: no checkpoint needed."""

import numpy as np

from hfc.formats.checkpoint.rope import rope_table
from hfc.frontend.build import build_graph
from hfc.frontend.model import find_model
from hfc.ir.graph import Graph, Op
from hfc.ir.interpret import Interpreter

CONTEXT = 64
ROPE = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.25}
COMMON = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 32, "vocab_size": 160, "rms_norm_eps": 1e-6, "max_position_embeddings": 256, "tie_word_embeddings": True,
    "attention_bias": False,
}  # fmt: skip
DELTA = {
    "linear_conv_kernel_dim": 4, "linear_key_head_dim": 32, "linear_value_head_dim": 32, "linear_num_key_heads": 2,
    "linear_num_value_heads": 6, "layer_types": ["linear_attention", "full_attention"], "rope_parameters": ROPE,
}  # fmt: skip
CONFIGS = {
    "llama": {**COMMON, "hidden_act": "silu", "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}},
    "qwen3": {**COMMON, "hidden_act": "silu", "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}},
    "gemma3_text": {
        **COMMON, "hidden_activation": "gelu_pytorch_tanh", "sliding_window": 5, "query_pre_attn_scalar": 32,
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
    },
    "qwen3_5_text": {**COMMON, **DELTA, "hidden_act": "silu"},
    "qwen3_5_moe_text": {
        **COMMON, **DELTA, "hidden_act": "silu", "num_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 64,
        "shared_expert_intermediate_size": 96,
    },
}  # fmt: skip


def small_graph(model_type: str) -> Graph:
    config = {"model_type": model_type, **CONFIGS[model_type]}
    if model_type == "qwen3_5_moe_text":
        config.pop("intermediate_size")
    return build_graph(find_model(model_type), config, "hf", None, default_format="f32")


def random_weight(op: Op) -> np.ndarray:
    """A weight's value, drawn from its checkpoint recipe's innermost name, so that folded recipes agree with unfolded ones."""
    return evaluate_random(op.attrs["recipe"], op.output.type.shape)


def evaluate_random(recipe, shape) -> np.ndarray:
    params = dict(recipe.params)
    if recipe.op == "rope_table":
        return rope_table(CONTEXT, **params)
    if recipe.op in ("add", "mul", "neg", "exp"):
        x = evaluate_random(recipe.args[0], shape)
        constant = np.float32(params.get("c", 0))
        return {"add": x + constant, "mul": x * constant, "neg": -x, "exp": np.exp(x)}[recipe.op]
    rng = np.random.default_rng(sum(map(ord, str(recipe))))
    return (rng.standard_normal(shape) * (shape[-1] ** -0.5 if len(shape) > 1 else 0.5)).astype(np.float32)


def interpreter(graph: Graph, slots: int = 1) -> Interpreter:
    return Interpreter(graph, random_weight, slots, CONTEXT)
