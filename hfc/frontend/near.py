"""Names that modelling code uses for what this language calls otherwise: nearness in meaning, where spelling misleads."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hfc.base.diagnostics import HfcError, Span, unknown

# What a function of numbers is called when it is meant for tensors.
ON_TENSORS = {
    "min": "the smaller of a tensor and a number is clamp(x, high = 7)",
    "max": "the larger of a tensor and a number is clamp(x, low = 0); relu(x) for 0",
    "len": "sizes are settings of the config block",
}
# Operators that tensors lack, and what says the same.
OPERATORS = {
    "**": "a square is x * x, a root sqrt(x), a power of e exp(x)",
    **dict.fromkeys(
        ("==", "!=", "<", "<=", ">", ">="),
        "relu(x) and clamp(x, low, high) choose between elements; conditions are decided when the graph is built, without its numbers",
    ),
}
CHARACTERS = {
    "@": "a matrix product is linear(x, w)",
    "'": 'strings stand in "double quotes"',
    "^": "a power is written **",
    ";": "a statement ends where the next one begins",
    "!": "it is written not",
    "&": "it is written and",
}
LINES = (  # how lines of other languages look, and what is written here
    (r"\s*(if|elif|else)\b", "a choice is a value: x = a if condition else b; layers that differ are `kind[i](x, i)`"),
    (
        r"\s*(def|class|while|import|from|let|const|var)\b",
        "functions of tensors are `layer name(x, i) { ... return y }`",
    ),
    (r"\s*//", "a comment begins with #"),
    (r"[^=]*\w\s*[-+*/]=(?!=)", "write x = x + y"),
    (r"\s*(for|layer|graph)\b.*:\s*$", "a block stands in { }"),
)
FORMS = {"concat": "concat([x, y])", "flatten": "flatten(x): all axes but the rows"}
MEANT = {
    "silu(x)": ("swish", "swiglu", "SiLU"),
    "gelu_tanh(x)": ("gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_approximate", "NewGELU"),
    "gelu(x)": ("gelu_erf", "gelu_python", "GELU"),
    "x * sigmoid(1.702 * x)": ("quick_gelu", "gelu_quick"),
    "x * x": ("square", "pow", "power"),
    "1 / sqrt(x)": ("rsqrt",),
    "1 / x": ("reciprocal", "inverse"),
    "relu(x) + relu(-x)": ("abs", "fabs", "absolute"),
    "exp(x) - 1": ("expm1",),
    "-softplus(-x)": ("logsigmoid", "log_sigmoid"),
    "x * tanh(softplus(x))": ("mish",),
    "relu(x) - 0.01 * relu(-x)": ("leaky_relu", "leakyrelu"),
    "relu(x) + exp(clamp(x, high = 0)) - 1": ("elu",),
    "clamp(x + 3, 0, 6) / 6": ("hardsigmoid", "hard_sigmoid"),
    "x * clamp(x + 3, 0, 6) / 6": ("hardswish", "hard_swish"),
    "relu(x) and clamp(x, low, high), which choose between elements": ("where", "masked_fill", "torch.where"),
    "x, without it: it changes nothing here": (
        *("dropout", "contiguous", "detach", "clone", "float", "to", "type_as", "half", "identity"),
    ),
    'transpose("name") in the weight table; linear and expert_linear read rows': (
        "transpose",
        "permute",
        "t",
        "swapaxes",
    ),
    "relu(x) * relu(x)": ("relu2", "squared_relu", "relu_squared"),
    "layer_norm(x, weight, bias, eps)": ("layernorm", "LayerNorm", "ln"),
    "rms_norm(x, weight, eps)": ("rmsnorm", "RMSNorm", "rms", "norm"),
    "l2_norm(x, eps)": ("l2norm", "normalize", "F.normalize"),
    "linear(x, w)": ("matmul", "mm", "bmm", "dense", "proj", "Linear", "dot", "einsum", "conv1d_1x1"),
    "reshape(x, [a, b]), flatten(x)": ("view", "unflatten", "unsqueeze", "squeeze", "rearrange"),
    "split(x, [a, b])": ("chunk", "slice", "narrow", "unbind", "tensor_split"),
    "for i in layers: a count, or a list": ("range", "enumerate"),
    "concat([x, y])": ("cat", "stack_last", "hstack", "concatenate"),
    "gather(table, tokens)": ("embedding", "embed_tokens", "lookup", "index_select"),
    "take(x, ids)": ("take_along_dim", "take_along_axis", "gather_scores"),
    "clamp(x, low, high)": ("clip", "minimum", "maximum", "hardtanh", "relu6"),
    "route(logits, top, normalize)": (
        *("topk", "top_k", "router", "moe_gate", "select_experts", "topk_softmax", "fused_topk"),
        *("softmax_topk", "route_tokens_to_experts", "gating"),
    ),
    'route(logits, top, score = "sigmoid", bias = b, groups = n_group, top_groups = topk_group)': (
        *("grouped_topk", "noaux_tc", "group_limited_greedy", "sigmoid_topk", "e_score_correction_bias"),
    ),
    "whole(x)": ("round", "rint", "long", "to_int"),
    'route(logits, top, false, "sparsemixer", jitter = 0.01)': ("sparsemixer", "sparse_mixer"),
    "expert_linear(x, w, experts)": ("moe", "grouped_gemm", "experts_linear", "moe_linear"),
    "attention(q, k, v, kv, scale)": ("sdpa", "scaled_dot_product_attention", "attn", "flash_attention", "self_attn"),
    "attention(q, k, v, kv, scale, sinks = s)": ("attention_sinks", "sink_attention", "softmax_one", "softmax1"),
    "attention(q, k, v, kv, scale, slopes = alibi_slopes(heads))": (
        "alibi",
        "build_alibi_tensor",
        "alibi_bias",
        "get_alibi",
    ),
    "rope(x, rope_table(rotary, theta))": ("rotary", "apply_rotary_pos_emb", "rotary_embedding", "apply_rope"),
    "causal_conv(u, w, window)": ("conv1d", "short_conv", "causal_conv1d", "depthwise_conv"),
    "gated_delta(q, k, v, g, beta, memory)": (
        "delta_rule",
        "gated_delta_rule",
        "deltanet",
        "chunk_gated_delta_rule",
        "kda",
    ),
    "linear_recurrence(C, B, x, dt * A, dt, memory)": (
        "mamba2",
        "ssm_scan",
        "selective_scan",
        "mamba_chunk_scan",
        "ssd",
    ),
    "gather(places, positions(tokens))": ("position_embedding", "embed_positions", "wpe"),
    "positions(tokens)": ("arange", "position_ids", "cumsum"),
    "sum(x), which keeps the axis with size 1": ("reduce_sum", "total"),
    "mean(x), which keeps the axis with size 1": ("reduce_mean", "average", "avg"),
    "softmax(x)": ("log_softmax", "soft_max"),
}
MEANING = {name: form for form, names in MEANT.items() for name in names}


def hint_of(line: str) -> str | None:
    """What stands here for a line that another language has."""
    return next((hint for pattern, hint in LINES if re.match(pattern, line)), None)


def unknown_call(name: str, known: Iterable[str], span: Span) -> HfcError:
    """An unknown function: what it is called here, if it is known by another name, else the nearest spelling."""
    form = MEANING.get(name) or MEANING.get(name.rpartition(".")[2].lower())
    if form:
        return HfcError(f"unknown function or op {name!r}", span, f"here it is written {form}")
    return unknown("function or op", name, known, span)
