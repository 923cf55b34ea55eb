"""`hfc quantize`: a checkpoint to another format. CPU only, streaming, resumable."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hfc.base.diagnostics import HfcError
from hfc.base.progress import progress_bar
from hfc.cli.calibration import Calibration, prepare
from hfc.cli.eval import digest, measure, read_tokens
from hfc.cli.imatrix import DEFAULT_TOKENS
from hfc.cli.open_model import Choice, open_model, resolve
from hfc.cli.table import table
from hfc.formats import weight_format
from hfc.formats.checkpoint import Checkpoint, open_checkpoint
from hfc.quality import DEFAULT_CHUNK, chunks
from hfc.quantize.convert import Plan, plan, quantize, summary
from hfc.quantize.policy import parse_keep
from hfc.quantize.writer import add_report


def command(
    source: Annotated[
        str,
        typer.Argument(metavar="SRC", help="A Hugging Face folder, .safetensors, .gguf, or a name of `hfc models`."),
    ],
    format: Annotated[str, typer.Option(help="Format of the matrices, e.g. hfc4, mq4g256v2, q8_0.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The folder to write. [default: SRC-FORMAT here]")
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(help="PATTERN=FORMAT for tensors whose names match; FORMAT may be source. Repeatable."),
    ] = None,
    imatrix: Annotated[
        Path | None, typer.Option(help="An importance matrix, of `hfc imatrix` or llama.cpp's (.gguf, .dat).")
    ] = None,
    awq: Annotated[
        bool, typer.Option("--awq", help="Scale inputs that carry much, and what makes them the other way.")
    ] = False,
    gptq: Annotated[
        bool, typer.Option("--gptq", help="Let every column make up for the rounding of those before it.")
    ] = False,
    text: Annotated[
        Path | None,
        typer.Option(
            "--file", "-f", help="The text for --gptq, and for --awq without --imatrix. [default: Python's manual]"
        ),
    ] = None,
    tokens: Annotated[
        int, typer.Option("--tokens", "-n", min=2, help="Use the first N tokens of that text.")
    ] = DEFAULT_TOKENS,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what every tensor becomes, and write nothing.")
    ] = False,
    evaluate: Annotated[
        int | None, typer.Option("--eval", min=2, metavar="N", help="Measure on N tokens, keep the report.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing when it works.")] = False,
) -> None:
    """Quantize a model. Embeddings, the head, routers and small gates keep 8 bits; norms and convolutions stay as they are."""
    weight_format(format)
    path, wanted = resolve(source).path, Calibration(imatrix, awq, gptq, text, tokens)
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
            target = quantize(
                checkpoint, made, folder, update, treatments=ready.treatments, first=ready.first, key=ready.key
            )
    if evaluate:
        report = compare(str(folder), str(path), evaluate)
        add_report(target, report)
    if not quiet:
        print(describe(made, folder))
        if evaluate:
            print(
                f"  perplexity {report['perplexity']:.4f}, source {report['perplexity_reference']:.4f}; KL divergence {report['kl_mean']:.3g}"
            )


def compare(model: str, reference: str, count: int) -> dict:
    """The report of `hfc eval model --against reference` on the host."""
    opened, other = open_model(model, Choice(), with_vocabulary=True), open_model(reference, Choice())
    pieces = chunks(read_tokens(opened, None, count), min(DEFAULT_CHUNK, opened.model.context))
    return measure(opened, other, pieces) | {"text": "pydoc_data.topics", "text_digest": digest(pieces)}


def describe(made: Plan, folder: Path) -> str:
    lines = [f"{folder}: {made.size / 1e6:.1f} MB, {made.bits_per_weight:.2f} bits a weight"]
    lines += [
        f"  {name:10} {count:5} tensors {nbytes / 1e6:10.1f} MB" for name, (count, nbytes) in summary(made).items()
    ]
    return "\n".join(lines)


def describe_tensors(checkpoint: Checkpoint, made: Plan) -> str:
    rows = [
        (t.name, "x".join(map(str, t.shape)), checkpoint.info(t.name).format, t.format, made.choices[t.name].reason)
        for t in made.tensors
    ]
    return table(("tensor", "shape", "from", "to", "why"), rows)
