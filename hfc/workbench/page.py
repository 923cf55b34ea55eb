"""A bundle as one HTML file: lines of the model file -> ops -> regions -> kernels -> assembly. It asks the network for nothing."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hfc.base.dataclass import dataclass
from hfc.ir.graph import Op
from hfc.ir.roles import reads_stored
from hfc.ir.text import print_op
from hfc.plan import Bundle, Launch, Plan
from hfc.runtime.launcher import grid_size
from hfc.workbench.kernel import assembly_text, ir_text, kernel_of, why_text
from hfc.workbench.launches import Launched, folded, launched, step_of
from hfc.workbench.remade import Remade

HERE = Path(__file__).parent
PROMPTS = (128,)  # rows of a short prompt, beside a full step
DEEP = 2  # a launch's bytes are those of a token in the middle of the context: its tokens by this


@dataclass(frozen=True)
class Lines:
    """Every line of sources and assembly once: most of them stand in many kernels, further apart than deflate looks back."""

    numbers: dict[str, int]

    def runs(self, text: str) -> list[int]:
        """A text as pairs: the number of a line, and how many with the next numbers follow it."""
        found: list[int] = []
        for line in text.split("\n"):
            number = self.numbers.setdefault(line, len(self.numbers))
            if found and found[-2] + found[-1] == number:
                found[-1] += 1
            else:
                found += [number, 1]
        return found


def page(bundle: Bundle, plans: Sequence[tuple[Plan, Remade]]) -> str:
    """The file's text. What it shows lies in it deflated; the browser inflates it."""
    lines = Lines({})
    data = {
        "model": bundle.model["name"],
        "weights": Path(bundle.model["weights"]).name,
        "files": {Path(name).name: text for _, remade in plans[:1] for name, text in model_files(remade).items()},
        "plans": [plan_data(bundle, plan, remade, lines) for plan, remade in plans],
        "lines": list(lines.numbers),  # after the plans, which fill it
    }
    packed = base64.b64encode(zlib.compress(json.dumps(data).encode(), 9)).decode()
    text = (HERE / "page.html").read_text()
    parts = {"STYLE": (HERE / "page.css").read_text(), "SCRIPT": (HERE / "page.js").read_text(), "DATA": packed}
    title = f"{data['model']} · {', '.join(plan.arch for plan, _ in plans)}"
    for name, part in {**parts, "TITLE": re.sub(r"[<>&]", "", title)}.items():
        text = text.replace(f"<!--{name}-->", part)
    return text


def model_files(remade: Remade) -> dict[str, str]:
    """Name of each model file, as places in it are given -> its text."""
    opened = [remade.opened, *([remade.opened.draft] if remade.opened.draft else [])]
    return {str(source.model.path): source.model.text for source in opened}


def plan_data(bundle: Bundle, plan: Plan, remade: Remade, lines: Lines) -> dict[str, Any]:
    arch = remade.settings.arch
    symbols = {symbol: name for name in remade.emitted.kernels for symbol in remade.symbols_of(name)}
    return {
        "arch": arch.name,
        "limits": {"waves": arch.occupancy(1) if arch.platform.has_registers else 0, "lds": arch.lds_bytes},
        "facts": [
            f"context {plan.context}", f"{plan.slots} slot{'s' * (plan.slots > 1)}", f"up to {plan.max_rows} rows a step", f"profile {plan.profile}",
            f"{len(plan.kernels)} kernels",
        ],
        "programs": [
            program_data(plan, found, symbols)
            for name in plan.programs
            for found in launched(plan, name, plan.context // DEEP, sorted({*PROMPTS, plan.max_rows}, reverse=True))
        ],
        "regions": regions_data(remade),
        "kernels": {
            symbol: kernel_data(bundle, plan, remade, symbol, symbols.get(symbol), lines) for symbol in remade.symbols
        },
    }  # fmt: skip


def program_data(plan: Plan, found: Launched, regions: dict[str, str]) -> dict[str, Any]:
    """groups: launches with their repeats folded, in the order in which a step runs them."""
    names = [launch.kernel for launch in found.launches]
    groups = []
    for repeat in folded(names):
        layers = [
            found.launches[repeat.first + i :: len(repeat.items)][: repeat.times] for i in range(len(repeat.items))
        ]
        groups.append({"times": repeat.times, "launches": [launch_data(plan, found, of, regions) for of in layers]})
    return {"name": found.label, "rows": found.last, "count": len(names), "groups": groups}


def launch_data(plan: Plan, found: Launched, launches: Sequence[Launch], regions: dict[str, str]) -> dict[str, Any]:
    """One launch of a group; its bytes and operations are those of one time."""
    launch, step = launches[0], step_of(plan, found.last, plan.context // DEEP)
    return {
        "kernel": launch.kernel,
        "region": regions.get(launch.kernel),
        "grid": launch.grid,
        "blocks": [grid_size(size, step) for size in launch.grid],
        "block": launch.block,
        "bytes": count_of(launch.bytes, found.last, plan.context // DEEP),
        "flops": count_of(launch.flops, found.last, found.last * (plan.context // DEEP)),
        "task": "" if launch.text.startswith("kernel ") else launch.text,
    }


def count_of(counts: dict[str, int], rows: int, context: int) -> int:
    """Of a step of `rows` rows of one sequence. context: how many times something is done for a token before it: a cache must
    be read once, whatever the rows; scores are computed for each of them."""
    once = counts.get("step", 0) + counts.get("segment", 0)
    return once + rows * counts.get("row", 0) + context * counts.get("context", 0)


def regions_data(remade: Remade) -> dict[str, Any]:
    """By name: equal regions are one, shown as the first of them is written."""
    found: dict[str, Any] = {}
    for call, op in zip(remade.calls, remade.region_ops, strict=True):
        name = call.bound.name
        if name in found:
            found[name]["count"] += 1
            continue
        found[name] = {
            "stem": call.bound.stem,
            "count": 1,
            "head": print_op(op).splitlines()[0],
            "ops": [op_data(inner) for inner in op.inner],
            "kernels": list(remade.symbols_of(name)),
        }
    return found


def op_data(op: Op) -> dict[str, Any]:
    at = [Path(op.span.file).name, op.span.line, op.span.column] if op.span else None
    return {"text": print_op(op), "kind": op.kind, "at": at, "reads": reads_stored(op)}


def kernel_data(
    bundle: Bundle, plan: Plan, remade: Remade, symbol: str, region: str | None, lines: Lines
) -> dict[str, Any]:
    resources = {} if remade.is_host else kernel_of(plan, symbol).resources
    return {
        "region": region,
        "resources": resources,
        "does": "" if region else ir_text(remade, symbol).partition(": ")[2],
        "why": why_text(remade, plan, symbol),
        "source": lines.runs(remade.source(symbol)),
        "asm": lines.runs(assembly_text(remade, bundle, plan, symbol)),
    }
