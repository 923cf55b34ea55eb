"""`hfc explain`: what a bundle launches, what each kernel needs, and what it was made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from hfc.base.diagnostics import HfcError, unknown
from hfc.base.progress import spinner
from hfc.base.whole_file import write_whole
from hfc.cli.open_model import ModelChoice, open_bundle, resolve
from hfc.cli.table import table
from hfc.plan import Bundle, Plan
from hfc.predict import report
from hfc.predict.cards import find_cards
from hfc.predict.launch import Site, site_of
from hfc.predict.program import LaunchSampler, estimate
from hfc.target.platform import FAST, TURBO
from hfc.workbench.kernel import assembly_text, ir_text, why_text
from hfc.workbench.launches import launched
from hfc.workbench.page import page
from hfc.workbench.remade import Remade

BYTE = 8  # bits


def command(
    model: str,
    arch: str | None,
    launches: bool,
    kernel: str | None,
    ir: bool,
    why: bool,
    source: bool,
    asm: bool,
    html: Path | None,
    weights: str | None,
    kv: str | None,
    profile: str | None,
    ctx: int | None,
    card: str | None,
) -> None:
    """List a bundle's kernels with registers, LDS and launches. A model that is no bundle is compiled first."""
    asked = {"--ir": ir, "--why": why, "--source": source, "--asm": asm}
    if kernel is None and any(asked.values()):
        flags = " and ".join(name for name, is_on in asked.items() if is_on)
        raise HfcError(f"{flags} without --kernel NAME", hint="hfc explain MODEL lists the kernels")
    opened = resolve(model)
    wanted = find_cards(card)[:1] if card else []
    arch = wanted[0][0].name if wanted else arch
    bundle = open_bundle(
        opened, ModelChoice(f"null:{arch}" if arch else "null", None, ctx, kv, weights, profile=profile)
    )
    plans = chosen_plans(bundle, arch)
    if html is not None:
        write_page(html, bundle, plans, weights)
        return
    if kernel is not None:
        parts = [name for name, is_on in asked.items() if is_on] or ["--ir", "--why"]
        print("\n\n".join(text for plan in plans for text in texts(bundle, plan, kernel, weights, parts)))
        return
    print(f"{bundle.model['name']} from {bundle.model['weights']}")
    for plan in plans:
        print()
        print(list_launches(plan) if launches else list_kernels(plan))
        for known_arch, known in wanted:
            print()
            print(list_times(bundle, plan, known.name, site_of(known_arch, known)))


def texts(bundle: Bundle, plan: Plan, kernel: str, weights: str | None, parts: Sequence[str]) -> Iterator[str]:
    """What is asked of a kernel. Its region is made again from what the bundle was compiled from."""
    remade = Remade.of(bundle, plan, weights)
    symbol = remade.find(kernel)
    for part in parts:
        if part == "--ir":
            yield ir_text(remade, symbol)
        elif part == "--why":
            yield why_text(remade, plan, symbol)
        elif part == "--source":
            yield remade.source(symbol)
        else:
            yield assembly_text(remade, bundle, plan, symbol)


def write_page(path: Path, bundle: Bundle, plans: list[Plan], weights: str | None) -> None:
    with spinner("writing the page"):
        text = page(bundle, [(plan, Remade.of(bundle, plan, weights)) for plan in plans])
    write_whole(path, text.encode(), "the page")
    print(f"{path}: {len(text.encode()) / 1e6:.1f} MB, opens in any browser")


def chosen_plans(bundle: Bundle, arch: str | None) -> list[Plan]:
    """All plans, or the one for `arch`."""
    if arch is None:
        return list(bundle.plans.values())
    if arch not in bundle.plans:
        raise unknown("architecture in the bundle", arch, bundle.plans)
    return [bundle.plans[arch]]


