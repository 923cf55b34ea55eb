"""pool: entries made of runs of tokens, the tokens in a ring."""

from __future__ import annotations

from hfc.backend.body import Printer
from hfc.backend.skeletons.pool.region import PoolRegion
from hfc.backend.spec import Bound
from hfc.ir.graph import Op
from hfc.ir.roles import roots


def bind(region: Op, printer: Printer) -> Bound[PoolRegion]:
    (pool,) = roots(region.inner, "pool")
    values, gates, bias, kept = pool.inputs
    size, runs = pool.outputs[0].type.size(1), pool.attrs["runs"]
    value, gate = (printer.element(x, ("j",)) for x in (values, gates))
    printer.leaves[pool.outputs[0]] = lambda _index: "y"
    made = PoolRegion(
        size=size,
        runs=runs,
        every=bias.type.size(0),
        ring_rows=kept.type.size(1),
        value=value,
        gate=gate,
        bias=printer.arg(bias),
        kept=printer.arg(kept, written=True),
        store=printer.stores(("j",), (size,)),
    )
    return Bound("pool", f"pool_c{size}_{runs}x{made.every}", tuple(printer.args), "T", made)
