"""`hfc check-model` against `transformers`: logits of a prompt, greedy tokens after it, and the first layer that differs."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.compiler import CompilerInput
from hfc.frontend.config import text_config
from hfc.frontend.harmless import is_harmless
from hfc.oracle import InterpretedModel
from hfc.step import Step

LIMIT = 1e-4  # relative L2 of logits in f32, as the tests of shipped models ask for
ROWS = 12  # tokens of the comparison, and how many see less than all of the prompt where there is a window
LONGEST = 512  # tokens of a prompt that the interpreter reads in seconds
GREEDY = 8  # tokens chosen after the prompt, one by one
SPANS = re.compile(r"(^|_)(windows?|chunk)(_size|_length|_len)?$")  # keys that say how far attention sees
STATES = "hidden"  # what a model file taps after each layer


@dataclass(frozen=True)
class ProbeTokens:
    """tokens: longer than every window that can be exercised.  missed: windows that are longer than they, as config keys."""

    tokens: np.ndarray
    missed: dict[str, int]


@dataclass(frozen=True)
class ReferenceRun:
    """What transformers computes: logits [T, vocab], hidden states before and after each layer, tokens that it chooses next."""

    logits: np.ndarray
    states: Sequence[np.ndarray]
    greedy: Sequence[int]


def compare(source: CompilerInput) -> bool:
    """Print what agrees with transformers, where it is installed, and what does not."""
    if source.kind != "hf" or not source.path.is_dir():
        print("not compared: transformers reads a Hugging Face folder")
        return True
    if not all(importlib.util.find_spec(name) for name in ("torch", "transformers")):
        print("not compared: transformers is not installed here (pip install torch transformers)")
        return True
    prompt = prompt_for(source)
    is_equal, lines = differences(source, prompt, _transformers(source.path, prompt.tokens))
    print("\n".join(lines))
    return is_equal


def prompt_for(source: CompilerInput) -> ProbeTokens:
    """Random tokens: as few as it takes to reach past every window and chunk of the config."""
    settings = source.settings
    context = int(settings["context"])
    spans = {key: span for key, span in _spans(text_config(source.config)) if span < context}
    longest = min(LONGEST, context - GREEDY)
    reached = [span for span in spans.values() if span + ROWS <= longest]
    rows = max(1, min(longest, max(reached, default=0) + ROWS))
    tokens = np.random.default_rng(0).integers(0, int(settings["vocab"]), rows).astype(np.int32)
    return ProbeTokens(tokens, {key: span for key, span in spans.items() if span >= rows})


def _spans(keys: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, int]]:
    """The windows and chunks of a config, the largest of a list by layer."""
    for key, value in keys.items():
        if isinstance(value, Mapping):
            yield from _spans(value, f"{prefix}{key}.")
        elif SPANS.search(key) and not is_harmless(prefix + key, keys):
            numbers = [n for n in (value if isinstance(value, list) else [value]) if type(n) is int and n > 0]
            if numbers:
                yield prefix + key, max(numbers)


def differences(source: CompilerInput, prompt: ProbeTokens, reference: ReferenceRun) -> tuple[bool, list[str]]:
    """Whether the model file computes what the reference does, and the lines that say so."""
    rows, layers = len(prompt.tokens), int(source.settings["layers"])
    taps = tuple(f"{STATES}[{i}]" for i in range(layers))
    graph, has_taps = _with_taps(source, taps)
    model = InterpretedModel(source, max(64, rows + GREEDY), graph=graph)
    found, *states = model.interpreter.run(Step.single(prompt.tokens))
    error = _relative(found, reference.logits[-len(found) :])
    verdict = "equal" if error <= LIMIT else f"DIFFERENT, the limit is {LIMIT}"
    lines = [f"logits of {rows} tokens against transformers: relative L2 {error:.1e}, {verdict}"]
    if error > LIMIT:
        lines.append(
            first_difference(states, reference.states)
            if has_taps
            else f"add `tap x as {STATES}[i]` behind each layer, and this names the first layer that differs"
        )
    for key, span in prompt.missed.items():
        lines.append(f"{key} {span} not exercised by {rows} tokens: make a checkpoint with a smaller one (docs/add-a-model.md)")  # fmt: skip
    fault = _greedy_fault(model, found[-1], rows, reference.greedy)
    lines.append(fault or f"{len(reference.greedy)} greedy tokens after them: those of generate()")
    return error <= LIMIT and fault is None, lines


def _with_taps(source: CompilerInput, taps: Sequence[str]):
    try:
        return source.graph(taps), True
    except HfcError:  # it taps nothing of this name
        return source.graph(), False


def first_difference(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> str:
    """found: after each layer.  expected: before the first layer, then after each; the last one is behind the final norm."""
    layers = len(found)
    if len(expected) != layers + 1 or any(a.shape != b.shape for a, b in zip(found, expected[1:])):
        return "hidden states are not compared: transformers returns others than one [tokens, hidden] a layer"
    errors = [_relative(a, b) for a, b in zip(found[:-1], expected[1:-1])]
    wrong = next((layer for layer, error in enumerate(errors) if error > LIMIT), None)
    if wrong is None:
        before = f"layers 0 to {layers - 2} leave equal hidden states: " if layers > 1 else ""
        return f"{before}layer {layers - 1}, the final norm or the head differs"
    before = f"those before it are equal (layer {wrong - 1}: {errors[wrong - 1]:.1e})" if wrong else "or what enters it"
    return f"layer {wrong} is the first that differs: hidden states behind it {errors[wrong]:.1e}, {before}"


def _greedy_fault(model: InterpretedModel, logits: np.ndarray, rows: int, chosen: Sequence[int]) -> str | None:
    """Each token that the reference chose must be the likeliest here too, or as good as that."""
    for at, token in enumerate(chosen):
        best = int(np.argmax(logits))
        if logits[best] - logits[token] > LIMIT * float(np.abs(logits).max()):
            hint = "" if at else "; the prompt's last logits already differ"
            return f"greedy token {at + 1} after them DIFFERS: {best} here, {token} by generate(){hint}"
        logits = model.forward(Step.single([token], position=rows + at))[-1]
    return None


def _relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def _transformers(folder: Path, tokens: np.ndarray) -> ReferenceRun:
    torch, transformers = (importlib.import_module(name) for name in ("torch", "transformers"))
    transformers.utils.logging.disable_progress_bar()
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.from_numpy(tokens[None].astype(np.int64))
    with torch.no_grad():
        result = model(ids, output_hidden_states=True)
        mask = torch.ones_like(ids)
        answer = model.generate(
            ids, attention_mask=mask, max_new_tokens=GREEDY, do_sample=False, eos_token_id=None, pad_token_id=0
        )
    states = [state[0].numpy() for state in result.hidden_states or ()]
    return ReferenceRun(result.logits[0].numpy(), states, answer[0, len(tokens) :].tolist())
