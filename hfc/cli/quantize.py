"""`hfc quantize`: a checkpoint to another format. CPU only, streaming, resumable."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from hfc.base.diagnostics import HfcError
from hfc.base.progress import progress_bar
from hfc.cli.calibration import Calibration, prepare
from hfc.cli.eval import digest, measure, read_tokens
from hfc.cli.open_model import ModelChoice, open_model, resolve
from hfc.cli.table import table
from hfc.compiler import open_source
from hfc.formats import weight_format
from hfc.formats.checkpoint import Checkpoint, open_checkpoint
from hfc.quality import DEFAULT_CHUNK, chunks
from hfc.quantize.convert import ConversionPlan, plan, quantize, summary
from hfc.quantize.policy import FEWER_BITS, parse_keep
from hfc.quantize.writer import add_report


def command(
    source: str,
    format: str,
    output: Path | None,
    keep: list[str] | None,
    imatrix: Path | None,
    awq: bool,
    gptq: bool,
    text: Path | None,
    tokens: int,
    dry_run: bool,
    evaluate: int | None,
    quiet: bool,
) -> None:
    """Quantize a model. Embeddings, the head, routers and small gates keep 8 bits; norms and convolutions stay as they are."""
    format = weight_format(format.lower()).name
    path, wanted = resolve(source).path, Calibration(imatrix, awq, gptq, text, tokens)
    check_runs(path)
    with open_checkpoint(path) as checkpoint:
        made = plan(checkpoint, format, parse_keep(keep or []))
        if dry_run:
            print(describe_tensors(checkpoint, made))
            return
        folder = output or Path(f"{path.name.removesuffix('.gguf').removesuffix('.safetensors')}-{format}")
        if folder.exists() and not folder.is_dir():
            raise HfcError(f"{folder}: not a folder", hint="-o names the folder to write")
        ready = prepare(path, checkpoint, made, wanted)
        made = plan(checkpoint, format, parse_keep(keep or []), treatments=ready.treatments, method=wanted.method)
        with progress_bar("quantizing", "weights") as update:
            try:
                target = quantize(
                    checkpoint, made, folder, update, treatments=ready.treatments, first=ready.first, key=ready.key
                )
            except KeyboardInterrupt:
                print(f"{folder}: not finished; the same command goes on from here", file=sys.stderr)
                raise
    if evaluate:
        report = compare(str(folder), str(path), evaluate)
        add_report(target, report)
    if not quiet:
        print(describe(made, folder))
        if evaluate:
            print(
                f"  perplexity {report['perplexity']:.4f}, source {report['perplexity_reference']:.4f}; KL divergence {report['kl_mean']:.3g}"
            )


def check_runs(path: Path) -> None:
    """HfcError where `hfc run` would refuse the model, before hours go into packing it."""
    source = open_source(path)
    if source.checkpoint is None:
        raise HfcError(f"{path}: a config has no weights to quantize", hint="give the folder that holds them too")
    if not source.model.is_draft:
        source.graph()
    source.checkpoint.close()


def compare(model: str, reference: str, count: int) -> dict:
    """The report of `hfc eval model --against reference` on the host."""
    opened, other = open_model(model, ModelChoice(), with_vocabulary=True), open_model(reference, ModelChoice())
    pieces = chunks(read_tokens(opened, None, count), min(DEFAULT_CHUNK, opened.model.context))
    return measure(opened, other, pieces) | {"text": "pydoc_data.topics", "text_digest": digest(pieces)}


def describe(made: ConversionPlan, folder: Path) -> str:
    lines = [f"{folder}: {made.size / 1e6:.1f} MB, {made.bits_per_weight:.2f} bits a weight"]
    lines += [
        f"  {name:10} {count:5} tensors {nbytes / 1e6:10.1f} MB" for name, (count, nbytes) in summary(made).items()
    ]
    kept = Counter(choice.reason for choice in made.choices.values() if choice.reason.startswith(FEWER_BITS))
    lines += [f"  {count} tensors stay as they are: {reason}" for reason, count in kept.items()]
    return "\n".join(lines)


def describe_tensors(checkpoint: Checkpoint, made: ConversionPlan) -> str:
    rows = [
        (t.name, "x".join(map(str, t.shape)), checkpoint.info(t.name).format, t.format, made.choices[t.name].reason)
        for t in made.tensors
    ]
    return table(("tensor", "shape", "from", "to", "why"), rows)
