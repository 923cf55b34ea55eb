"""Small graphs at random: every op, odd sizes, axes of size 1, results that nothing reads, norms anywhere, several states."""

from __future__ import annotations

from random_maker import Maker, Store
from random_states import MAKERS

from hfc.ir.graph import Graph


def random_graph(seed: int, count: int = 8) -> tuple[Graph, Store, tuple[str, ...]]:
    """A graph of about `count` drawn ops."""
    m = Maker(seed)
    m.fresh(*m.shape())
    kinds = sorted(set(MAKERS) - {"pick_rows"})
    for _ in range(count):
        MAKERS[str(m.one(*kinds))](m)
    if not m.values:
        m.fresh(32)
    graph, taps = m.finish()
    return graph, m.store, taps
