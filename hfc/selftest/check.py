"""A plan, its graph and a device that runs single launches -> one row for each kernel of each program."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.ir.graph import Graph, Op
from hfc.ir.text import print_op
from hfc.plan import Launch, Plan
from hfc.program import Program
from hfc.runtime.launcher import Launcher
from hfc.runtime.upload import WeightSource
from hfc.selftest.compare import Deviation, bound_of, compare
from hfc.selftest.sampling import check_sampling
from hfc.selftest.scene import Stage
from hfc.selftest.steps import steps_of
from hfc.step import Step

PROGRAMS = (Program.DECODE, Program.PREFILL, Program.STEP)  # those whose launches are regions of a graph


@dataclass(frozen=True)
class KernelCheck:
    """kernel: symbols of the region's launches.  launches: of this kernel in the program.  bound: of the error."""

    program: Program
    kernel: str
    launches: int
    deviation: Deviation
    bound: float
    ok: bool


def check_plan(
    plan: Plan,
    graph: Graph,
    launcher: Launcher,
    weights: WeightSource,
    every: bool,
    report: Callable[[str], None],
    steps: Callable[[Program, Plan], list[Step]] = steps_of,
    draft: Graph | None = None,
) -> Iterator[KernelCheck]:
    """graph: what the plan was made from, after the passes; draft: the same of its draft.  every: all launches, not only the
    first of each kernel.  steps: those that a program is tried with."""
    for programs, made in ((PROGRAMS, graph), ([program.of_draft for program in PROGRAMS], draft)):
        if made:
            present = [program for program in programs if program in plan.programs]
            yield from _check_graph(plan, made, present, launcher, weights, every, report, steps)
    if (sample := Program.SAMPLE) in plan.programs:
        report(sample)
        total = check_sampling(plan, launcher)
        bound = bound_of(sample, plan.profile)
        yield KernelCheck(sample, plan.programs[sample][0].kernel, 1, total, bound, total.within(bound))


def _check_graph(
    plan: Plan, graph: Graph, programs: Sequence[Program], launcher: Launcher, weights: WeightSource, every: bool,
    report: Callable[[str], None], steps: Callable[[Program, Plan], list[Step]],
) -> Iterator[KernelCheck]:  # fmt: skip
    """programs: those made from the graph."""
    stage = Stage(graph, plan, weights)
    regions = {print_op(op): op for op in graph.ops if op.is_region}
    for program in programs:
        for kernel, places in places_of(plan, program, regions).items():
            report(f"{program}: {kernel}")
            total = Deviation(0.0, 0.0)
            for region, numbers in places if every else places[:1]:
                total |= _deviation(stage, plan, program, region, numbers, launcher, steps(program, plan))
            bound = bound_of(places[0][0].attrs["stem"], plan.profile)
            yield KernelCheck(program, kernel, len(places), total, bound, total.within(bound))


def places_of(plan: Plan, program: Program, regions: dict[str, Op]) -> dict[str, list[tuple[Op, list[int]]]]:
    """Kernel -> the regions it computes, each with the numbers of its launches: those that prepare it come before its own."""
    found: dict[str, list[tuple[Op, list[int]]]] = {}
    pairs: list[tuple[int, Launch]] = []
    own = [pair for pair in enumerate(plan.programs[program]) if not pair[1].is_by_runtime]
    for text, launches in groupby(own, key=lambda pair: pair[1].text):
        pairs += launches
        if text in regions:
            kernel = " + ".join(launch.kernel for _, launch in pairs)
            found.setdefault(kernel, []).append((regions[text], [number for number, _ in pairs]))
            pairs = []
        elif text.startswith("kernel "):
            raise HfcError(
                "the bundle was compiled from another graph than this hfc makes of the model", hint="compile it again"
            )
    return found


def _deviation(
    stage: Stage, plan: Plan, program: Program, region: Op, numbers: list[int], launcher: Launcher, steps: list[Step]
) -> Deviation:
    total = Deviation(0.0, 0.0)
    launches = [plan.programs[program][number] for number in numbers]
    pointers = tuple(dict.fromkeys(p for launch in launches for p in launch.pointers))
    for seed, step in enumerate(steps):
        scene = stage.scene(region, pointers, step, seed)
        for number, launch in zip(numbers, launches):
            launcher.run(program, number, {p: scene.memory[p] for p in launch.pointers}, step)
        total |= compare(stage, region, scene, stage.interpret(region, scene))
    return total
