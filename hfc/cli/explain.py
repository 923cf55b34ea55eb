"""`hfc explain`: what a bundle launches, and what each kernel needs."""

from __future__ import annotations

from collections import Counter

from hfc.backend import gpu
from hfc.backend.emit import emit
from hfc.backend.why import explain
from hfc.base.diagnostics import HfcError, unknown
from hfc.cli.open_model import Choice, open_bundle, resolve
from hfc.cli.selftest import fused_graph, matrix_format, settings_of
from hfc.cli.table import table
from hfc.compiler import source_of
from hfc.plan import Bundle, Plan
from hfc.predict import report
from hfc.predict.cards import find_cards
from hfc.predict.launch import Site, site_of
from hfc.predict.program import Sampler, estimate
from hfc.runtime.launcher import grid_size
from hfc.step import DECODE_ROWS, Step


def command(
    model: str,
    arch: str | None,
    launches: bool,
    kernel: str | None,
    why: bool,
    weights: str | None,
    kv: str | None,
    ctx: int | None,
    card: str | None,
) -> None:
    """List a bundle's kernels with registers, LDS and launches. A model that is no bundle is compiled first."""
    if (kernel is None) == why:
        raise HfcError(
            "--kernel and --why go together", hint="--kernel NAME --why; without both, the kernels are listed"
        )
    source = resolve(model)
    wanted = find_cards(card)[:1] if card else []
    arch = wanted[0][0].name if wanted else arch
    bundle = open_bundle(source, Choice(f"null:{arch}" if arch else "null", None, ctx, kv, weights))
    plans = chosen_plans(bundle, arch)
    if kernel is not None:
        print("\n\n".join(reasons(bundle, plan, kernel, weights) for plan in plans))
        return
    print(f"{bundle.model['name']} from {bundle.model['weights']}")
    for plan in plans:
        print()
        print(list_launches(plan) if launches else list_kernels(plan))
        for known_arch, known in wanted:
            print()
            print(list_times(bundle, plan, known.name, site_of(known_arch, known)))


def reasons(bundle: Bundle, plan: Plan, kernel: str, weights: str | None) -> str:
    """What hfc.backend.why says of a kernel. The regions are made again from what the bundle was compiled from."""
    found = next((k for k in plan.kernels if k.symbol == kernel), None)
    if found is None:
        raise unknown(f"kernel of {plan.arch}", kernel, [k.symbol for k in plan.kernels])
    if plan.arch == "host":
        raise HfcError("--why: the host has one kernel for each region", hint="--arch gfx1100, or another GPU")
    opened = source_of(bundle, weights, matrix_format(plan))
    settings = settings_of(plan)
    emitted = emit(fused_graph(opened, plan), settings, gpu.MATRIX_LAYOUT)
    return explain(emitted, settings, kernel, found.resources)


def chosen_plans(bundle: Bundle, arch: str | None) -> list[Plan]:
    """All plans, or the one for `arch`."""
    if arch is None:
        return list(bundle.plans.values())
    if arch not in bundle.plans:
        raise unknown("architecture in the bundle", arch, bundle.plans)
    return [bundle.plans[arch]]


def list_kernels(plan: Plan) -> str:
    """One row a kernel. Registers are per lane, LDS and scratch in bytes; a dash where the device has no such thing, or only its
    driver knows."""
    counts = {name: count for program in plan.programs for name, count in launch_counts(plan, program).items()}
    shapes = {launch.kernel: launch for steps in plan.programs.values() for launch in steps}
    fields = ("vgprs", "sgprs", "lds_bytes", "scratch_bytes", "occupancy")
    listed = []
    for kernel in plan.kernels:
        known = fields if kernel.resources.get("occupancy") else ("lds_bytes",)  # PTX has no registers of a machine yet
        resources = [kernel.resources.get(name, "-") if name in known else "-" for name in fields]
        block = shapes[kernel.symbol].block if kernel.symbol in shapes else "-"
        listed.append((kernel.symbol, *resources, block, *(count[kernel.symbol] for count in counts.values())))
    for called in dict.fromkeys(
        launch.kernel for steps in plan.programs.values() for launch in steps if launch.product
    ):
        listed.append((called, *["-"] * len(fields), "-", *(count[called] for count in counts.values())))  # a library's
    header = ("kernel", "VGPRs", "SGPRs", "LDS", "scratch", "waves", "block", *(f"per {name}" for name in counts))
    return f"{title(plan)}\n{table(header, listed)}"


def list_times(bundle: Bundle, plan: Plan, name: str, site: Site) -> str:
    """What each launch of a token in the middle of the context takes on a card, and what bounds it."""
    found = estimate(Sampler(bundle, plan.arch).calls(1, max(1, plan.context // 2)), site)
    return f"{name}: {report.heading(found, site)}\n{table(report.HEADER, report.rows(found))}"


def launch_counts(plan: Plan, program: str) -> dict[str, Counter[str]]:
    """How often a step of `program` launches each kernel; where that depends on its rows, an entry for each range of them."""
    if not program.endswith("decode"):
        return {program: Counter(launch.kernel for launch in plan.programs[program])}
    ranges: list[tuple[int, int, Counter[str]]] = []
    for rows in range(1, min(DECODE_ROWS, plan.max_rows) + 1):
        step = Step.single(range(rows))
        count = Counter(x.kernel for x in plan.programs[program] if all(grid_size(size, step) for size in x.grid))
        if ranges and ranges[-1][2] == count:
            ranges[-1] = (ranges[-1][0], rows, count)
        else:
            ranges.append((rows, rows, count))
    if len(ranges) == 1:
        return {program: ranges[0][2]}
    return {f"{program} of {first}" + f"-{last}" * (last > first): count for first, last, count in ranges}


def list_launches(plan: Plan) -> str:
    """Every launch in order: kernel, grid, bytes of one decode step (a row, a segment, context 1), and its IR text."""
    lines = [title(plan)]
    for program, steps in plan.programs.items():
        lines.append(f"{program}:")
        for number, launch in enumerate(steps):
            moved = sum(launch.bytes.values())
            lines.append(
                f"{number:4} {launch.kernel} grid {' x '.join(launch.grid)} block {launch.block}, {moved} bytes"
            )
            lines += [f"       {line}" for line in launch.text.splitlines()]
    return "\n".join(lines)


def title(plan: Plan) -> str:
    state = sum(sum(s.planes.values()) for s in plan.states) * plan.slots
    return (
        f"{plan.arch}: {len(plan.kernels)} kernels, context {plan.context}, up to {plan.max_rows} rows a step; "
        f"scratch {plan.arena_bytes / 1e6:.1f} MB, state {state / 1e6:.1f} MB"
    )
