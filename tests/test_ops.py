"""Every op: its type rule gives numpy's shape, its C gives numpy's numbers, its text means the same; no fact is left out."""

import numpy as np
import pytest
from random_maker import CONTEXT, MAX_ROWS, SLOTS, STEPS, VOCAB, Maker, decided
from random_states import MAKERS

from hfc.backend.emit import emit
from hfc.backend.host import plan as host
from hfc.formats import weight_format
from hfc.formats.recipe import tensor
from hfc.ir.graph import SOURCES
from hfc.ir.interpret import Interpreter
from hfc.ir.opdef import OPS, elementwise, reduction, root
from hfc.ir.text import parse_graph, print_graph
from hfc.passes.pipeline import run_passes
from hfc.passes.rotate_inputs import rotate_inputs
from hfc.passes.settings import Settings
from hfc.plan import Bundle
from hfc.runtime.host import HostModel
from hfc.target.arch import find_arch

KINDS = sorted(set(OPS) - set(SOURCES))
ODD = np.float32([0.0, -0.0, 1e-38, -1e-30, 0.1, -0.3, 0.624, 0.626, -0.7, 1.0, -1.5, 3.0, -9.0, 14.0, -14.0, 20.0, -20.0, 88.5, -87.0, -103.5, 200.0, -1e4, 1e30, np.nan])  # fmt: skip
ATTRS = {"shift": {"by": -1.5}, "scale": {"by": 3.25}, "clamp": {"low": -0.5, "high": 2.0}}
LIMITS = {"rtol": 2e-5, "atol": 1e-7}  # of elementwise C, a few units in the last place; sums of linears: relative L2


class AllOps:
    """One graph with every op, elementwise ones on odd values; what shows an op's numbers is an output, which nothing joins."""

    def __init__(self):
        m = Maker(2, "all_ops")
        self.odd = []
        for kind in (k for k in KINDS if OPS[k].elementwise):
            operands = [self._odd(m, turn) for turn in range(OPS[kind].operands[0])]
            self.odd.append(m.builder.op(kind, *operands, **ATTRS.get(kind, {})))
        shown = []
        for kind in (k for k in KINDS if not OPS[k].elementwise):
            for _ in range(100):  # a maker leaves out what would not tell right from wrong
                before = len(m.values)
                MAKERS[kind](m)
                made = kind == "hadamard" or any(op.kind == kind for op in m.builder.graph.ops)
                results = {v for op in m.builder.graph.ops if op.kind == kind for v in op.outputs}
                shown += [v for v in m.values[before:] if v in results] or m.values[before:][-2:]
                if made and len(m.values) > before:
                    break
        recalled = [op.output for op in m.builder.graph.ops if op.kind == "recall"]  # 0 in the first step, so a dead op
        outputs = dict.fromkeys([*self.odd, *shown, *recalled])
        last = m.fresh(32)
        logits = m.builder.op("linear", last, m.matrix(VOCAB, 32))
        self.graph = rotate_inputs(m.builder.finish(logits, *outputs))
        self.store, self.decided = m.store, decided(self.graph)
        self.taps = tuple(f"tap{i}" for i in range(len(outputs)))

    def _odd(self, m: Maker, turn: int):
        """The odd values as elements of every row: in another order for every operand, so that all meet."""
        name = f"odd{turn}"
        table = np.stack([np.roll(ODD, (5 + turn * 3) * token)[:: -1 if turn else 1] for token in range(VOCAB)])
        m.store.tensors[name] = "f32", table.shape, weight_format("f32").pack(table)
        return m.builder.op("gather", m.builder.weight(name, "f32", table.shape, tensor(name)), m.tokens)

    def interpret(self, graph=None):
        ran = Interpreter(graph or self.graph, self.store.value, SLOTS, CONTEXT)
        with np.errstate(all="ignore"):
            return [ran.run(step) for step in STEPS]

    def on_host(self):
        settings = Settings(find_arch("host"), CONTEXT, SLOTS, MAX_ROWS, 8, "f32", "f32", self.taps)
        fused = run_passes(self.graph, settings)
        plan, files = host.build(emit(fused, settings, host.MATRIX_LAYOUT), settings)
        model = HostModel(Bundle({}, {"host": plan}, files), plan, self.store, threads=1)
        results = []
        for step in STEPS:
            logits = model.forward(step)
            results.append([logits, *(model.tap(name, 0, len(step.tokens)) for name in self.taps)])
        model.close()
        return results


