"""delta: from the convolution's input to the gated norm of a DeltaNet layer, token after token, states in place."""

from __future__ import annotations

from hfc.backend.body import Printer
from hfc.backend.skeletons.delta.region import DeltaRegion, Journal
from hfc.backend.skeletons.linear.bind import always_read
from hfc.backend.spec import Bound
from hfc.ir.convolved import convolved
from hfc.ir.element import row_shape
from hfc.ir.graph import Op, Value
from hfc.ir.index import reindex
from hfc.ir.roles import roots


def bind(region: Op, printer: Printer) -> Bound[DeltaRegion]:
    (delta,) = roots(region.inner, "recurrence")
    _q, _k, _v, decay, beta, memory = delta.inputs
    found = convolved(delta, printer.producers)
    assert found, f"{delta}: fuse_delta made a region of it"
    conv, q, k, v = found.conv, found.q, found.k, found.v
    assert q.eps is not None, f"{delta}: its queries are not normed"
    u, taps, window = conv.inputs
    load = printer.element(u, reindex(("j",), (taps.type.size(0),), row_shape(u)))
    printer.leaves[conv.outputs[0]] = lambda _index: "c"
    weights, activate = printer.arg(taps), printer.element(found.activated, ("j",))
    before = len(printer.reads)
    gates = printer.element(decay, ("g",)), printer.element(beta, ("g",))
    gate_reads = always_read(printer.reads[before:], *gates)
    states = printer.arg(window, written=True), printer.arg(memory, written=True)
    printer.leaves[delta.outputs[0]] = lambda index: f"y[{index[-1]}]"
    printer.fresh_stats()
    before = len(printer.reads)
    store = printer.stores(("g", "j"), row_shape(delta.outputs[0]))
    made = DeltaRegion(
        k_heads=delta.inputs[0].type.size(1),
        v_heads=memory.type.size(1),
        dk=memory.type.size(2),
        dv=memory.type.size(3),
        taps=taps.type.size(1),
        channels=taps.type.size(0),
        tiled=delta.attrs["tiled"],
        u=load,
        conv=weights,
        activate=activate,
        eps=q.eps,
        q_scale=q.scale,
        decay=gates[0],
        beta=gates[1],
        window=states[0],
        memory=states[1],
        q0=q.first,
        k0=k.first,
        v0=v.first,
        stats=tuple(printer.stats),
        store=store,
        gate_reads=gate_reads,
        store_reads=always_read(printer.reads[before:], store),
        journal=_journal(window, memory, printer),
    )
    name = f"delta_k{made.k_heads}x{made.dk}_v{made.v_heads}x{made.dv}"
    return Bound("delta", name, tuple(printer.args), "T", made)


def _journal(window: Value, memory: Value, printer: Printer) -> Journal | None:
    if not printer.settings.journal_rows:
        return None
    return Journal(
        printer.settings.journal_rows,
        printer.settings.slots,
        printer.arg(window, written=True, plane="journal"),
        printer.arg(memory, written=True, plane="journal"),
    )
