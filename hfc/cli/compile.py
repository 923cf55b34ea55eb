"""`hfc compile`: a model to a bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hfc.base.progress import spinner
from hfc.cli.open_model import resolve
from hfc.compiler import compile_model
from hfc.ir.graph import Graph
from hfc.ir.text import print_graph
from hfc.plan import Bundle, Plan
from hfc.runtime.launcher import grid_size
from hfc.runtime.speculate.drafts import AUTO, NGRAM, OFF, check_draft
from hfc.step import JOURNAL_ROWS, Step


def command(
    model: str,
    output: Path,
    arch: str,
    weights: str | None,
    kv: str | None,
    ctx: int | None,
    slots: int | None,
    format: str | None,
    draft: str,
    max_rows: int | None,
    tap: list[str] | None,
    print_after_all: bool,
    quiet: bool,
) -> None:
    """Compile a model into a bundle that `hfc run` loads without the compiler. Needs no GPU."""
    source = resolve(model)
    check_draft(draft)
    journal_rows = 0 if draft == OFF else JOURNAL_ROWS
    archs = [name.strip() for name in arch.split(",")]
    with spinner(f"compiling {source.path.name} for {arch}"):
        after = _print_after if print_after_all else None
        bundle = compile_model(
            str(source.path), archs, weights, kv, ctx, max_rows, slots or 1, after, format or "bf16", tap or (), journal_rows,
            model_of(draft, max_rows),
        )  # fmt: skip
    bundle.save(output)
    if not quiet:
        print(describe(bundle, output))


def model_of(draft: str, max_rows: int | None) -> str | None:
    """The model that guesses, as `compile_model` takes it; None for prompt lookup, and where a plan is too small for any."""
    if draft in (OFF, NGRAM) or (draft == AUTO and (max_rows or JOURNAL_ROWS) < JOURNAL_ROWS):
        return None
    return draft


def describe(bundle: Bundle, output: Path) -> str:
    lines = [f"{output}: {bundle.model['name']}, {output.stat().st_size / 1e6:.1f} MB"]
    for arch, plan in bundle.plans.items():
        launches = ", ".join(f"{_launches(plan, name)} launches a {name}" for name in plan.programs)
        guesses = f", drafts of {plan.draft.name}" if plan.draft else ""
        lines.append(f"  {arch}: {len(plan.kernels)} kernels; {launches}; context {plan.context}{guesses}")
    return "\n".join(lines)


def _launches(plan: Plan, program: str) -> int:
    """Of a step of one row, or of prefill's most: launches for other numbers of rows have empty grids."""
    step = Step.single(np.zeros(plan.max_rows if "prefill" in program else 1, np.int32), outputs="last")
    return sum(all(grid_size(size, step) for size in launch.grid) for launch in plan.programs[program])


def _print_after(name: str, graph: Graph) -> None:
    print(f"# after {name}\n{print_graph(graph)}")
