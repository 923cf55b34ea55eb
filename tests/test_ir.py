"""The IR: text is an exact inverse, the verifier sees what is wrong, the interpreter means what numpy means."""

import re

import numpy as np
import pytest

from hfc.base.diagnostics import HfcError
from hfc.formats.recipe import apply, tensor
from hfc.ir.build import GraphBuilder
from hfc.ir.graph import Graph, Op, TensorType, Value, region
from hfc.ir.interpret import Interpreter
from hfc.ir.text import parse_graph, print_graph
from hfc.ir.verify import verify
from hfc.step import Segment, Step

HEADS, KV_HEADS, HEAD, HIDDEN, VOCAB = 4, 2, 8, 16, 32


def attention_graph() -> Graph:
    b = GraphBuilder("tiny")
    tokens = b.input("tokens", "i32", ("T",))

    def weight(name, *shape):
        return b.weight(name, "f32", shape, tensor(name))

    x = b.op("gather", weight("embed", VOCAB, HIDDEN), tokens)
    h = b.op("rms_norm", x, weight("norm", HIDDEN), eps=1e-5)
    q = b.op("reshape", b.op("linear", h, weight("q", HEADS * HEAD, HIDDEN)), shape=(HEADS, HEAD))
    k = b.op("reshape", b.op("linear", h, weight("k", KV_HEADS * HEAD, HIDDEN)), shape=(KV_HEADS, HEAD))
    v = b.op("reshape", b.op("linear", h, weight("v", KV_HEADS * HEAD, HIDDEN)), shape=(KV_HEADS, HEAD))
    table = b.const(apply("rope_table", rotary=HEAD, theta=100.0), ("C", HEAD))
    kv = b.state("kv", TensorType("kv", ("S", KV_HEADS, "C", HEAD)))
    kv = b.op("kv_append", kv, b.op("rope", k, table), v)
    a = b.op("attend", b.op("rope", q, table), kv, scale=HEAD**-0.5)
    o = b.op("linear", b.op("reshape", a, shape=(HEADS * HEAD,)), weight("o", HIDDEN, HEADS * HEAD))
    y = b.op("add", x, o)
    return b.finish(b.op("linear", b.op("pick_rows", y), weight("embed", VOCAB, HIDDEN)))


def source(op: Op) -> np.ndarray:
    if op.kind == "const":
        angle = np.arange(64)[:, None] * 100.0 ** (-np.arange(0, HEAD, 2) / HEAD)
        return np.concatenate([np.cos(angle), np.sin(angle)], -1).astype(np.float32)
    seed = sum(map(ord, op.attrs["name"]))
    return np.random.default_rng(seed).standard_normal(op.output.type.shape).astype(np.float32)


def test_text_parses_back_exactly():
    text = print_graph(attention_graph())
    assert print_graph(parse_graph(text)) == text
    assert 'name="kv"' in text and "rope_table(rotary=8, theta=100.0)" in text


def test_a_region_prints_parses_and_means_the_same():
    graph = attention_graph()
    verify(graph)
    norm, linear = (next(op for op in graph.ops if op.kind == k) for k in ("rms_norm", "linear"))
    at = graph.ops.index(linear)
    ops = [op for op in graph.ops[:at] if op is not norm] + [region([norm, linear], [norm.output, linear.output], {})]
    fused = graph.with_ops(ops + graph.ops[at + 1 :])
    verify(fused)
    again = parse_graph(print_graph(fused))
    assert print_graph(again) == print_graph(fused)
    step = Step.single([1, 2, 3])
    for other in (fused, again):
        np.testing.assert_array_equal(
            Interpreter(graph, source, context=64).run(step)[0], Interpreter(other, source, context=64).run(step)[0]
        )


