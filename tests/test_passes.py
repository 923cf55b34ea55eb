"""Every pass keeps what a graph means, for every model; fusion leaves the launches that the design promises."""

import numpy as np
import pytest
from small_models import CONFIGS, CONTEXT, interpreter, small_graph

from hfc.base.diagnostics import HfcError
from hfc.ir.text import parse_graph, print_graph
from hfc.ir.verify import verify
from hfc.passes.pipeline import PIPELINE, run_passes
from hfc.passes.settings import Settings
from hfc.step import Segment, Step
from hfc.target.arch import find_arch

SETTINGS = Settings(find_arch("host"), CONTEXT, 2, 32, 8, "f32", "f32")
STEPS = (
    Step(np.array([3, 1, 4, 1, 5, 9, 2], np.int32), (Segment(1, 0, 3, 0), Segment(0, 3, 4, 0)), np.array([2, 3, 6])),
    Step(np.array([6, 5], np.int32), (Segment(0, 0, 1, 4), Segment(1, 1, 1, 3)), np.array([1, 0])),
)


@pytest.mark.parametrize("model", CONFIGS)
def test_each_pass_keeps_logits_and_states(model):
    reference = interpreter(small_graph(model), slots=2)
    expected = [reference.run(step)[0][step.output_rows] for step in STEPS]
    stages = []
    run_passes(small_graph(model), SETTINGS, after=lambda name, graph: stages.append((name, graph)))
    assert [name for name, _ in stages] == [row.name for row in PIPELINE]
    for name, graph in stages:
        ran = interpreter(graph, slots=2)
        for step, logits in zip(STEPS, expected):
            narrowed = graph.outputs[0].type.shape[0] == "R"
            found = ran.run(step)[0][slice(None) if narrowed else step.output_rows]
            np.testing.assert_allclose(found, logits, rtol=1e-5, atol=1e-6, err_msg=name)
        for state, value in ran.states.items():
            _same_state(value, reference.states[state], f"{name}: {state}")


def _same_state(found, expected, message):
    pairs = [(found, expected)] if isinstance(found, np.ndarray) else [(found.k, expected.k), (found.v, expected.v)]
    for a, b in pairs:
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6, err_msg=message)


@pytest.mark.parametrize("model", CONFIGS)
def test_text_round_trip_after_every_pass(model):
    def check(name, graph):
        text = print_graph(graph)
        assert print_graph(parse_graph(text)) == text, name

    run_passes(small_graph(model), SETTINGS, after=check)


# Regions of one layer of each kind, in order. Qwen 3.5: 5 launches a DeltaNet layer, 6 an attention layer (hipfire: 14 and 17).
ATTENTION = ["linear", "map", "attend", "linear", "linear", "linear"]
DELTA = ["linear", "delta", "linear", "linear", "linear"]
EXPERTS = ["linear", "route", "linear", "linear", "linear", "map", "linear"]
STEMS = {
    "llama": ["map", *ATTENTION, *ATTENTION, "linear"],
    "qwen3": ["map", *ATTENTION, *ATTENTION, "linear"],
    "qwen3_5_text": ["map", *DELTA, *ATTENTION, "linear"],
}


@pytest.mark.parametrize("model", STEMS)
def test_launches_a_layer(model):
    fused = run_passes(small_graph(model), SETTINGS)
    assert [op.attrs["stem"] for op in fused.ops if op.kind == "kernel"] == STEMS[model]


