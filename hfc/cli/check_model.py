"""`hfc check-model`: a model file against a checkpoint, line by line; launches a layer; then check_logits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

from hfc.backend import gpu
from hfc.backend.emit import emit
from hfc.backend.skeletons import beside, mixture
from hfc.base.diagnostics import HfcError
from hfc.cli.check_logits import compare
from hfc.compiler import CompilerInput, open_source, settings_for
from hfc.frontend.config import key_problems
from hfc.frontend.weights import WeightTable
from hfc.ir.graph import Graph, Op
from hfc.ir.text import print_op
from hfc.passes.pipeline import run_passes
from hfc.passes.settings import Settings
from hfc.target.arch import find_arch


def command(model: str, weights: str, arch: str) -> None:
    """Say what is missing where, what fuses, and whether the numbers are those of transformers. Exit code 1 if something is wrong."""
    source = open_source(model, weights)
    found = problems(source)
    for error in found:
        print(error)
    if found:
        print(f"{len(found)} to mend in {model}")
        raise SystemExit(1)
    print(f"{model}: config and tensors of {source.path} are described")
    print(launches(source, arch))
    if source.checkpoint and not compare(source):
        raise SystemExit(1)


def problems(source: CompilerInput) -> list[HfcError]:
    """Everything that is wrong, not the first alone: keys of the config, tensors, then the graph."""
    found: list[HfcError] = list(key_problems(source.model.syntax, source.config, source.kind))
    if found or not (settings := _caught(lambda: source.settings, found)):
        return found
    table = WeightTable(source.model.syntax, settings, source.kind, source.checkpoint, source.default_format)
    for name, layer, row in table.declared():
        _caught(lambda n=name, at=layer, r=row: table.resolve(n, at, r.span), found)
    if not found:
        _caught(source.graph, found)
    return one_a_row(found)


def one_a_row(found: list[HfcError]) -> list[HfcError]:
    """What is wrong with a row in every layer is said once, with the number of times."""
    alike: dict[str, list[HfcError]] = {}
    for error in found:
        alike.setdefault(re.sub(r"\d+", "0", str(error)), []).append(error)
    return [
        first if not rest else HfcError(f"{first.message} (and {len(rest)} more like it)", first.span, first.hint)
        for first, *rest in alike.values()
    ]


def _caught(function: Callable, found: list[HfcError]):
    try:
        return function()
    except HfcError as error:
        found.append(error)
        return None


def launches(source: CompilerInput, arch: str) -> str:
    """How many launches the layers have, and of which kinds."""
    layers = layer_regions(source, arch)
    shapes = Counter(tuple(stems) for layer, stems in layers.items() if layer >= 0)
    lines = [f"{count} layers of {len(stems)} launches: {' '.join(stems)}" for stems, count in shapes.most_common(3)]
    return "\n".join(lines) or f"{sum(map(len, layers.values()))} launches"


def layer_regions(source: CompilerInput, arch: str) -> dict[int, list[str]]:
    """The stems of what each layer launches for one row at the begin of a context; of -1 what comes before the first. The head's is left out."""
    settings = settings_for(source, find_arch(arch))
    fused = run_passes(source.graph(), settings)
    shared = _shared_launches(fused, settings)
    names = {op.output: op.attrs["name"] for op in fused.ops if op.kind in ("weight", "state")}
    layers: dict[int, list[str]] = {}
    current = -1
    for region in (op for op in fused.ops if op.body and fused.outputs[0] not in op.outputs):
        seen = [re.search(r"\d+", names[v]) for v in region.inputs if v in names and re.search(r"\d+", names[v])]
        current = max([current, *(int(m[0]) for m in seen if m)])
        layers.setdefault(current, []).extend(_launched(region, shared))
    return layers


def _launched(region: Op, shared: dict[str, int]) -> list[str]:
    """A mixture's launches are those of weights that can be joined, as a checkpoint of usual sizes has them."""
    stem = region.attrs["stem"]
    return [stem] * (mixture.LAUNCHES if stem == mixture.SKELETON.stem else shared.get(print_op(region), 1))


def _shared_launches(fused: Graph, settings: Settings) -> dict[str, int]:
    """The launches of regions side by side, which may be too large for one; none where a size has no weights of the format."""
    try:
        calls = emit(fused, settings, gpu.MATRIX_LAYOUT).calls
    except HfcError:
        return {}
    stem = beside.SKELETON.stem
    return {c.text: len(beside.launches_of_one_row(c.bound, settings.arch)) for c in calls if c.bound.stem == stem}
