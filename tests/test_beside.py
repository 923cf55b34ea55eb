"""Which regions share a launch: those that do not read each other, and none that would change what another one still reads."""

from dataclasses import replace

from hfc.ir.graph import Graph
from hfc.ir.text import parse_graph
from hfc.passes.pipeline import run_passes
from hfc.passes.settings import RankCut, Settings
from hfc.target.arch import find_arch

SETTINGS = Settings(find_arch("gfx1100"), 16, 1, 8, 8, "f32", "f32")
HEAD = """graph g(%t: i32[T]) {
  %e: f32[9, 32] = weight() {name="embed", recipe=tensor(name="embed")}
  %x: f32[T, 32] = gather(%e, %t)
  %a: f32[24, 32] = weight() {name="a", recipe=tensor(name="a")}
  %b: f32[32, 24] = weight() {name="b", recipe=tensor(name="b")}
  %c: f32[32, 24] = weight() {name="c", recipe=tensor(name="c")}
  %u: f32[T, 24] = linear(%x, %a)
"""


def members(graph: Graph, settings: Settings = SETTINGS) -> list[tuple[str, ...]]:
    """Of every launch of the fused graph, its regions."""
    fused = run_passes(graph, settings)
    return [tuple(op.attrs.get("members", (op.attrs["stem"],))) for op in fused.ops if op.is_region]


def graph(text: str) -> Graph:
    return parse_graph(HEAD + text + "}")


def test_what_a_product_makes_is_no_launch_beside_it():
    """The second product reads the first: each has a launch of its own."""
    found = members(graph("  %v: f32[T, 32] = linear(%u, %b)\n  return %v\n"))
    assert all(len(one) == 1 for one in found)


def test_the_host_has_its_threads_for_each_region():
    """A launch costs it nothing, and its regions stay by themselves."""
    assert all(len(one) == 1 for one in members(two_products(), replace(SETTINGS, arch=find_arch("host"))))


def two_products() -> Graph:
    """A product of each half of another one's result."""
    return graph("""
  %d: f32[32, 12] = weight() {name="d", recipe=tensor(name="d")}
  %f: f32[32, 12] = weight() {name="f", recipe=tensor(name="f")}
  %l: f32[T, 12], %r: f32[T, 12] = split(%u) {sizes=[12, 12]}
  %v: f32[T, 32] = linear(%l, %d)
  %w: f32[T, 32] = linear(%r, %f)
  %y: f32[T, 64] = concat(%v, %w)
  return %y
""")


def test_products_of_two_inputs_share_a_launch():
    assert ("linear", "linear") in members(two_products())


def test_a_state_is_not_written_beside_what_reads_it():
    """Two convolutions carry one window each; the second of one window's readers comes after it."""
    text = """
  %w: f32[24, 3] = weight() {name="conv", recipe=tensor(name="conv")}
  %s: f32[S, 24, 2] = state() {name="window", k_format="f32", v_format="f32"}
  %p: f32[S, 24, 2] = state() {name="other", k_format="f32", v_format="f32"}
  %y: f32[T, 24], %s2: f32[S, 24, 2] = causal_conv(%u, %w, %s)
  %z: f32[T, 24], %p2: f32[S, 24, 2] = causal_conv(%u, %w, %p)
  %o: f32[T, 48] = concat(%y, %z)
  return %o
  update %s = %s2
  update %p = %p2
"""
    assert ("conv", "conv") in members(graph(text))
    same = text.replace("causal_conv(%u, %w, %p)", "causal_conv(%u, %w, %s)").replace("  update %p = %p2\n", "")
    assert not [one for one in members(graph(same)) if one.count("conv") > 1]


LATENT = """
  %q: f32[24, 24] = weight() {name="q", recipe=tensor(name="q")}
  %k: f32[2, 8, 8] = weight() {name="k_up", recipe=tensor(name="k_up")}
  %r: f32[C, 4] = const() {recipe=rope_table(rotary=4, theta=100.0)}
  %kv: kv[S, 1, C, 12] = state() {name="kv", k_format="f32", v_format="f32"}
  %m: i32[T, 2] = numbers(%t) {count=2}
  %h: f32[T, 24] = linear(%u, %q)
  %g: f32[T, 2, 12] = reshape(%h) {shape=[2, 12]}
  %own: f32[T, 2, 8], %turned: f32[T, 2, 4] = split(%g) {sizes=[8, 4]}
  %big: f32[T, 2, 8] = expert_linear(%own, %k, %m)
  %rope: f32[T, 2, 4] = rope(%turned, %r)
  %both: f32[T, 2, 12] = concat(%big, %rope)
  %row: f32[T, 12], %rest: f32[T, 12] = split(%u) {sizes=[12, 12]}
  %one: f32[T, 1, 12] = reshape(%row) {shape=[1, 12]}
  %n: kv[S, 1, C, 12] = kv_append(%kv, %one, %one)
  %y: f32[T, 2, 12] = attend(%both, %n) {scale=0.5, window=0, softcap=0.0, causal=true, first=0}
  return %y
  update %kv = %n
"""


def test_parts_of_a_query_do_not_wait_for_each_other():
    """Latent attention: each head's own product makes one part, RoPE the other, beside the write of the cache."""
    assert ("linear", "map") in members(graph(LATENT))


def test_ranks_meet_before_a_launch_of_its_own():
    """What reads the values of other ranks waits for them: nothing else is to."""
    found = members(two_products(), replace(SETTINGS, rank=RankCut(0, 2)))
    assert all("map" not in one for one in found if len(one) > 1)
