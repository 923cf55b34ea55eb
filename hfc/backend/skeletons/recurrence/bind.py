"""recurrence: a linear recurrence token after token, its state in place, with what makes its operands and what follows it."""

from __future__ import annotations

from hfc.backend.body import Printer
from hfc.backend.skeletons.recurrence.region import RecurrenceRegion, RowVector
from hfc.backend.spec import Bound
from hfc.ir.element import row_shape
from hfc.ir.graph import Op, Value
from hfc.ir.roles import roots


def bind(region: Op, printer: Printer) -> Bound[RecurrenceRegion]:
    (recurrence,) = roots(region.inner, "recurrence")
    q, k, v, decay, beta = (_operand(value, printer) for value in recurrence.inputs[:5])
    state = recurrence.inputs[5]
    memory, rows = printer.arg(state, written=True), printer.settings.journal_rows
    v_heads, dk, dv = state.type.sizes(1)
    printer.leaves[recurrence.outputs[0]] = lambda index: f"y[{index[-1]}]"
    printer.fresh_stats()
    store = printer.stores(("g", "j"), row_shape(recurrence.outputs[0]))
    made = RecurrenceRegion(
        k_heads=recurrence.inputs[0].type.size(1),
        v_heads=v_heads,
        dk=dk,
        dv=dv,
        decays=dk if len(recurrence.inputs[3].type.shape) == 3 else 1,
        delta=recurrence.attrs["delta"],
        tiled=recurrence.attrs["tiled"],
        q=q,
        k=k,
        v=v,
        decay=decay,
        beta=beta,
        memory=memory,
        stats=tuple(printer.stats),
        store=store,
        journal_rows=rows,
        journal=printer.arg(state, written=True, plane="journal") if rows else None,
    )
    name = f"recurrence_k{made.k_heads}x{dk}_v{v_heads}x{dv}"
    return Bound("recurrence", name, tuple(printer.args), "T", made)


def _operand(value: Value, printer: Printer) -> RowVector:
    printer.fresh_stats()
    expression = printer.element(value, ("g", "j")[: len(row_shape(value))])
    return RowVector(tuple(printer.stats), expression)
