"""Runs a checkpoint in the interpreter and compares it with what transformers computed in float32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from hfc.formats.checkpoint import Checkpoint, evaluate, open_checkpoint
from hfc.frontend.build import build_graph
from hfc.frontend.model import ModelFile, find_model, model_type_of
from hfc.ir.graph import Graph, Op
from hfc.ir.interpret import Interpreter, KvCache
from hfc.ir.verify import verify
from hfc.step import Step

MODELS = Path(__file__).parent / "data/models"
SHARED = (
    Path(__file__).resolve().parents[2] / "shared/fixtures"
)  # larger fixtures, beside the checkout where they exist
TOLERANCE = 1e-4  # relative L2; float32 noise of these models is below 1e-5


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape, (found.shape, expected.shape)
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def weights_of(checkpoint: Checkpoint, context: int) -> Callable[[Op], np.ndarray]:
    """The interpreter's view of weights: f32 of the declared shape."""

    def weight(op: Op) -> np.ndarray:
        shape = tuple(context if size == "C" else size for size in op.output.type.shape)
        return evaluate(op.attrs["recipe"], checkpoint, context).with_shape(shape).f32()

    return weight


def build(path: Path, model: ModelFile | None = None, taps: tuple[str, ...] = ()) -> tuple[Graph, Checkpoint]:
    checkpoint = open_checkpoint(path)
    model = model or find_model(model_type_of(checkpoint.config, checkpoint.kind))
    graph = build_graph(model, checkpoint.config, checkpoint.kind, checkpoint, taps=taps)
    verify(graph)
    return graph, checkpoint


def interpreter(
    path: Path, model: ModelFile | None = None, context: int = 192, taps: tuple[str, ...] = ()
) -> Interpreter:
    graph, checkpoint = build(path, model, taps)
    return Interpreter(graph, weights_of(checkpoint, context), context=context)


def step_by_step(run: Interpreter, tokens: np.ndarray) -> np.ndarray:
    return np.concatenate([run.run(Step.single([token], position=at))[0] for at, token in enumerate(tokens)])


def greedy(run: Interpreter, logits: np.ndarray, position: int, count: int) -> tuple[list[int], np.ndarray]:
    """`count` tokens after a prompt of `position` tokens whose last logits are given, and the logits behind each."""
    tokens, rows = [], []
    for at in range(count):
        tokens.append(int(np.argmax(logits)))
        logits = run.run(Step.single([tokens[-1]], position=position + at))[0][-1]
        rows.append(logits)
    return tokens, np.stack(rows)


def _latent(plane: np.ndarray, reference: np.ndarray, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Of MLA transformers keeps the latent (k) and the rotated key (v) apart, where a row here has both. Its pairs are half-split in
    DeepSeek V3 and neighbours in V2."""
    size, heads = reference.shape[-1], plane.shape[1]
    if reference.shape[0] > heads:  # Falcon's cache there has a head of keys for each query head
        reference = reference[:: reference.shape[0] // heads]
    if size == plane.shape[-1]:
        return plane, reference
    if part == "v" and not plane[..., size:].any():
        return plane[..., :size], reference  # values narrower than keys end with zeros
    if part == "k":
        return plane[..., :size], reference
    key, neighbours = plane[..., -size:], reference.reshape(*reference.shape[:-1], 2, -1).swapaxes(-1, -2)
    halves = neighbours.reshape(reference.shape)
    rows = reference.shape[1]
    return key, min(reference, halves, key=lambda found: relative_error(key[0, :, :rows], found))


ENTRIES = ("entries", "index")  # caches of an entry for every few positions


def state_errors(run: Interpreter, expected: dict[str, np.ndarray], rows: int) -> dict[str, float]:
    """Relative error of each layer's final state. expected: "3.k", "3.v", "0.window", "0.memory" -> array.

    transformers keeps one more input in its convolution window, and only the window in a sliding layer's cache."""
    errors = {}
    for name, state in run.states.items():
        layer, kind = name.split(".")[1:3]
        if kind in ENTRIES:
            reference = expected.pop(f"{layer}.{kind}")
            assert len(reference) == rows // state.every
            errors[f"{layer}.{kind}"] = relative_error(state.k[0, 0, : len(reference)], reference)
        elif kind.endswith("kept"):
            continue  # tokens that entries are made of, which are compared
        elif isinstance(state, KvCache):
            for part, plane in (("k", state.k), ("v", state.v)):
                reference = expected.pop(f"{layer}.{part}")
                plane, reference = _latent(plane, reference, part)
                errors[f"{layer}.{part}"] = relative_error(plane[0, :, rows - reference.shape[1] : rows], reference)
        else:
            part = name.split(".")[2]
            reference = expected.pop(f"{layer}.{part}")
            if reference.ndim < state.ndim - 1:
                reference = reference[..., None]  # the first Mamba has one value a head, which is a channel
            if reference.shape != state.shape[1:] and part == "memory":
                reference = reference.swapaxes(1, 2)  # Mamba has the values of a head first
            if part == "window":
                reference = reference[:, -state.shape[2] :]
            errors[f"{layer}.{part}"] = relative_error(state[0], reference)
    assert not expected, f"no state for {sorted(expected)}"
    return errors