@pytest.fixture(scope="module")
def all_ops():
    made = AllOps()
    made.expected, made.found = made.interpret(), made.on_host()
    return made


def results_of(graph, kind: str) -> list[int]:
    """The outputs of the graph that are results of such an op, or what the two ops behind it make of them."""
    near = {v for op in graph.ops if op.kind == kind for v in op.outputs}
    for _ in range(2):
        near |= {v for op in graph.ops if near.intersection(op.inputs) for v in op.outputs}
    return [at for at, value in enumerate(graph.outputs) if at and value in near]


@pytest.mark.parametrize("kind", KINDS)
def test_c_is_numpy(kind, all_ops):
    if kind == "pick_rows":  # made by a pass, in front of the logits
        assert np.allclose(all_ops.found[0][0], all_ops.expected[0][0][STEPS[0].output_rows], rtol=1e-3, atol=1e-3)
        return
    at = results_of(all_ops.graph, kind)
    assert at, f"the graph of this test has no {kind} whose result can be seen"
    for number, (expected, found) in enumerate(zip(all_ops.expected, all_ops.found)):
        for i in at if number == 0 else [i for i in at if all_ops.graph.outputs[i] not in all_ops.decided]:
            want, have = expected[i].reshape(len(expected[i]), -1), found[i]
            if all_ops.graph.outputs[i] in all_ops.odd:
                np.testing.assert_allclose(have, want, **LIMITS, err_msg=kind)
            elif not np.isnan(want).any():
                assert np.linalg.norm(have - want) <= 2e-3 * np.linalg.norm(want), kind


@pytest.mark.parametrize("kind", KINDS)
def test_the_type_rule_gives_numpy_s_shape(kind, all_ops):
    sizes = {"T": len(STEPS[0].tokens), "R": len(STEPS[0].output_rows), "S": SLOTS, "C": CONTEXT}
    settings = Settings(find_arch("host"), CONTEXT, SLOTS, MAX_ROWS, 8, "f32", "f32", all_ops.taps)
    graph = run_passes(all_ops.graph, settings, only=["narrow_outputs"])
    ops = [op for op in graph.ops if op.kind == kind]
    assert ops, f"the graph of this test has no {kind}"
    with np.errstate(all="ignore"):
        _outputs, env = Interpreter(graph, all_ops.store.value, SLOTS, CONTEXT).trace(STEPS[0])
    for value in (v for op in ops for v in op.outputs if v.type.dtype != "kv"):
        assert env[value].shape == tuple(sizes.get(n, n) for n in value.type.shape), value
        assert (env[value].dtype == np.int32) == (value.type.dtype == "i32"), value


def test_text_means_the_same(all_ops):
    text = print_graph(all_ops.graph)
    again = parse_graph(text)
    assert print_graph(again) == text
    for expected, found in zip(all_ops.expected, all_ops.interpret(again)):
        for want, have in zip(expected, found):
            np.testing.assert_array_equal(have, want)


def test_a_missing_fact_fails_at_registration():
    def no_such_op(x, *, eps):
        """x"""

    with pytest.raises(TypeError, match="element"):
        reduction(lambda x, *, eps: x, reads=("rows",))(no_such_op)
    with pytest.raises(TypeError, match="flops"):
        root(lambda x, *, eps: x, stem="top", reads=("rows",))(no_such_op)
    with pytest.raises(AssertionError, match="2 kinds for 1 operands"):
        reduction(lambda x, *, eps: x, reads=("rows", "vector"), element=str)(no_such_op)
    no_such_op.__doc__ = None
    with pytest.raises(AssertionError, match="no docstring"):
        elementwise(lambda x, *, eps: x, c="{0}")(no_such_op)
    no_such_op.__doc__ = "x"
    with pytest.raises(AssertionError, match="different names"):
        reduction(lambda y, *, eps: y, reads=("rows",), element=str)(no_such_op)
