"""What lists of models say of a checkpoint: its family, how many weights it has and in which format."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hfc.base.dataclass import dataclass
from hfc.formats.checkpoint import Checkpoint, open_checkpoint

# What GGUF calls mixtures of formats (general.file_type); a file of one format, or of one that is not here, is called by most of its weights.
MIXTURES = {
    10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 31: "IQ1_M", 38: "MXFP4_MOE",
}  # fmt: skip


@dataclass(frozen=True)
class ModelSummary:
    """Empty where it is not known. container: "gguf", "safetensors" or "hfp"."""

    container: str = ""
    family: str = ""
    parameters: int = 0
    format: str = ""

    @property
    def size_text(self) -> str:
        """As Ollama writes it: "134.5M", "8.0B"."""
        for unit, name in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
            if self.parameters >= unit:
                return f"{self.parameters / unit:.1f}{name}"
        return str(self.parameters) if self.parameters else ""


def summary_of(path: Path) -> ModelSummary:
    """Headers alone are read. HfcError for what is no checkpoint."""
    with open_checkpoint(path) as checkpoint:
        weights: Counter[str] = Counter()
        for name in checkpoint.names():
            weights[checkpoint.stored_format(name)] += math.prod(checkpoint.info(name).shape)
        container = "gguf" if checkpoint.kind == "gguf" else "safetensors"
        return ModelSummary(container, _family(checkpoint.config), weights.total(), _format(checkpoint, weights))


def _family(config: Mapping[str, Any]) -> str:
    family = config.get("general.architecture") or config.get("model_type")
    return family if isinstance(family, str) else ""


def _format(checkpoint: Checkpoint, weights: Counter[str]) -> str:
    kind = checkpoint.config.get("general.file_type")
    if isinstance(kind, int) and kind in MIXTURES:
        return MIXTURES[kind]
    return max(weights, key=weights.__getitem__, default="").upper()
