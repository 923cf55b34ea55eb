"""linear: y = x wᵀ for one or more weights of one input, with what stands before (norm) and after (residual, gate)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from hfc.backend.body import Printer
from hfc.backend.skeletons.linear.region import LinearRegion, Matrix
from hfc.backend.spec import Bound
from hfc.formats import block_format
from hfc.ir.element import Leaf, row_shape
from hfc.ir.graph import Op, Value
from hfc.ir.index import flat, reindex
from hfc.ir.roles import is_product, is_rotation, of_experts
from hfc.target.profiles import EXACT, TURBO


def bind(region: Op, printer: Printer) -> Bound[LinearRegion]:
    roots = [op for op in region.inner if is_product(op)]
    first = roots[0]
    top = first.output.type.size(1) if of_experts(first) else 0
    x, rotate = before_rotation(first.inputs[0], printer)
    load = input_element(first, x, printer, top)
    stats = tuple(printer.stats)
    of_inputs = (read for read in printer.reads if re.search(r"\bj\b", read))
    reads = always_read(of_inputs, load, *(stat.element for stat in stats))
    reached = {v: _roots_of(v, region, roots) for v in region.outputs}
    zipped = any(len(r) > 1 for r in reached.values())
    for i, root in enumerate(roots):
        printer.leaves[root.output] = _named(f"y{i}" if zipped else "y")
    parts = []
    for root in roots:
        weight = root.inputs[1]
        mine = [] if zipped else [v for v in region.outputs if reached[v] == {root}]
        before = len(printer.reads)
        store = " ".join(_store(v, root, printer, top) for v in mine)
        read = always_read(printer.reads[before:], store)
        parts.append(Matrix(printer.arg(weight), block_format(weight.type.dtype), weight.type.size(-2), store, read))
    before = len(printer.reads)
    store = " ".join(_store(v, first, printer, top) for v in region.outputs) if zipped else ""
    if zipped:
        parts[0] = replace(parts[0], store_reads=always_read(printer.reads[before:], store))
    bound = LinearRegion(
        k=first.inputs[1].type.size(-1),
        parts=tuple(parts),
        zipped=zipped,
        store=store,
        load=load,
        rotate=rotate,
        stats=stats,
        reads=reads,
        top=top,
        experts=printer.arg(first.inputs[2]) if top else None,
        expert_count=first.inputs[1].type.size(0) if top else 0,
        token_inputs=bool(top) and len(x.type.shape) == 2,
        single_product=printer.settings.profile != EXACT,
        # no product shows its inputs' rounding as directly as the head's, and of all it is the one that waits longest for its weights
        byte_inputs=printer.settings.profile == TURBO and first.output.type.shape[0] != "R",
    )
    name = "_".join(
        [
            "zip" if zipped else "linear",
            *dict.fromkeys(p.format.name for p in parts),
            f"k{bound.k}",
            f"n{bound.outputs}",
        ]
    )
    return Bound("linear", name, tuple(printer.args), str(first.output.type.shape[0]), bound)


def always_read(reads: Iterable[str], *expressions: str) -> tuple[str, ...]:
    """What expressions read of memory; nothing where one chooses: of values side by side each is there for some places alone."""
    return () if any("?" in expression for expression in expressions) else tuple(dict.fromkeys(reads))


def _named(variable: str) -> Leaf:
    return lambda _index: variable


def before_rotation(x: Value, printer: Printer) -> tuple[Value, int]:
    """The value to load, and the group that is rotated after it is loaded; 0: none."""
    op = printer.producers.get(x)
    return (op.inputs[0], op.attrs["group"]) if op and is_rotation(op) else (x, 0)


def input_element(root: Op, x: Value, printer: Printer, top: int) -> str:
    """Input element j of `row`; with experts, `row` counts (token, choice) pairs."""
    if not top:
        return printer.element(x, reindex(("j",), (root.inputs[1].type.size(-1),), row_shape(x)))
    if len(x.type.shape) == 2:
        return printer.element(x, ("j",), f"(row / {top})")
    return printer.element(x, (f"row % {top}", "j"), f"(row / {top})")


def _store(value: Value, root: Op, printer: Printer, top: int) -> str:
    """The statement that writes column n of the region's output `value`."""
    n, shape = root.inputs[1].type.size(-2), row_shape(value)
    row, index, here = ("row", ("n",), (n,)) if not top else (f"(row / {top})", (f"row % {top}", "n"), (top, n))
    expression = printer.element(value, reindex(index, here, shape), row)
    target = printer.arg(value, written=True)
    return f"{target.name}[(size_t){row} * {n * max(top, 1)} + {flat(index, here)}] = {expression};"


def _roots_of(value: Value, region: Op, roots: list[Op]) -> set[Op]:
    producers = {v: op for op in region.inner for v in op.outputs}
    found, stack = set(), [value]
    while stack:
        op = producers.get(stack.pop())
        if op in roots:
            found.add(op)
        elif op:
            stack.extend(op.inputs)
    return found
