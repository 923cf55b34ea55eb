"""`hfc selftest`: every kernel of a plan on the device present against the interpreter."""

from __future__ import annotations

from hfc.base.diagnostics import HfcError
from hfc.base.progress import spinner
from hfc.base.system import thread_count
from hfc.cli.device import announce, device_for
from hfc.cli.open_model import ModelChoice, open_bundle, resolve
from hfc.cli.table import table
from hfc.compiler import source_of
from hfc.emulated import EmulatedLauncher
from hfc.ir.graph import Graph
from hfc.plan import Bundle, Plan
from hfc.runtime.executor import OPENERS, plan_for, plans_for, split_device, split_devices
from hfc.runtime.launcher import GpuLauncher, HostLauncher, Launcher
from hfc.runtime.random_weights import RandomWeights
from hfc.runtime.upload import CheckpointWeights, WeightSource
from hfc.selftest import KernelCheck, check_plan
from hfc.target.arch import find_arch
from hfc.workbench.remade import fused_graphs, matrix_format

SLOTS, CONTEXT = 4, 256  # of a model that is compiled for the test


def command(
    model: str,
    device: str,
    emulate: str | None,
    every: bool,
    weights: str | None,
    trust: bool,
    random_weights: bool,
    format: str | None,
    kv: str | None,
    profile: str | None,
    ctx: int | None,
    threads: int | None,
) -> None:
    """Compare each kernel with the interpreter, on random inputs. Exit code 1 if one differs. Paste the table into reports."""
    source = resolve(model)
    if not emulate:
        chosen = device_for(device, [source], weights)
        announce(chosen)
        device = chosen.device
    context = ctx or (None if source.kind == "bundle" else CONTEXT)
    bundle = open_bundle(
        source,
        ModelChoice(
            f"null:{emulate}" if emulate else device,
            threads,
            context,
            kv,
            weights,
            SLOTS,
            format,
            trust=trust,
            profile=profile,
        ),
    )
    found = open_emulators(bundle, emulate) if emulate else open_launchers(bundle, device, threads)
    all_agree = True
    for name, plan, launcher in found:
        opened = source_of(bundle, weights, matrix_format(plan))
        drawn = random_weights or opened.checkpoint is None
        source_of_weights = RandomWeights(plan.context) if drawn else CheckpointWeights(opened.weights(), plan.context)
        checks = run_checks(plan, *fused_graphs(opened, plan), launcher, source_of_weights, every)
        print(f"{bundle.model['name']} on {name} ({plan.name}), {'random' if drawn else 'its own'} weights")
        print(show(checks))
        all_agree = all_agree and all(check.ok for check in checks)
    if not all_agree:
        raise SystemExit(1)


def open_launchers(bundle: Bundle, device: str, threads: int | None) -> list[tuple[str, Plan, Launcher]]:
    """Of the device, or of each stage's: its name, its plan, and what runs single launches on it."""
    plans, devices = plans_for(bundle, device), split_devices(device)
    found = [open_launcher(bundle, plan, name, threads) for plan, name in zip(plans, devices)]
    beside = [plan for plan in map(bundle.experts_of, plans) if plan]
    return [*found, *(open_launcher(bundle, plan, "host", threads) for plan in beside)]


def open_launcher(bundle: Bundle, plan: Plan, device: str, threads: int | None) -> tuple[str, Plan, Launcher]:
    kind, which = split_device(device)
    if kind == "null":
        raise HfcError("device null computes nothing that could be tested", hint="--device host, hip or cuda")
    if kind == "host":
        return "the host", plan, HostLauncher(bundle, plan, threads or thread_count())
    driver = OPENERS[kind](int(which or 0))
    return driver.info.name, plan, GpuLauncher(bundle, plan, driver)


def open_emulators(bundle: Bundle, arch: str) -> list[tuple[str, Plan, Launcher]]:
    """For the plan of an arch, or its stages."""
    if not find_arch(arch).platform.is_emulated:
        raise HfcError(f"--emulate {arch}: the emulator runs machine code of AMD GPUs", hint="e.g. --emulate gfx1100")
    plans = [plan for plan in bundle.plans.values() if plan.arch == arch] or [plan_for(bundle, arch)]
    return [("the emulator", plan, EmulatedLauncher(bundle, plan)) for plan in plans]


def run_checks(
    plan: Plan, graph: Graph, draft: Graph | None, launcher: Launcher, weights: WeightSource, every: bool
) -> list[KernelCheck]:
    with spinner("testing") as say:
        return list(check_plan(plan, graph, launcher, weights, every, say, draft=draft))


def show(checks: list[KernelCheck]) -> str:
    rows = [
        (c.program, c.kernel, c.launches, f"{c.deviation.error:.1e}", f"{c.deviation.worst:.1e}", f"{c.bound:.0e}", "ok" if c.ok else "WRONG")
        for c in checks
    ]  # fmt: skip
    failed = sum(not c.ok for c in checks)
    verdict = (
        f"{failed} of {len(checks)} kernels differ from the interpreter"
        if failed
        else f"{len(checks)} kernels agree with the interpreter"
    )
    return f"{table(('program', 'kernel', 'launches', 'error', 'worst', 'bound', ''), rows)}\n{verdict}"
