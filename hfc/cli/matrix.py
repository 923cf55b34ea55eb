"""`hfc matrix`: compile every model for every architecture and format, and say what came of it."""

from __future__ import annotations

from pathlib import Path

from hfc.base.diagnostics import HfcError
from hfc.base.progress import progress_bar
from hfc.cli.table import table
from hfc.formats import FORMATS, KV_FORMATS, kv_format, weight_format
from hfc.matrix.cells import Cell, places, run, run_covering, run_in_turn
from hfc.matrix.models import chosen_models
from hfc.matrix.page import as_html, as_json, as_markdown
from hfc.matrix.results import read_results
from hfc.target.arch import GPUS, Arch, find_arch

FAILED = 1


def command(
    arch: str,
    model: str | None,
    weights: str | None,
    kv: str | None,
    quick: bool,
    in_turn: bool,
    json: bool,
    md: bool,
    html: bool,
    output: Path | None,
    results: Path,
) -> None:
    """Compile model x architecture x weight format x KV format. Exit code 1 if a cell failed. Needs no GPU."""
    if json + md + html > 1:
        raise HfcError("choose one of --json, --md and --html")
    archs, records = chosen_archs(arch), read_results(results)
    formats = [weight_format(name).name for name in words(weights)] or list(FORMATS)
    kvs = [kv_format(name).name for name in words(kv)] or list(KV_FORMATS)
    models = chosen_models(words(model))
    with progress_bar("compiling", "cells") as report:
        if in_turn:
            cells = list(run_in_turn(models, archs, formats, kvs, quick, report))
        elif quick:
            cells = list(run_covering(models, archs, formats, kvs, quick, report))
        else:
            cells = run(places(models, archs, formats, kvs), quick, report)
    write = as_json if json else as_markdown if md else as_html if html else None
    text = write(cells, records) if write else show(cells) + "\n"
    if output:
        output.write_text(text)
    else:
        print(text, end="")
    if any(cell.status == "failed" for cell in cells):
        raise SystemExit(FAILED)


def words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def chosen_archs(text: str) -> list[Arch]:
    """GPU architectures by name; "all": every one."""
    if text == "all":
        return list(GPUS)
    found = [find_arch(name) for name in words(text)]
    if not found or not all(row.platform.is_gpu for row in found):
        raise HfcError(f"--arch {text}: the matrix is of GPU architectures", hint="a gfx name, sm_90, or all")
    return found


def show(cells: list[Cell]) -> str:
    """A line for each model and architecture, and one for each reason."""
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.place.model, cell.place.arch), []).append(cell)
    rows = []
    for (model, arch), here in groups.items():
        counts = [sum(c.status == status for c in here) for status in ("compiled", "refused", "failed")]
        rows.append((model, arch, *counts, max(c.vgprs or 0 for c in here), max(c.lds_bytes for c in here)))
    reasons = dict.fromkeys(f"{c.place.model} {c.place.weights}: {c.status}: {c.why}" for c in cells if c.why)
    header = ("model", "arch", "compiled", "refused", "failed", "most VGPRs", "most LDS")
    return "\n".join([table(header, rows), *reasons])
