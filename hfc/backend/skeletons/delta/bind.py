"""delta: from the convolution's input to the gated norm of a DeltaNet layer, token after token, states in place."""

from __future__ import annotations

from hfc.backend.body import Printer
from hfc.backend.skeletons.delta.region import DeltaRegion, Journal
from hfc.backend.spec import Bound, Stat
from hfc.base.diagnostics import HfcError
from hfc.ir.element import row_shape
from hfc.ir.graph import Op, Value
from hfc.ir.index import flat, reindex


def bind(region: Op, printer: Printer) -> Bound[DeltaRegion]:
    (delta,) = (op for op in region.inner if op.kind == "gated_delta")
    q, k, v, decay, beta, memory = delta.inputs
    conv = next((op for op in region.inner if op.kind == "causal_conv"), None)
    if conv is None:
        raise HfcError("gated_delta: q, k and v must come from one causal_conv through split and l2_norm", delta.span)
    u, taps, window = conv.inputs
    (q0, q_scale, q_eps, base), (k0, k_scale, k_eps, _), (v0, v_scale, v_eps, _) = (
        _trace(x, conv, printer) for x in (q, k, v)
    )
    if q_eps is None or q_eps != k_eps or v_eps is not None or (k_scale, v_scale) != (1.0, 1.0):
        raise HfcError(
            "gated_delta: q and k must be l2-normalised with one eps, only q may be scaled, v is taken as it is",
            delta.span,
        )
    load = printer.element(u, reindex(("j",), (taps.type.size(0),), row_shape(u)))
    printer.leaves[conv.outputs[0]] = lambda _index: "c"
    weights, activate = printer.arg(taps), printer.element(base, ("j",))
    gates = printer.element(decay, ("g",)), printer.element(beta, ("g",))
    states = printer.arg(window, written=True), printer.arg(memory, written=True)
    stats, store = _output(region, delta, printer)
    made = DeltaRegion(
        k_heads=q.type.size(1),
        v_heads=v.type.size(1),
        dk=q.type.size(2),
        dv=v.type.size(2),
        taps=taps.type.size(1),
        channels=taps.type.size(0),
        tiled=delta.attrs["tiled"],
        u=load,
        conv=weights,
        activate=activate,
        eps=q_eps,
        q_scale=q_scale,
        decay=gates[0],
        beta=gates[1],
        window=states[0],
        memory=states[1],
        q0=q0,
        k0=k0,
        v0=v0,
        stats=stats,
        store=store,
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


def _trace(value: Value, conv: Op, printer: Printer) -> tuple[int, float, float | None, Value]:
    """Walk from q, k or v back to the split of the activated convolution: (first channel, scale, L2 eps, split value)."""
    scale, eps = 1.0, None
    while True:
        op = printer.producers.get(value)
        if op is None:
            raise HfcError("gated_delta: q, k and v must be pieces of one causal_conv")
        if op.kind == "split":
            return sum(op.attrs["sizes"][: op.outputs.index(value)]), scale, eps, op.inputs[0]
        if op.kind == "scale":
            scale *= op.attrs["by"]
        elif op.kind == "l2_norm":
            eps = op.attrs["eps"]
        elif op.kind != "reshape":
            raise HfcError(f"gated_delta: {op.kind} between causal_conv and the delta rule is not supported", op.span)
        value = op.inputs[0]


def _output(region: Op, delta: Op, printer: Printer) -> tuple[tuple[Stat, ...], str]:
    """The reductions and the statement of what follows the delta rule."""
    printer.leaves[delta.outputs[0]] = lambda index: f"y[{index[-1]}]"
    heads, size = row_shape(delta.outputs[0])
    printer.fresh_stats()
    stores = []
    for value in region.outputs:
        if not value.type.shape[:1] == ("T",):
            continue  # the new states live in place
        expression = printer.element(value, reindex(("g", "j"), (heads, size), row_shape(value)))
        target = printer.arg(value, written=True)
        stores.append(
            f"{target.name}[(size_t)row * {heads * size} + {flat(('g', 'j'), (heads, size))}] = {expression};"
        )
    return tuple(printer.stats), " ".join(stores)
