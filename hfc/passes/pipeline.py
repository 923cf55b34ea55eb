"""The passes, in order, each with the reason why it stands there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import unknown
from hfc.base.trace import GRAPHS, say, timed
from hfc.ir.graph import Graph
from hfc.ir.text import print_graph
from hfc.ir.verify import verify
from hfc.passes.choose_kv import choose_kv
from hfc.passes.clone_views import clone_views
from hfc.passes.cut_stages import cut_stages
from hfc.passes.drop_unused import drop_unused
from hfc.passes.fold_constants import fold_constants
from hfc.passes.fuse_attention import fuse_attention
from hfc.passes.fuse_conv import fuse_conv
from hfc.passes.fuse_delta import fuse_delta
from hfc.passes.fuse_exchange import fuse_exchange
from hfc.passes.fuse_linear import fuse_epilogue, fuse_gate, fuse_norm, join_projections
from hfc.passes.fuse_recurrence import fuse_recurrence
from hfc.passes.fuse_rows import fuse_rows
from hfc.passes.host_experts import host_experts
from hfc.passes.join_beside import join_beside
from hfc.passes.join_mixture import join_mixture
from hfc.passes.join_sums import join_sums
from hfc.passes.narrow_outputs import narrow_outputs
from hfc.passes.settings import Settings
from hfc.passes.split_ranks import split_ranks
from hfc.passes.widen_vectors import widen_vectors


@dataclass(frozen=True)
class Pass:
    """run: graph, settings -> graph.  reason: why it stands at this place."""

    run: Callable[[Graph, Settings], Graph]
    reason: str

    @property
    def name(self) -> str:
        return self.run.__name__


PIPELINE = (
    Pass(choose_kv, "formats are facts of the states; everything after may look at them"),
    Pass(
        drop_unused,
        "before anything counts readers: a result that nothing needs would keep its maker out of every fusion",
    ),
    Pass(
        cut_stages,
        "before any fusion, so that no kernel spans two devices; after choose_kv, which counts the caches of the whole model, and "
        "drop_unused: what nothing needs would travel",
    ),
    Pass(fold_constants, "before any fusion, so that 1 + w is a weight and a norm has just one operand to load"),
    Pass(widen_vectors, "after folding, which makes new vectors; kernels then read every vector as plain f32"),
    Pass(narrow_outputs, "before views are cloned: it must see the head's single chain"),
    Pass(
        split_ranks,
        "before views are cloned and anything is fused, on weights that are folded: each is then cut as it is stored",
    ),
    Pass(
        join_sums,
        "before views are cloned and anything is fused: then a product with two inputs is one like any other; after split_ranks, which cuts "
        "weights by what they are",
    ),
    Pass(clone_views, "after the last pass that counts readers of a view; every fusion below absorbs its own copy"),
    Pass(
        host_experts,
        "before the fusions, none of which may mix what two devices compute; after clone_views, so that a mixture has views of its own",
    ),
    Pass(
        fuse_exchange,
        "before any other fusion: what the ranks exchange must not be read again by each block of a product",
    ),
    Pass(
        fuse_delta, "first of the others: it claims the gates' elementwise ops, which else would join the projections"
    ),
    Pass(fuse_conv, "after fuse_delta, which takes its own; before what would store its activation or its gate apart"),
    Pass(fuse_recurrence, "after fuse_conv, so that an activation is done once and not by every head that reads it"),
    Pass(fuse_attention, "likewise: q/k norm and the output gate belong to the cache write and to attention"),
    Pass(fuse_gate, "before joining, which would separate gate and up into parts that never meet in a register"),
    Pass(join_projections, "after fuse_gate took its pairs; one launch for all that read the same row"),
    Pass(fuse_epilogue, "needs the regions of both passes above; a residual joins the projection that it follows"),
    Pass(fuse_norm, "after joining, so that a norm is recomputed once per launch and not once per projection"),
    Pass(fuse_rows, "whatever no skeleton claimed becomes row-local maps, so that no op is left outside a kernel"),
    Pass(
        join_mixture,
        "after everything that makes regions: it joins whole ones, the sum over experts among them, which may be a map",
    ),
    Pass(join_beside, "last: what is left after every fusion by data shares launches, and is a region no longer"),
)


def run_passes(
    graph: Graph,
    settings: Settings,
    only: list[str] | None = None,
    after: Callable[[str, Graph], None] | None = None,
) -> Graph:
    """The graph after all passes (or those named in `only`, in pipeline order), verified after each.

    after: called with each pass's name and result (`--print-after-all`)."""
    names = [p.name for p in PIPELINE]
    for name in only or ():
        if name not in names:
            raise unknown("pass", name, names)
    verify(graph)
    for row in PIPELINE:
        if only is None or row.name in only:
            before = graph
            with timed(f"pass {row.name}"):
                graph = row.run(graph, settings)
            with timed("verify"):
                verify(graph)
            say(GRAPHS, partial(_changes, row.name, before, graph))
            if after:
                after(row.name, graph)
    if only is None:
        verify(graph, "fused")
    return graph


def _changes(name: str, before: Graph, after: Graph) -> str:
    text = print_graph(after)
    return f"# {name} changes nothing" if text == print_graph(before) else f"# after {name}\n{text}"