def test_a_norm_behind_a_sublayer_takes_no_launch_of_its_own_before_the_next_projection():
    """Of the two sums of a layer one is kept in memory: the other is computed again where it is read."""
    fused = run_passes(small_graph("gemma3_text"), SETTINGS)
    stems = [op.attrs["stem"] for op in fused.ops if op.kind == "kernel"]
    assert stems == [
        "map",
        *(["linear", "map", "attend", "linear", "linear", "linear", "map"] * (len(stems) // 7)),
        "linear",
    ]


ACTIVATED = """graph g(%t: i32[T]) {{
  %e: f32[64, 32] = weight() {{name="embed", recipe=tensor(name="embed")}}
  %a: f32[48, 32] = weight() {{name="a", recipe=tensor(name="a")}}
  %b: f32[32, 48] = weight() {{name="b", recipe=tensor(name="b")}}
  %x: f32[T, 32] = gather(%e, %t)
  %y: f32[T, 48] = linear(%x, %a)
{activation}
  %z: f32[T, 32] = linear(%o, %b)
  %l: f32[T, 64] = linear(%z, %e)
  return {outputs}
}}"""
QUICK_GELU = """
  %s: f32[T, 48] = scale(%y) {by=1.702}
  %g: f32[T, 48] = sigmoid(%s)
  %o: f32[T, 48] = mul(%y, %g)"""
MISH_AND_MORE = """
  %p: f32[T, 48] = softplus(%y)
  %h: f32[T, 48] = tanh(%p)
  %m: f32[T, 48] = mul(%y, %h)
  %r: f32[T, 48] = relu(%m)
  %c: f32[T, 48] = clamp(%m) {high=0.0}
  %v: f32[T, 48] = reshape(%c) {shape=[48]}
  %q: f32[T, 48] = mul(%r, %r)
  %o: f32[T, 48] = add(%q, %v)"""


@pytest.mark.parametrize("activation", [QUICK_GELU, MISH_AND_MORE])
def test_an_activation_that_reads_its_input_more_than_once_stays_with_the_product(activation):
    fused = run_passes(parse_graph(ACTIVATED.format(activation=activation, outputs="%l"), "g.ir"), SETTINGS)
    assert [op.attrs["stem"] for op in fused.ops if op.kind == "kernel"] == ["map", "linear", "linear", "linear"]


def test_what_is_read_elsewhere_too_does_not():
    text = ACTIVATED.format(activation=QUICK_GELU, outputs="%l, %g")  # the sigmoid is tapped
    fused = run_passes(parse_graph(text, "g.ir"), SETTINGS)
    assert [op.attrs["stem"] for op in fused.ops if op.kind == "kernel"].count("map") > 1


def test_a_view_of_what_a_gate_is_multiplied_with_is_no_launch():
    """Llama 4's experts multiply by their share, seen as [top, 1]."""
    text = """graph g(%t: i32[T]) {
  %e: f32[64, 32] = weight() {name="embed", recipe=tensor(name="embed")}
  %r: f32[6, 32] = weight() {name="router", recipe=tensor(name="router")}
  %a: f32[6, 48, 32] = weight() {name="a", recipe=tensor(name="a")}
  %b: f32[6, 48, 32] = weight() {name="b", recipe=tensor(name="b")}
  %d: f32[6, 32, 48] = weight() {name="d", recipe=tensor(name="d")}
  %x: f32[T, 32] = gather(%e, %t)
  %q: f32[T, 6] = linear(%x, %r)
  %s: f32[T, 2], %c: i32[T, 2] = route(%q) {top=2}
  %v: f32[T, 2, 1] = reshape(%s) {shape=[2, 1]}
  %g: f32[T, 2, 48] = expert_linear(%x, %a, %c)
  %m: f32[T, 2, 48] = mul(%g, %v)
  %u: f32[T, 2, 48] = expert_linear(%x, %b, %c)
  %h: f32[T, 2, 48] = mul(%m, %u)
  %y: f32[T, 2, 32] = expert_linear(%h, %d, %c)
  %z: f32[T, 32] = weighted_sum(%y, %s)
  %l: f32[T, 64] = linear(%z, %e)
  return %l
}"""
    fused = run_passes(parse_graph(text, "g.ir"), SETTINGS)
    stems = [op.attrs["stem"] for op in fused.ops if op.kind == "kernel"]
    assert stems == ["map", "linear", "route", "linear", "linear", "map", "linear"]


def test_experts_take_at_most_twelve_launches_a_layer():
    fused = run_passes(small_graph("qwen3_5_moe_text"), SETTINGS)
    assert sum(op.kind == "kernel" for op in fused.ops) <= 2 + 11 + 12


def test_norm_offsets_become_recipes():
    fused = run_passes(small_graph("gemma3_text"), SETTINGS)
    norms = [op.attrs["recipe"] for op in fused.ops if op.kind == "weight" and "norm" in op.attrs["name"]]
    assert norms and all(recipe.op == "add" and dict(recipe.params) == {"c": 1} for recipe in norms)
    assert not fused.ops_of("shift")


def test_only_wanted_rows_pass_the_head():
    fused = run_passes(small_graph("llama"), SETTINGS)
    head = next(op for op in fused.ops if fused.outputs[0] in op.outputs)
    assert fused.outputs[0].type.shape == ("R", 160)
    assert [op.kind for op in head.body.ops] == ["pick_rows", "rms_norm", "linear"]


def test_a_pass_by_name_and_an_unknown_one():
    graph = run_passes(small_graph("llama"), SETTINGS, only=["fold_constants"])
    verify(graph)
    assert not graph.ops_of("kernel")
    with pytest.raises(HfcError, match="did you mean 'fuse_gate'"):
        run_passes(small_graph("llama"), SETTINGS, only=["fuse_gat"])
