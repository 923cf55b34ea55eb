"""`hfc eval`: what a model, a weight format or a KV format costs in quality, measured on a text."""

from __future__ import annotations

import hashlib
import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np

from hfc.base.arrays import read_array
from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.base.progress import progress_bar
from hfc.cli.logits import saved_logits
from hfc.cli.open_model import ModelChoice, OpenModel, open_model
from hfc.cli.table import table
from hfc.quality import DEFAULT_CHUNK, chunks, evaluate
from hfc.runtime.tokenizer import Tokenizer

UNASKED_CONTEXT = 4096  # what a model is compiled for without --ctx, if it has as much
MARGIN = 4  # characters a token at least, for what need not be read of a long text


@dataclass(frozen=True)
class EvalOptions:
    """What `hfc eval` was told: a field for each parameter of its usage, where their meaning stands (cli/usage/eval.py)."""

    model: str
    against: str | None
    against_device: str | None
    against_kv: str | None
    text: Path | None
    tokens: int
    chunk: int | None
    decode_rows: int | None
    save: Path | None
    as_json: bool
    kv: str | None
    profile: str | None
    threads: int | None
    device: str
    experts: str | None
    tensor_parallel: int | None
    weights: str | None
    trust: bool

    @property
    def choice(self) -> ModelChoice:
        context = self.chunk if self.chunk and self.chunk > UNASKED_CONTEXT else None
        return ModelChoice(
            self.device, self.threads, context, self.kv, self.weights, trust=self.trust, profile=self.profile, experts=self.experts,
            tensor_parallel=self.tensor_parallel
        )  # fmt: skip


OPTIONS = EvalOptions


def command(options: EvalOptions) -> None:
    """Print perplexity on a text and, against a reference, KL divergence and how often the likeliest token agrees."""
    opened = open_model(options.model, options.choice, with_vocabulary=True)
    chunk = options.chunk or min(DEFAULT_CHUNK, opened.model.context)
    pieces = chunks(read_tokens(opened, options.text, options.tokens), chunk)
    other = replace(
        options.choice,
        device=options.against_device or options.device,
        kv=options.against_kv or options.kv,
        profile=None,
    )
    reference = open_reference(options.model, options.against, other, options.device, options.kv)
    _check_context(opened, reference, chunk)
    if isinstance(reference, OpenModel) and reference.model.vocab != opened.model.vocab:
        raise HfcError(
            f"{options.against} has a vocabulary of {reference.model.vocab} tokens, {options.model} of {opened.model.vocab}",
            hint="compare formats of the same model",
        )
    found = measure(opened, reference, pieces, options.save, options.decode_rows)
    found |= {"chunk": chunk, "text": str(options.text or "pydoc_data.topics"), "text_digest": digest(pieces)}
    print(json.dumps(found) if options.as_json else describe(found))


def _check_context(opened: OpenModel, reference: OpenModel | np.ndarray | None, chunk: int) -> None:
    models = [o.model for o in (opened, reference) if isinstance(o, OpenModel)]
    context = min(m.context for m in models)
    if chunk > context:
        raise HfcError(f"--chunk {chunk}: the model's context holds {context} tokens", hint=f"--chunk {context}")


def read_tokens(opened: OpenModel, path: Path | None, count: int) -> list[int]:
    """The first `count` tokens of the text."""
    return tokens_of(opened.vocabulary.tokenizer, opened.model.vocab, path, count)


def tokens_of(tokenizer: Tokenizer, vocab: int, path: Path | None, count: int) -> list[int]:
    """The first `count` tokens of a file, by default of Python's manual. vocab: of the model that will read them."""
    try:
        text = path.read_text(encoding="utf-8") if path else "\n".join(topics[name] for name in sorted(topics))
    except UnicodeDecodeError as error:
        raise HfcError(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}") from error
    found, part = [], count * MARGIN
    while len(found) < count:
        found, whole = tokenizer.encode(text[:part]), part >= len(text)
        if whole:
            break
        part *= 2
    if len(found) < 2:
        raise HfcError(f"{path}: the text has {len(found)} tokens, at least 2 are needed")
    if max(found) >= vocab:
        raise HfcError(f"the text has token {max(found)}; the model's vocabulary has {vocab}")
    return found[:count]


def open_reference(
    model: str, against: str | None, choice: ModelChoice, device: str, kv: str | None
) -> OpenModel | np.ndarray | None:
    """Another KV format or device alone means the same model."""
    if against and against.endswith(".npy"):
        return read_array(Path(against))
    if against is None and (choice.device, choice.kv) == (device, kv):
        return None
    if choice.device == "interpret":
        choice = replace(choice, kv=None, weights=choice.weights if against is None else None)
    elif against is not None:
        choice = replace(choice, weights=None)
    return open_model(against or model, choice)


def measure(
    opened: OpenModel,
    reference: OpenModel | np.ndarray | None,
    pieces: list[np.ndarray],
    save: Path | None = None,
    decode_rows: int | None = None,
) -> dict:
    """The figures of hfc.quality, with bits per weight where the model has a plan."""
    shape = (sum(map(len, pieces)), opened.model.vocab)
    if isinstance(reference, np.ndarray) and (reference.shape != shape or reference.dtype != np.float32):
        raise HfcError(
            f"the saved logits are {reference.dtype} {list(reference.shape)}, this text needs float32 {list(shape)}",
            hint="save them with the same --text, --tokens and --chunk",
        )
    other = reference.model if isinstance(reference, OpenModel) else reference
    with saved_logits(save, shape) if save else nullcontext() as keep, progress_bar("evaluating", "tokens") as update:
        return evaluate(opened.model, pieces, other, update, keep, decode_rows)


def digest(pieces: list[np.ndarray]) -> str:
    """Equal where figures may be compared: the same tokens, cut alike."""
    return hashlib.sha256(b"|".join(p.tobytes() for p in pieces)).hexdigest()[:16]


def describe(found: dict) -> str:
    return table(
        ("figure", "value"),
        [(name, f"{value:.6g}" if isinstance(value, float) else str(value)) for name, value in found.items()],
    )
