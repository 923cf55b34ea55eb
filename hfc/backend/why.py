"""Why a region is served by the kernels it has: its skeleton, the variant chosen and why not each other one, parameters, limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass

from hfc.backend.assembly import code_of, instructions, loop_lines
from hfc.backend.compile import compile_job
from hfc.backend.emit import Emitted, RegionCall
from hfc.backend.gpu import contract_of, kernel_job
from hfc.backend.shape import Geometry, LibraryCall
from hfc.backend.skeleton import ROWS_CLASSES, RowsClass
from hfc.backend.skeletons import SKELETONS, by_library, chosen, geometry, verdicts
from hfc.backend.spec import Bound
from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError, unknown
from hfc.formats import READABLE, loaded_format
from hfc.passes.settings import Settings


@dataclass(frozen=True)
class ServedKernel:
    """A kernel, and the first region that it serves."""

    call: RegionCall
    rows_class: RowsClass
    shape: Geometry


def explain(
    emitted: Emitted, settings: Settings, symbol: str, resources: Mapping[str, int], is_measured: bool = False
) -> str:
    """The page of one kernel. resources: of the plan, empty if they are not known.

    is_measured: every variant that could serve the region is compiled too, and its figures stand beside the verdict."""
    served = {made.shape.symbol: made for made in reversed(list(_served(emitted, settings)))}
    if symbol not in served:
        raise unknown("kernel with a region", symbol, served)
    made = served[symbol]
    return "\n".join(
        [*_region(made, settings), *_variants(made, settings, is_measured), *_numbers(made, settings, resources)]
    )


def _served(emitted: Emitted, settings: Settings) -> Iterator[ServedKernel]:
    for call in (*emitted.calls, *emitted.draft_calls):
        for rows_class in ROWS_CLASSES:
            for shape in geometry(call.bound, settings.arch, rows_class):
                own = call if shape.member is None else call.members[shape.member]
                yield ServedKernel(own, rows_class, shape)
        for step in by_library(call.bound, settings.arch):
            if not isinstance(step, LibraryCall):
                yield ServedKernel(call, "prefill", step)


def _region(made: ServedKernel, settings: Settings) -> list[str]:
    bound, shape = made.call.bound, made.shape
    task = f", which does: {shape.task} {bound.name}" if shape.task else ""
    return [
        f"{shape.symbol} for {settings.arch.name}: {shape.template.file}{task}",
        "",
        f"It serves this region of the {bound.stem} skeleton, {roots_of(made.call)}:",
        *(f"    {line}" for line in made.call.text.splitlines()),
        "",
        *_expanded(bound),
    ]


def roots_of(call: RegionCall) -> str:
    """By what the region was given to its skeleton."""
    if call.members:
        return f"joined from {len(call.members)} regions"
    roots = [kind for kind in SKELETONS[call.bound.stem].roots if f"= {kind}(" in call.text]
    return f"by its root {' or '.join(roots)}" if roots else "as no other skeleton has its root here"


def _expanded(bound: Bound) -> list[str]:
    """Which formats of files its weights may come from, where memory holds another one."""
    forms = {
        form.name: [name for name in READABLE if loaded_format(name) == form.name != name]
        for form in bound.region.weight_formats
    }
    told = [
        f"{name} is what files' {' or '.join(names)} becomes when it is loaded."
        for name, names in forms.items()
        if names
    ]
    return [*told, ""] if told else []


def _figures(bound: Bound, launches: Sequence[Geometry], settings: Settings) -> Iterator[str]:
    """What each launch of a variant compiles to, or the gate that it breaks."""
    for shape in launches:
        own = bound.served(shape.member)
        try:
            made = compile_job(kernel_job(own, shape, settings))
        except HfcError as error:  # a variant that is not taken may fall short: that is the answer
            yield f"{shape.template.name}: {error.message.splitlines()[0]}"
            continue
        code = code_of(made.assembly, made.name)
        loops = len(loop_lines(code))
        yield f"{shape.template.name}: {made.resources.summary}; {instructions(code)} instructions, {loops} in loops"


def _variants(made: ServedKernel, settings: Settings, is_measured: bool) -> list[str]:
    """One line a variant, in the order in which they are tried."""
    bound, arch = made.call.bound, settings.arch
    taken = chosen(bound, arch, made.rows_class)
    lines = [f"Variants of {bound.stem} for {made.rows_class}, the first that does not refuse is taken:"]
    for variant, refusal in verdicts(bound, arch, made.rows_class):
        if variant is taken:
            verdict = "taken"
        else:
            verdict = f"not: {refusal}" if refusal else "not: it comes after the one that is taken"
        lines += [f"    {variant.name:8} {variant.what}", f"             {verdict}"]
        if variant is taken and (chosen_by := variant.chosen_by(bound, arch)):
            lines.append(f"             {chosen_by}")
        if is_measured and not refusal:
            launches = variant.launches(bound, arch)
            lines += [f"               {figures}" for figures in _figures(bound, launches, settings)]
    if by_library(bound, arch) and made.rows_class == "prefill":
        lines.append("    library  products by rocBLAS, instead of these where it is installed")
    return [*lines, ""]


def _numbers(made: ServedKernel, settings: Settings, resources: Mapping[str, int]) -> list[str]:
    shape, region, arch = made.shape, made.call.bound.region, settings.arch
    limits = shape.template.limits
    contract = contract_of(made.call.bound, shape, arch)
    params = [(f.name, getattr(shape.params, f.name)) for f in fields(shape.params)]
    lines = [
        f"Grid {' x '.join(shape.grid)} of {shape.block} threads (T rows, R outputs, G segments, C context).",
        "Parameters: " + ", ".join(f"{name} {value}" for name, value in params if _prints(value)),
        f"A SIMD must hold {contract.waves} waves of {arch.wave}: {limits.why}.",
    ]
    if resources.get("occupancy"):
        lines.append(
            f"It holds {resources['occupancy']}: each takes {resources['vgprs']} of a SIMD's {arch.vgprs} vector registers; "
            f"{resources['lds_bytes']} of {arch.lds_bytes} bytes of LDS, {resources['scratch_bytes']} of scratch."
        )
    if contract.narrowest > 1:
        lines.append(f"Loads in loops have {contract.narrowest} bytes or more.")
    if contract.promises:
        lines.append(f"Promised instructions: {', '.join(contract.promises)}.")
    applying = [
        a for a in limits.allowances if a.arch(arch) and (a.formats is None or a.formats & set(region.gated_formats))
    ]
    return [*lines, *(f"Allowed: {a.gate} down to {a.limit}, because {a.reason}." for a in applying)]


def _prints(value: object) -> bool:
    """Numbers and words; not what describes formats and matrices."""
    if isinstance(value, tuple):
        return all(map(_prints, value))
    return isinstance(value, (bool, int, float, str)) and not is_dataclass(value)