def list_kernels(plan: Plan) -> str:
    """One row a kernel. Registers are per lane, LDS and scratch in bytes; a dash where the device has no such thing, or only its
    driver knows. Launches are counted at the beginning of a context; those of kernels that have work behind it alone stand below."""
    counts = launch_counts(plan, 0)
    shapes = {launch.kernel: launch for steps in plan.programs.values() for launch in steps}
    shapes_of_kernels = {kernel.symbol for kernel in plan.kernels}
    fields = ("vgprs", "sgprs", "lds_bytes", "scratch_bytes", "occupancy")
    listed = []
    for kernel in plan.kernels:
        known = fields if kernel.resources.get("occupancy") else ("lds_bytes",)  # PTX has no registers of a machine yet
        resources = [kernel.resources.get(name, "-") if name in known else "-" for name in fields]
        block = (kernel.symbol in shapes and shapes[kernel.symbol].block) or "-"  # the host has none
        listed.append((kernel.symbol, *resources, block, *(count[kernel.symbol] for count in counts.values())))
    for called in dict.fromkeys(
        x.kernel
        for steps in plan.programs.values()
        for x in steps
        if (x.product or x.is_by_runtime) and x.kernel not in shapes_of_kernels
    ):  # a library's, and the host's
        listed.append((called, *["-"] * len(fields), "-", *(count[called] for count in counts.values())))
    header = ("kernel", "VGPRs", "SGPRs", "LDS", "scratch", "waves", "block", *(f"per {name}" for name in counts))
    return "\n".join([title(plan), table(header, listed), *later_launches(plan, counts), *rounding(plan)])


def rounding(plan: Plan) -> list[str]:
    """In profile turbo a line for each program: which kernels of products round inputs to 8 bits, and which do as in fast."""
    if plan.profile != TURBO:
        return []
    bits = {kernel.symbol: kernel.resources.get("input_bits", 0) for kernel in plan.kernels}
    lines = []
    for program, launches in plan.programs.items():
        products = [kernel for kernel in dict.fromkeys(launch.kernel for launch in launches) if bits.get(kernel)]
        rest = [f"{kernel} ({bits[kernel]})" for kernel in products if bits[kernel] != BYTE]
        if products:
            as_fast = f"; as in {FAST}, with their bits: {', '.join(rest)}" if rest else ""
            lines.append(
                f"{program}: {len(products) - len(rest)} of {len(products)} kernels round inputs of products to {BYTE} bits{as_fast}"
            )
    return lines


def launch_counts(plan: Plan, depth: int) -> dict[str, Counter[str]]:
    """Launches of each kernel by program and range of rows, behind `depth` tokens."""
    return {
        found.label: Counter(launch.kernel for launch in found.launches)
        for program in plan.programs
        for found in launched(plan, program, depth)
    }


def later_launches(plan: Plan, counts: dict[str, Counter[str]]) -> list[str]:
    """A line for each kernel that has no work at the beginning of a context."""
    found = launch_counts(plan, plan.context)
    lines = []
    for kernel in (k.symbol for k in plan.kernels if not any(count[k.symbol] for count in counts.values())):
        at_end = ", ".join(f"{count[kernel]} per {name}" for name, count in found.items() if count[kernel])
        lines += [f"{kernel}: none at the beginning of a context, {at_end} at its end"] * bool(at_end)
    return lines


def list_times(bundle: Bundle, plan: Plan, name: str, site: Site) -> str:
    """What each launch of a token in the middle of the context takes on a card, and what bounds it."""
    found = estimate(LaunchSampler(bundle, plan.name).calls(1, max(1, plan.context // 2)), site)
    return f"{name}: {report.heading(found, site)}\n{table(report.HEADER, report.rows(found))}"


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
        f"{plan.name}: {len(plan.kernels)} kernels, profile {plan.profile}, context {plan.context}, up to {plan.max_rows} rows a step; "
        f"scratch {plan.arena_bytes / 1e6:.1f} MB, state {state / 1e6:.1f} MB"
    )