def test_chunks_and_neighbours_do_not_matter():
    whole = Interpreter(attention_graph(), source, context=64).run(Step.single([5, 6, 7, 8]))[0]
    batch = Interpreter(attention_graph(), source, slots=2, context=64)
    batch.run(
        Step(np.array([5, 9, 9, 6], np.int32)[[0, 1, 2]], (Segment(1, 0, 1, 0), Segment(0, 1, 2, 0)), np.arange(3))
    )
    rest = batch.run(
        Step(np.array([4, 6, 7, 8], np.int32), (Segment(0, 0, 1, 2), Segment(1, 1, 3, 1)), np.arange(1, 4))
    )[0]
    np.testing.assert_allclose(rest, whole[1:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "text, message",
    [
        ("graph g(%t: i32[T]) {\n  %1: f32[T] = exq(%t)\n  return %1\n}", "<ir>:2:16: error: unknown op 'exq'"),
        ("graph g(%t: i32[T]) {\n  %1: f32[T] = exp(%u)\n  return %1\n}", "unknown value '%u'"),
        ("graph g(%t: i32[T] {\n}", "<ir>:1:20"),
    ],
)
def test_bad_text_is_one_error_with_its_place(text, message):
    with pytest.raises(HfcError) as error:
        parse_graph(text)
    assert message in str(error.value)


def test_verifier_reports_wrong_type_and_order():
    graph = attention_graph()
    add = next(op for op in graph.ops if op.kind == "add")
    with pytest.raises(HfcError, match="before it is defined"):
        verify(graph.with_ops([add, *(op for op in graph.ops if op is not add)]))
    wrong = Op("add", add.inputs, (Value("w", TensorType("f32", ("T", 3))),))
    with pytest.raises(HfcError, match="its rule gives"):
        verify(graph.with_ops([wrong if op is add else op for op in graph.ops]))
    with pytest.raises(HfcError, match="outside of any kernel region"):
        verify(graph, "fused")


def test_type_errors_show_both_shapes():
    b = GraphBuilder("g")
    x = b.input("x", "f32", ("T", 64))
    with pytest.raises(HfcError, match=r"x is f32\[T, 64\], w is f16\[128, 96\].*64 != 96"):
        b.op("linear", x, b.weight("w", "f16", (128, 96), tensor("w")))


@pytest.mark.parametrize(
    "before, after, message",
    [
        ("  return", "  retrun", "g.ir:5:3: error: unexpected 'retrun'; expected .*'return'.*\n.*\n.*\n  hint: did you mean 'return'?"),
        ("f32[4, 8]", "f32(4, 8]", r"g.ir:3:10: error: unexpected '\('; expected '\['"),
        (" = linear(", " linear(", "g.ir:4:17: error: unexpected 'linear'; expected ',' or '='"),
        ("%x, %w", "%x; %w", r"g.ir:4:28: error: unexpected ';'; expected '\)', ','"),
        ("{name=", "{nme=", r"g.ir:3:29: error: unknown attribute of weight 'nme'\n.*\n.*\n  hint: did you mean 'name'"),
        ('name="w", ', "", "g.ir:3:19: error: weight: attribute 'name' is missing"),
        ("\n}", "", r"g.ir:5:12: error: the text ends too early; expected .*'}'"),
        ("f32[T, 4] =", "f33[T, 4] =", r"g.ir:4:19: error: %y = linear: has type f33\[T, 4\], its rule gives f32\[T, 4\]"),
        ("linear(%x, %w)", "linear(%x)", "g.ir:4:19: error: linear: takes x, w; got 1 of them"),
    ],
)  # fmt: skip
def test_an_error_in_ir_text_names_place_and_expectation(before, after, message):
    text = '# one projection\ngraph g(%x: f32[T, 8]) {\n  %w: f32[4, 8] = weight() {name="w", recipe=tensor(name="w")}\n  %y: f32[T, 4] = linear(%x, %w)\n  return %y\n}\n'  # fmt: skip
    verify(parse_graph(text, "g.ir"))
    assert before in text
    with pytest.raises(HfcError) as error:
        verify(parse_graph(text.replace(before, after), "g.ir"))
    assert re.match(message, str(error.value)), str(error.value)
