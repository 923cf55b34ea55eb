"""The models of the matrix: configs.json has published configs, by name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from hfc.base.diagnostics import unknown
from hfc.compiler import CompilerInput
from hfc.frontend.model import find_model

CONFIGS = Path(__file__).with_name("configs.json")
# One for every kind of kernel: what a run without --model takes. Families whose kernels are those of these have none.
REPRESENTATIVES = ("SmolLM2-135M", "Qwen3-4B", "gemma-3-4b", "Qwen3.5-9B", "Qwen3.5-35B-A3B")


@cache
def configs() -> dict[str, dict[str, Any]]:
    """Name -> config.json of the text model."""
    return json.loads(CONFIGS.read_text())


def chosen_models(names: Sequence[str]) -> list[str]:
    """The names as asked for; none: the representatives, "all": every one."""
    if list(names) == ["all"]:
        return list(configs())
    for name in names:
        if name not in configs():
            raise unknown("model of the matrix", name, configs())
    return list(names or REPRESENTATIVES)


def source(name: str, weights: str, quick: bool = False) -> CompilerInput:
    """The model with every matrix in the format `weights`. quick: as few layers as have every kind of layer."""
    config = configs()[name]
    config = shortened(config) if quick else config
    return CompilerInput(find_model(config["model_type"]), config, "hf", None, CONFIGS, weights)


def shortened(config: Mapping[str, Any]) -> dict[str, Any]:
    """The first layers, up to the first of the last kind to appear: they need every kernel that the whole model needs."""
    kinds = config.get("layer_types") or ["full_attention"]
    count = 1 + max(kinds.index(kind) for kind in kinds)
    cut = {**config, "num_hidden_layers": count}
    return {**cut, "layer_types": kinds[:count]} if "layer_types" in config else cut
