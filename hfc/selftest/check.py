"""A plan, its graph and a device that runs single launches -> one row for each kernel of each program."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby

from hfc.base.diagnostics import HfcError
from hfc.ir.graph import Graph, Op
from hfc.ir.text import print_op
from hfc.plan import DRAFT_PREFIX, Launch, Plan
from hfc.runtime.launcher import Launcher
from hfc.runtime.upload import WeightSource
from hfc.selftest.compare import BOUNDS, Deviation, compare
from hfc.selftest.sampling import PROGRAM, check_sampling
from hfc.selftest.scene import Stage
from hfc.selftest.steps import steps_of
from hfc.step import Step

PROGRAMS = ("decode", "prefill", "step")  # those whose launches are regions of a graph; a draft's have its prefix


@dataclass(frozen=True)
class KernelCheck:
    """kernel: symbols of the region's launches.  launches: of this kernel in the program.  bound: of the error."""

    program: str
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
    steps: Callable[[str, Plan], list[Step]] = steps_of,
    draft: Graph | None = None,
) -> Iterator[KernelCheck]:
    """graph: what the plan was made from, after the passes; draft: the same of its draft.  every: all launches, not only the
    first of each kernel.  steps: those that a program is tried with."""
    for prefix, made in (("", graph), (DRAFT_PREFIX, draft)):
        if made:
            yield from _check_graph(plan, made, prefix, launcher, weights, every, report, steps)
    if PROGRAM in plan.programs:
        report(PROGRAM)
        total = check_sampling(plan, launcher)
        yield KernelCheck(PROGRAM, plan.programs[PROGRAM][0].kernel, 1, total, BOUNDS[PROGRAM], total.within(PROGRAM))


def _check_graph(
    plan: Plan, graph: Graph, prefix: str, launcher: Launcher, weights: WeightSource, every: bool, report: Callable[[str], None],
    steps: Callable[[str, Plan], list[Step]],
) -> Iterator[KernelCheck]:  # fmt: skip
    """The programs made from one graph; their names are those of PROGRAMS behind `prefix`."""
    stage = Stage(graph, plan, weights)
    regions = {print_op(op): op for op in graph.ops if op.kind == "kernel"}
    for program in (prefix + name for name in PROGRAMS if prefix + name in plan.programs):
        for kernel, places in places_of(plan, program, regions).items():
            report(f"{program}: {kernel}")
            total = Deviation(0.0, 0.0)
            for region, numbers in places if every else places[:1]:
                total |= _deviation(stage, plan, program, region, numbers, launcher, steps(program, plan))
            stem = places[0][0].attrs["stem"]
            yield KernelCheck(program, kernel, len(places), total, BOUNDS[stem], total.within(stem))


def places_of(plan: Plan, program: str, regions: dict[str, Op]) -> dict[str, list[tuple[Op, list[int]]]]:
    """Kernel -> the regions it computes, each with the numbers of its launches: those that prepare it come before its own."""
    found: dict[str, list[tuple[Op, list[int]]]] = {}
    pairs: list[tuple[int, Launch]] = []
    for text, launches in groupby(enumerate(plan.programs[program]), key=lambda pair: pair[1].text):
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
    stage: Stage, plan: Plan, program: str, region: Op, numbers: list[int], launcher: Launcher, steps: list[Step]
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
