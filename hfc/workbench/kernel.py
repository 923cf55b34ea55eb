"""One kernel as texts: its IR, its source, its assembly with what it uses, and why it serves its region."""

from __future__ import annotations

import re
from collections import Counter

from hfc.backend.assembly import code_of, instructions, loop_lines
from hfc.backend.skeletons import SKELETONS
from hfc.backend.spec import Bound
from hfc.backend.why import explain, roots_of
from hfc.base.diagnostics import HfcError
from hfc.formats.dtype import SCALARS
from hfc.plan import Bundle, Kernel, Plan
from hfc.workbench.remade import Remade

OTHER_CODE = (
    "the bundle holds other code than this hfc makes: it was compiled by another version, or with another compiler"
)


def ir_text(remade: Remade, symbol: str) -> str:
    """The region that the kernel serves, and how often; a kernel that belongs to no region says what it does."""
    calls = remade.regions(symbol)
    if not calls:
        return f"# {symbol} serves no region of the graph: {NO_REGION[_stem(symbol)]}"
    times = f"{len(calls)} equal regions, of which this is the first" if len(calls) > 1 else "one region"
    return f"# {symbol} serves {times}\n{calls[0].text}"


def why_text(remade: Remade, plan: Plan, symbol: str) -> str:
    if remade.is_host:
        return _why_host(remade, symbol)
    if not remade.regions(symbol):
        return f"{symbol} for {plan.arch} serves no region of the graph: {NO_REGION[_stem(symbol)]}."
    return explain(remade.emitted, remade.settings, symbol, kernel_of(plan, symbol).resources, is_measured=True)


def assembly_text(remade: Remade, bundle: Bundle, plan: Plan, symbol: str) -> str:
    """Instructions and labels after a head that says what the kernel uses."""
    whole = remade.assembly(symbol)
    code = code_of(whole, symbol)
    sign = remade.settings.arch.platform.comment
    notes = [f"{symbol} for {plan.arch}", usage_line(remade, plan, symbol, whole), instruction_line(code)]
    if not remade.is_host and not is_bundled(remade, bundle, plan, symbol):
        notes.append(OTHER_CODE)
    return "\n".join([*(f"{sign} {note}" for note in notes if note), code])


def usage_line(remade: Remade, plan: Plan, symbol: str, assembly: str) -> str:
    """Registers, LDS and occupancy beside what the architecture has."""
    arch = remade.settings.arch
    if remade.is_host:
        return host_usage(assembly)
    used = kernel_of(plan, symbol).resources
    if not used.get("occupancy"):
        return f"{used['lds_bytes']} bytes of shared memory; the driver decides on registers and occupancy"
    accumulators = f" and {used['agprs']} accumulator" if used["agprs"] else ""
    return (
        f"{used['vgprs']} vector{accumulators} and {used['sgprs']} scalar registers, {used['lds_bytes']} of {arch.lds_bytes} bytes of LDS, "
        f"{used['scratch_bytes']} of scratch, {used['spills']} spills; {used['occupancy']} waves of {arch.wave} a SIMD by registers"
    )


def host_usage(assembly: str) -> str:
    """Of a CPU's function: its frame on the stack and the vector registers that it names."""
    frame = re.search(r"\bsubq?\s+\$(\d+), %rsp", assembly) or re.search(r"\bsub\s+sp, sp, #(\d+)", assembly)
    named_registers = set(re.findall(r"%[xyz]mm\d+|\b[vq]\d+\b", assembly))
    kinds = Counter(re.sub(r"\d+", "", register) for register in named_registers)
    named = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "no vector registers"
    return f"registers named: {named}; {frame[1] if frame else 0} bytes of stack"


def instruction_line(code: str) -> str:
    """How many instructions, how many of them in loops, and the most frequent ones there."""
    loops = loop_lines(code)
    frequent = Counter(line.split()[0] for _, line in loops).most_common(5)
    named = ": " + ", ".join(f"{name} {count}" for name, count in frequent) if frequent else ""
    return f"{instructions(code)} instructions, {len(loops)} in loops{named}"


def is_bundled(remade: Remade, bundle: Bundle, plan: Plan, symbol: str) -> bool:
    """The code object of the bundle is the one that this source compiles to."""
    file = kernel_of(plan, symbol).file
    return file is not None and bundle.files[file] == remade.object(symbol)


def kernel_of(plan: Plan, symbol: str) -> Kernel:
    found = next((kernel for kernel in plan.kernels if kernel.symbol == symbol), None)
    if found is None:
        raise HfcError(f"{symbol} is not in the bundle's plan for {plan.arch}: {OTHER_CODE}", hint="compile it again")
    return found


# Kernels that no region asks for: stem -> what they do.
NO_REGION = {
    "sample": "one launch finds the largest logit of each slice of a row, the next chooses each sequence's next token, with the parameters "
    "and random bits of its row",
    "adopt": "it writes the draft's guesses into the step, where the next launches read tokens",
}


def _stem(symbol: str) -> str:
    return symbol.partition("_")[0]


def _why_host(remade: Remade, symbol: str) -> str:
    """A CPU has one kernel for each region: what is left to say is what decided on the skeleton, and which formats it reads."""
    bound = remade.emitted.kernels[symbol]
    skeleton, calls = SKELETONS[bound.stem], remade.regions(symbol)
    formats = ", ".join(block_formats(bound)) or "none"
    return "\n".join(
        [
            f"{symbol} for the host: {skeleton.host}",
            "",
            f"The region is the {bound.stem} skeleton's, {roots_of(calls[0])}. The host has one kernel for each",
            "skeleton and no variants: threads share the rows or outputs of a launch, and the compiler chooses the instructions.",
            f"Formats that it reads or writes in blocks: {formats}. Equal regions: {len(calls)}.",
        ]
    )


def block_formats(bound: Bound) -> list[str]:
    """Of the weights and tables that a kernel reads, and of the KV cache that it reads or writes."""
    weights = (arg.behind.type.dtype for arg in bound.args if arg.is_weight)
    names = dict.fromkeys((*weights, *(form.name for form in bound.region.kv_formats)))
    return [name for name in names if name not in SCALARS]
