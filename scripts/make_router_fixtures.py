"""Writes tests/data/routers.npz: the choices of transformers' routers on random logits.

usage: python scripts/make_router_fixtures.py [OUT]      needs torch and transformers; the tests need neither

Of each router: logits [rows, experts], the bias of its choice if it has one, and shares [rows, experts], 0 where an expert is not
chosen. The logits are what the router's own linear makes of random rows.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import torch

ROWS, HIDDEN, EXPERTS, TOP = 6, 16, 20, 3
SIZES = {
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), EXPERTS),
    **dict.fromkeys(("num_experts_per_tok", "moe_k"), TOP),
}
ROUTERS = {  # module of transformers -> router, configuration, its own settings
    "mixtral": ("MixtralTopKRouter", "MixtralConfig", {}),
    "olmoe": ("OlmoeTopKRouter", "OlmoeConfig", {"norm_topk_prob": False}),
    "gpt_oss": ("GptOssTopKRouter", "GptOssConfig", {}),
    "ernie4_5_moe": ("Ernie4_5_MoeTopKRouter", "Ernie4_5_MoeConfig", {}),
    "deepseek_v2": (
        "DeepseekV2TopkRouter",
        "DeepseekV2Config",
        {"topk_method": "group_limited_greedy", "n_group": 4, "topk_group": 2, "routed_scaling_factor": 2.5},
    ),
    "deepseek_v3": (
        "DeepseekV3TopkRouter",
        "DeepseekV3Config",
        {"n_group": 4, "topk_group": 2, "routed_scaling_factor": 2.5},
    ),
    "glm4_moe": ("Glm4MoeTopkRouter", "Glm4MoeConfig", {"n_group": 1, "topk_group": 1, "routed_scaling_factor": 1.5}),
    "minimax_m2": ("MiniMaxM2TopKRouter", "MiniMaxM2Config", {}),
    "llama4": ("Llama4Router", "Llama4TextConfig", {}),
    "phimoe": ("PhimoeTopKRouter", "PhimoeConfig", {"num_experts_per_tok": 2, "router_jitter_noise": 0.2}),
}


def shares_of(name: str) -> dict[str, np.ndarray]:
    """What one router makes of random rows."""
    router_name, config_name, own = ROUTERS[name]
    module = importlib.import_module(f"transformers.models.{name}.modeling_{name}")
    settings = importlib.import_module(f"transformers.models.{name}.configuration_{name}")
    config = getattr(settings, config_name)(hidden_size=HIDDEN, num_attention_heads=4, num_key_value_heads=4)
    for key, value in {**SIZES, **own}.items():
        if hasattr(config, key):
            setattr(config, key, value)
    router = getattr(module, router_name)(config).eval()
    bias = 0.2 * torch.randn(EXPERTS)
    for parameter in router.parameters():
        parameter.data = torch.randn_like(parameter)
    found = {}
    given = ()
    if name == "minimax_m2":
        given, found["bias"] = (bias,), bias.numpy()
    elif name == "ernie4_5_moe":
        router.moe_statics.e_score_correction_bias.data = 0.05 * bias.reshape(1, -1)
        found["bias"] = 0.05 * bias.numpy()
    elif hasattr(router, "e_score_correction_bias"):
        router.e_score_correction_bias.copy_(bias)
        found["bias"] = bias.numpy()
    with torch.no_grad():
        result = router(torch.randn(ROWS, HIDDEN), *given)
    if name == "llama4":
        return {"logits": result[1].numpy(), "shares": result[0].numpy()}
    logits, shares, ids = result
    spread = torch.zeros_like(logits).scatter_(1, ids, shares)
    return {**found, "logits": logits.numpy(), "shares": spread.numpy()}


def main() -> None:
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "tests/data/routers.npz")
    torch.manual_seed(5)
    np.savez_compressed(out, **{f"{name}.{key}": array for name in ROUTERS for key, array in shares_of(name).items()})


if __name__ == "__main__":
    main()
