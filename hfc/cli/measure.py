"""Times workloads on a model: tokens a second, bytes a second, and what the host and the device spend on a step."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable

from hfc.base.dataclass import dataclass
from hfc.cli.open_model import OpenModel
from hfc.cli.workload import Workload
from hfc.plan import Plan
from hfc.program import Program
from hfc.runtime.decoding.model import Begun, Model, StepRunner
from hfc.runtime.gpu import GpuModel
from hfc.runtime.null import NullModel
from hfc.runtime.pipeline.batches import rolling
from hfc.runtime.pipeline.model import StagedModel
from hfc.runtime.sampler import Sampler, Sampling
from hfc.step import Step

GREEDY = Sampling(temperature=0)


@dataclass(frozen=True)
class Measurement:
    """tok_s: median of the repetitions.  gb_s: what the plan says it must move, in that time.

    bandwidth_share: gb_s over memory_gb_s, the measured speed of the device's memory.  launches_per_token: kernels.
    host_us_per_step: the host's time to make and launch a step, without waiting for it; device_us_per_step: from the
    first to the last of it by the device's events; medians.  profile: precision, see hfc/target/profiles.py.  None where the device has
    no plan, or is no GPU.
    """

    test: str
    tok_s: float
    min: float
    max: float
    gb_s: float | None
    bandwidth_share: float | None
    launches_per_token: float | None
    host_us_per_step: float | None
    device_us_per_step: float | None
    device: str
    memory_gb_s: float
    profile: str | None = None


def measure(workload: Workload, opened: OpenModel, repetitions: int, device: str, memory_gb_s: float) -> Measurement:
    """Time a workload; the tokens are the same each time. One run before does not count."""
    model, plan = opened.model, opened.plan
    run(model, workload.prepare(model.max_rows, model.vocab))
    run(model, workload.steps(model.max_rows, model.vocab))
    seconds = []
    for _ in range(repetitions):
        start = time.perf_counter()
        run(model, workload.steps(model.max_rows, model.vocab))
        seconds.append(time.perf_counter() - start)
    middle = statistics.median(seconds)
    launches, nbytes = planned(plan, workload.steps(model.max_rows, model.vocab)) if plan else (None, None)
    host_us, device_us = step_times(model, workload) if isinstance(model, GpuModel) else (None, None)
    return Measurement(
        workload.name,
        *(round(workload.tokens / s, 2) for s in (middle, max(seconds), min(seconds))),
        round(nbytes / middle / 1e9, 2) if plan else None,
        round(nbytes / middle / 1e9 / memory_gb_s, 3) if plan else None,
        round(launches / workload.tokens, 2) if plan else None,
        host_us,
        device_us,
        device,
        round(memory_gb_s, 1),
        plan.profile if plan else None,
    )


def run(model: Model, steps: Iterable[Step]) -> None:
    """Run steps one after the other, as a generation does: where the device can, it also chooses the likeliest tokens. The stages of a
    pipeline share the sequences of a step out among them, as a server does."""
    runner = StepRunner(model)
    if runner.runs_ahead:
        run_ahead(runner, steps)
        return

    def start(step: Step) -> Callable[[], object]:
        return runner.start(step, lambda made: [Sampler(GREEDY) for _ in made.output_rows]).result

    for _ in rolling(steps, runner.depth, start):
        pass
    if isinstance(model, StagedModel):
        model.settle()


def run_ahead(runner: StepRunner, steps: Iterable[Step]) -> None:
    """Each step that follows another is begun while that one runs, with the tokens that it will have chosen."""
    before: Begun | None = None

    def samplers(step: Step) -> list[Sampler]:
        return [Sampler(GREEDY) for _ in step.output_rows]

    def end(begun: Begun | None) -> None:
        for token in begun.result()[1] if begun else ():
            Sampler(GREEDY).accept(token)

    for step in steps:
        follows = before is not None and step.follows(before.step)
        if step.prompts or not follows:
            end(before)
            before = None
        if step.prompts:
            runner.run(step, samplers)
            continue
        begun = runner.queue(step, samplers(step), follows)
        end(before)
        before = begun
    end(before)


def step_times(model: GpuModel, workload: Workload) -> tuple[float, float]:
    """Medians over the steps, in microseconds: host time until the step is launched, device time by events."""
    driver, host_us, device_us = model.driver, [], []
    first, last = driver.create_event(), driver.create_event()
    steps = workload.steps(model.max_rows, model.vocab)
    while True:
        driver.record(first, model.stream)
        start = time.perf_counter()
        step = next(steps, None)
        if step is None:
            break
        model.run(step, copy_logits=False, wait=False)
        host_us.append(1e6 * (time.perf_counter() - start))
        driver.record(last, model.stream)
        driver.synchronize(model.stream)
        device_us.append(1e3 * driver.elapsed_ms(first, last))
    return round(statistics.median(host_us), 1), round(statistics.median(device_us), 1)


def planned(plan: Plan, steps: Iterable[Step]) -> tuple[int, int]:
    """Launches and bytes of the steps as the plan counts them: the null device adds them up."""
    split = Program.DECODE in plan.programs
    few, many = (Program.DECODE, Program.PREFILL) if split else (Program.STEP, Program.STEP)
    counters = {name: NullModel(plan, name) for name in (few, many, Program.SAMPLE) if name in plan.programs}
    for step in steps:
        counters[few if step.rows_class == "decode" else many].forward(step)
        if Program.SAMPLE in counters and len(step.output_rows):
            counters[Program.SAMPLE].forward(step)
    counts = [counter.count for counter in counters.values()]
    return sum(c.launches for c in counts), sum(c.bytes for c in counts)
