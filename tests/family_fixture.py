"""The folders of tests/data/families, and a family's checkpoint run on a device and held against what transformers computed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from model_reference import relative_error

from hfc.cli.check_model import layer_regions
from hfc.compiler import CompileOptions, compile_model, open_source
from hfc.emulated import EmulatedModel
from hfc.oracle import InterpretedModel
from hfc.runtime.executor import load
from hfc.runtime.upload import CheckpointWeights
from hfc.step import Step

FOLDER = Path(__file__).parent / "data/families"
NAMES = tuple(sorted(path.parent.name for path in FOLDER.glob("*/config.json")))
CONTEXT = 64  # of what is compiled; the references are shorter


@dataclass(frozen=True)
class Found:
    """Relative L2 of a whole prompt's logits, of those token by token, and of those behind greedy tokens, which must be equal."""

    whole: float
    stepwise: float
    greedy: float
    tokens_are_equal: bool

    @property
    def worst(self) -> float:
        return max(self.whole, self.stepwise, self.greedy) if self.tokens_are_equal else float("inf")


class Fixture:
    """One family: its checkpoints and references."""

    def __init__(self, name: str):
        self.name, self.folder = name, FOLDER / name

    @property
    def gguf(self) -> Path | None:
        path = self.folder / "model.gguf"
        return path if path.exists() else None

    @cached_property
    def reference(self) -> dict[str, np.ndarray]:
        with np.load(self.folder / "reference.npz") as file:
            return dict(file)

    @cached_property
    def gguf_reference(self) -> dict[str, np.ndarray]:
        """What transformers computes with the settings that llama.cpp's files can say."""
        path = self.folder / "gguf_reference.npz"
        if not path.exists():
            return self.reference
        with np.load(path) as file:
            return dict(file)

    @cached_property
    def source(self):
        return open_source(self.folder)

    @property
    def lines(self) -> int:
        """Of the model file."""
        return len(self.source.model.text.splitlines())

    def launches(self, format: str | None = None) -> list[int]:
        """Of one row, of each kind of layer: with the checkpoint's plain weights, or with weights in a format."""
        source = open_source(self.folder / "config.json", default_format=format) if format else self.source
        regions = layer_regions(source, "gfx1100")
        return sorted({len(stems) for layer, stems in regions.items() if layer >= 0})

    def interpreted(self, path: Path | None = None) -> InterpretedModel:
        return InterpretedModel(open_source(path or self.folder), CONTEXT)

    def on(self, arch: str, path: Path | None = None):
        """The checkpoint on a device: host, an arch of the emulator, or a GPU that is here."""
        bundle = compile_model(path or self.folder, [arch], CompileOptions(ctx=CONTEXT))
        if arch.startswith("gfx"):
            return EmulatedModel(bundle, arch, CheckpointWeights(open_source(path or self.folder).checkpoint, CONTEXT))
        return load(bundle, "cuda" if arch == "sm_90" else arch, threads=1)

    def compare(self, model, reference: dict[str, np.ndarray] | None = None) -> Found:
        reference = reference or self.reference
        tokens = reference["tokens"]
        stepwise = np.concatenate([model.forward(Step.single([t], position=at)) for at, t in enumerate(tokens)])
        whole = model.forward(Step.single(tokens))
        logits, chosen, rows = whole[-1], [], []
        for at in range(len(reference["greedy_tokens"])):
            chosen.append(int(np.argmax(logits)))
            logits = model.forward(Step.single(chosen[-1:], position=len(tokens) + at))[-1]
            rows.append(logits)
        return Found(
            relative_error(whole, reference["prefill_logits"]),
            relative_error(stepwise, reference["prefill_logits"]),
            relative_error(np.stack(rows), reference["greedy_logits"]),
            chosen == reference["greedy_tokens"].tolist(),
        )
