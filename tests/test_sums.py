"""Sums with a norm after a sublayer: who computes them again, so that no launch is needed for them alone."""

from hfc.ir.graph import Graph
from hfc.ir.text import parse_graph
from hfc.passes.pipeline import run_passes
from hfc.passes.settings import Settings
from hfc.target.arch import find_arch

SETTINGS = Settings(find_arch("gfx1100"), 16, 1, 8, 8, "f32", "f32")


def gated(width: int) -> Graph:
    """x1 = x + norm(a(x)), x2 = x1 + norm(b(x1)), then x2 + norm(back(gelu(gate(x2)))), with a gate of `width` outputs."""
    return parse_graph(f"""graph g(%t: i32[T]) {{
  %e: f32[9, 32] = weight() {{name="embed", recipe=tensor(name="embed")}}
  %x: f32[T, 32] = gather(%e, %t)
  %a: f32[32, 32] = weight() {{name="a", recipe=tensor(name="a")}}
  %b: f32[32, 32] = weight() {{name="b", recipe=tensor(name="b")}}
  %c: f32[{width}, 32] = weight() {{name="gate", recipe=tensor(name="gate")}}
  %d: f32[32, {width}] = weight() {{name="back", recipe=tensor(name="back")}}
  %p: f32[T, 32] = linear(%x, %a)
  %pn: f32[T, 32] = rms_norm(%p) {{eps=1e-06}}
  %x1: f32[T, 32] = add(%x, %pn)
  %q: f32[T, 32] = linear(%x1, %b)
  %qn: f32[T, 32] = rms_norm(%q) {{eps=1e-06}}
  %x2: f32[T, 32] = add(%x1, %qn)
  %g: f32[T, {width}] = linear(%x2, %c)
  %h: f32[T, {width}] = gelu_tanh(%g)
  %k: f32[T, 32] = linear(%h, %d)
  %kn: f32[T, 32] = rms_norm(%k) {{eps=1e-06}}
  %y: f32[T, 32] = add(%x2, %kn)
  return %y
}}""")


def stems(graph: Graph) -> list[str]:
    return [op.attrs["stem"] for op in run_passes(graph, SETTINGS).ops if op.is_region]


def test_a_narrow_projection_computes_two_sums_again():
    """Few thread blocks make it; the next sum keeps what it needs of them."""
    assert stems(gated(8)) == ["map", "linear", "linear", "linear", "linear", "map"]


def test_a_wide_projection_reads_the_second_sum():
    assert stems(gated(16)) == ["map", "linear", "linear", "map", "linear", "linear", "map"]
