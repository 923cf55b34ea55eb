"""`hfc compile`: a model to a bundle."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np

from hfc import __version__
from hfc.base.cache import cached, key_of
from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.base.installed import package_digest
from hfc.base.orphans import end_where_told
from hfc.base.progress import spinner
from hfc.base.trace import timings as record_timings
from hfc.cli.context import fitted_context
from hfc.cli.experts import fitted_experts
from hfc.cli.open_model import resolve
from hfc.cli.stages import auto_stages
from hfc.cli.table import table
from hfc.cli.usage.kinds import size
from hfc.compiler import (
    DEFAULT_CONTEXT,
    After,
    CompileOptions,
    CompilerInput,
    chosen_settings,
    compile_model,
    open_source,
    outline,
)
from hfc.ir.graph import Graph
from hfc.ir.text import print_graph
from hfc.passes.balance import StagePlace
from hfc.passes.settings import ON_DEVICE
from hfc.passes.stages import Ranges, parse_stages
from hfc.plan import Bundle, Plan
from hfc.runtime.fit import need_of
from hfc.runtime.launcher import grid_size
from hfc.runtime.speculate.drafts import AUTO, NGRAM, OFF, check_draft
from hfc.step import JOURNAL_ROWS, Step
from hfc.target.arch import ARCHS, Arch, find_arch
from hfc.target.cpus import NATIVE
from hfc.target.profiles import AUTO_PROFILE
from hfc.workbench.dump import begin_dump, dump_assembly, dump_plan


@dataclass(frozen=True)
class CompileRequest:
    """What `hfc compile` was told: a field for each parameter of its usage, where their meaning stands (cli/usage/compile.py)."""

    model: str
    output: Path
    arch: list[str] | None
    stages: str | None
    stage_memory: str | None
    cpu: str
    weights: str | None
    kv: str | None
    experts: str | None
    tensor_parallel: int | None
    profile: str | None
    ctx: int | None
    slots: int | None
    format: str | None
    draft: str
    max_rows: int | None
    tap: list[str] | None
    memory: int | None
    print_after_all: bool
    dump: Path | None
    force: bool
    timings: bool
    quiet: bool

    @property
    def options(self) -> CompileOptions:
        return CompileOptions(
            self.ctx, self.kv, self.slots or 1, self.max_rows, self.tap or (), 0 if self.draft == OFF else JOURNAL_ROWS,
            self.profile or AUTO_PROFILE, self.weights, self.format,
            model_of(self.draft, self.max_rows, self.tensor_parallel or 1), self.cpu,
            experts=self.experts or ON_DEVICE, tensor_parallel=self.tensor_parallel or 1,
        )  # fmt: skip

    @property
    def archs(self) -> list[str]:
        names = [name.strip() for words in self.arch or ["host"] for name in words.split(",")]
        return list(ARCHS) if "all" in names else names


OPTIONS = CompileRequest
AUTO_STAGES = "auto"


def command(asked: CompileRequest) -> None:
    """Compile a model into a bundle that `hfc run` loads without the compiler. Needs no GPU."""
    end_where_told()
    source = resolve(asked.model)
    check_draft(asked.draft)
    options, archs = asked.options, asked.archs
    if asked.stages:
        archs, ranges = stages_of(asked, source.path, options)
        options = replace(options, stages=ranges)
    elif asked.stage_memory:
        raise HfcError("--stage-memory is of the stages of a pipeline", hint="add --stages auto")
    if asked.cpu != NATIVE and "host" not in archs and options.experts == ON_DEVICE:
        raise HfcError(f"--cpu {asked.cpu}: the bundle gets no code for a CPU", hint=f"--arch host,{','.join(archs)}")
    with spinner(f"compiling {source.path.name} for {', '.join(archs)}"):
        if options.experts == AUTO:
            opened = open_source(source.path, asked.weights, options.default_format, options.draft)
            options = replace(options, experts=fitted_experts(opened, archs, asked.memory, options))
        if asked.ctx is None and asked.memory is not None:
            opened = open_source(source.path, asked.weights, options.default_format, options.draft)
            options = replace(options, ctx=_fitted(opened, find_arch(archs[0]), asked.memory, options))
        dumped = []
        if asked.dump is not None:
            begin_dump(asked.dump, asked.force, f"{source.path} for {','.join(archs)}, hfc {__version__}")
            opened = open_source(source.path, asked.weights, options.default_format, options.draft)
            dumped = [dump_plan(asked.dump, opened, settings) for settings in chosen_settings(opened, archs, options)]
        with record_timings() if asked.timings else nullcontext({}) as seconds:
            after = _print_after if asked.print_after_all else None
            bundle, failed = compile_each(source.path, archs, options, after)
        for remade in dumped:
            if remade.settings.arch.name not in failed:
                dump_assembly(asked.dump, remade)
    bundle.save(asked.output)
    if asked.timings:
        print(list_timings(seconds))
    if not asked.quiet:
        print(describe(bundle, asked.output))
        if asked.dump:
            print(f"{asked.dump}: {sum(path.is_file() for path in asked.dump.rglob('*'))} files")
    if failed:
        print(
            f"{len(failed)} of {len(archs)} architectures do not compile; {asked.output} has the others",
            file=sys.stderr,
        )
        for name, error in failed.items():
            print(f"{name}: {error}", file=sys.stderr)
        raise SystemExit(1)


def compile_each(
    path: Path, archs: list[str], options: CompileOptions, after: After | None
) -> tuple[Bundle, dict[str, HfcError]]:
    """One bundle of the architectures that compile, and why the others do not. HfcError where none does, or a stage of a pipeline."""
    try:
        return compile_model(str(path), archs, options, after), {}
    except HfcError:
        if options.stages or options.tensor_parallel > 1 or len(archs) == 1:
            raise
    made: list[Bundle] = []
    failed: dict[str, HfcError] = {}
    for name in archs:  # kernels that were compiled already come from the cache
        try:
            made.append(compile_model(str(path), [name], options, after))
        except HfcError as error:
            failed[name] = error
    if not made:
        raise failed[archs[0]]
    plans = {name: plan for bundle in made for name, plan in bundle.plans.items()}
    files = {name: data for bundle in made for name, data in bundle.files.items()}
    return Bundle(made[0].model, plans, files), failed


def stages_of(asked: CompileRequest, path: Path, options: CompileOptions) -> tuple[list[str], Ranges]:
    """Archs and layers of the stages that --stages means."""
    if asked.stages != AUTO_STAGES:
        return parse_stages(asked.stages)
    sizes = asked.stage_memory.split(",") if asked.stage_memory else [None] * len(asked.archs)
    if len(sizes) != len(asked.archs):
        raise HfcError(f"--stage-memory {asked.stage_memory}: {len(sizes)} sizes for {len(asked.archs)} stages")
    places = [
        StagePlace(find_arch(name), size(text.strip()) if text else None)
        for name, text in zip(asked.archs, sizes, strict=True)
    ]
    opened = open_source(path, asked.weights, options.default_format, options.draft)
    return asked.archs, auto_stages(opened, places, options)


def list_timings(seconds: Mapping[str, float]) -> str:
    """Parts in the order in which they ran, and their sum."""
    rows = [(f"{value:.3f}", part) for part, value in seconds.items()]
    return table(("seconds", "part"), [*rows, (f"{sum(seconds.values()):.3f}", "all")])


def _fitted(opened: CompilerInput, arch: Arch, memory: int, options: CompileOptions) -> int:
    """The context that fits, kept in the cache: finding it takes a second or two for a large model."""
    files = [f.path for o in (opened, opened.draft) if o and o.checkpoint for f in o.checkpoint.files]
    stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    at = lambda n: chosen_settings(opened, [arch.name], replace(options, ctx=n))[0]  # noqa: E731
    usual = at(min(DEFAULT_CONTEXT, opened.context_limit))
    key = key_of(
        "context", package_digest(), repr(usual), str(memory), repr(stats), repr(sorted(map(str, opened.config)))
    )
    need_at = lambda n: need_of(outline(opened, at(n)))  # noqa: E731
    return int(
        cached(key, ".context", lambda: str(fitted_context(opened.context_limit, memory, need_at)).encode()).read_text()
    )


def model_of(draft: str, max_rows: int | None, ranks: int = 1) -> str | None:
    """The model that guesses, as `compile_model` takes it; None for prompt lookup, and where a plan is too small for any.

    ranks: devices that compute every layer together, which have none."""
    is_unfit = (max_rows or JOURNAL_ROWS) < JOURNAL_ROWS or ranks > 1
    if draft in (OFF, NGRAM) or (draft == AUTO and is_unfit):
        return None
    return draft


def describe(bundle: Bundle, output: Path) -> str:
    lines = [f"{output}: {bundle.model['name']}, {output.stat().st_size / 1e6:.1f} MB"]
    for name, plan in bundle.plans.items():
        launches = ", ".join(f"{_launches(plan, program)} launches a {program}" for program in plan.programs)
        guesses = f", drafts of {plan.draft.name}" if plan.draft else ""
        lines.append(
            f"  {name}: {len(plan.kernels)} kernels; {launches}; context {plan.context}, {plan.profile}{guesses}"
        )
    return "\n".join(lines)


def _launches(plan: Plan, program: str) -> int:
    """Of a step of one row, or of prefill's most: launches for other numbers of rows have empty grids."""
    step = Step.single(np.zeros(plan.max_rows if "prefill" in program else 1, np.int32), outputs="last")
    return sum(all(grid_size(size, step) for size in launch.grid) for launch in plan.programs[program])


def _print_after(name: str, graph: Graph) -> None:
    print(f"# after {name}\n{print_graph(graph)}")
