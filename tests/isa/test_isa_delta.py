"""The delta rule through long and short segments as gfx machine code: beside the interpreter, and whatever way a prompt is cut.

Decays near 0 and near 1 and betas near 0 and 1 are in it; scratch, outputs and what lies behind the rows start as NaN.
"""

from dataclasses import replace

import numpy as np
import pytest
from regions import VOCAB, Builder, Region

from hfc.backend.skeletons.delta import geometry
from hfc.ir.graph import Graph, TensorType, Value
from hfc.ir.text import print_op
from hfc.pointer import Pointer
from hfc.selftest.check import places_of
from hfc.selftest.scene import Stage
from hfc.step import Segment, Step
from hfc.target.arch import ARCHS as ROWS
from hfc.target.tuning import NVIDIA_TUNING

ARCHS = ("gfx906", "gfx1030", "gfx1100", "gfx1201", "gfx942")
BOUND = 2e-5  # relative L2; the arithmetic is f32 throughout, measured 1e-6
SHAPES = {  # key heads, value heads, dk, dv, taps, tiled
    "heads of 128": (1, 2, 128, 128, 4, False),
    "three to a key": (2, 6, 16, 16, 4, True),
    "awkward": (2, 4, 24, 40, 3, False),
    "odd": (1, 1, 9, 5, 2, False),
}
SLOT, POSITION = 1, 7


def delta_net(k_heads: int, v_heads: int, dk: int, dv: int, taps: int, tiled: bool, strength: float) -> Graph:
    """strength: factor of the log of the decay, so that e^g is near 1 or near 0."""
    b = Builder()
    channels = 2 * k_heads * dk + v_heads * dv
    window = b.state("window", TensorType("f32", ("S", channels, taps - 1)))
    memory = b.state("memory", TensorType("f32", ("S", v_heads, dk, dv)))
    mixed = b.op(
        "silu", _first(b.op("causal_conv", b.vectors("u", channels), b.matrix("conv", "f32", channels, taps), window))
    )
    q, k, v = b.op("split", mixed, sizes=(k_heads * dk, k_heads * dk, v_heads * dv))
    q, k = (b.op("l2_norm", b.op("reshape", x, shape=(k_heads, dk)), eps=1e-6) for x in (q, k))
    decay = b.op("scale", b.op("softplus", b.vectors("a", v_heads)), by=-strength)
    beta = b.op("sigmoid", b.op("scale", b.vectors("b", v_heads), by=6.0))
    q, v = b.op("scale", q, by=dk**-0.5), b.op("reshape", v, shape=(v_heads, dv))
    y = b.normed(_first(b.op("linear_recurrence", q, k, v, decay, beta, memory, delta=True, tiled=tiled)))
    y = b.op("reshape", y, shape=(v_heads * dv,))
    return b.finish(b.op("linear", y, b.matrix("head", "f32", VOCAB, v_heads * dv)))


def _first(results: Value | tuple[Value, ...]) -> Value:
    """An op's own result, without the new state."""
    return results[0] if isinstance(results, tuple) else results


@pytest.mark.sampled(40)
@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("shape", SHAPES)
def test_long_segments_beside_short_ones(shape, arch):
    for strength in (1.0, 1e-4, 30.0):
        subject = Region(delta_net(*SHAPES[shape], strength), arch, slots=4, context=256)
        wrong = [
            c for c in subject.check() if c.kernel.startswith("delta") and not (c.ok and c.deviation.error <= BOUND)
        ]
        assert not wrong, (strength, wrong)


@pytest.mark.sampled(28)
@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("shape", SHAPES)
def test_bits_do_not_depend_on_how_a_prompt_is_cut(shape, arch):
    """A segment of 45 rows at once, in two long parts, and decoded in short ones."""
    subject = Cut(Region(delta_net(*SHAPES[shape], 1.0), arch, slots=2, context=256))
    whole = subject.run([45])
    for parts in ([17, 28], [16, 16, 13], [1, 30, 14]):
        for name, content in subject.run(parts).items():
            assert np.array_equal(content, whole[name]), (parts, name)


@pytest.mark.sampled(8)
@pytest.mark.parametrize(
    "shape, arch",
    [("three to a key", "gfx1100"), ("awkward", "gfx1201"), ("heads of 128", "gfx1100"), ("odd", "gfx906")],
)
def test_blocks_of_few_columns_leave_the_bits_of_whole_heads(shape, arch, monkeypatch):
    """What sm_90 takes for short segments, on machines that can be looked into."""
    expected = Cut(Region(delta_net(*SHAPES[shape], 1.0), arch, slots=2, context=256)).run([16, 1, 13])
    monkeypatch.setattr(geometry, "comes_apart", lambda region, arch: True)
    monkeypatch.setattr(geometry, "side_by_side", lambda region, arch, split: 1)
    monkeypatch.setitem(ROWS, arch, replace(ROWS[arch], tuning=replace(ROWS[arch].tuning, resident_blocks=3)))
    apart = Region(delta_net(*SHAPES[shape], 1.0), arch, slots=2, context=256)
    assert any(launch.kernel.endswith("_join") for launch in apart.plan.programs["decode"])
    for name, content in Cut(apart).run([16, 1, 13]).items():
        assert np.array_equal(content, expected[name]), name


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "shape, arch", [("three to a key", "gfx1100"), ("awkward", "gfx1201"), ("heads of 128", "gfx1030")]
)
def test_value_heads_side_by_side_leave_the_bits_of_one_after_the_other(shape, arch, monkeypatch):
    found = Cut(Region(delta_net(*SHAPES[shape], 1.0), arch, slots=2, context=256)).run([16, 1, 13])
    monkeypatch.setattr(geometry, "side_by_side", lambda region, arch, split: 1)
    monkeypatch.setattr(geometry, "comes_apart", lambda region, arch: False)
    for name, content in (
        Cut(Region(delta_net(*SHAPES[shape], 1.0), arch, slots=2, context=256)).run([16, 1, 13]).items()
    ):
        assert np.array_equal(content, found[name]), name


@pytest.mark.sampled(4)
@pytest.mark.parametrize("shape, arch", [("three to a key", "gfx1100"), ("odd", "gfx1201"), ("awkward", "gfx942")])
def test_small_heads_with_as_many_rows_under_way_as_nvidia_has(shape, arch, monkeypatch):
    """A block of one wave brings the scalars of all rows that it has in LDS: sm_90 read 8 of 16 that nobody had written."""
    monkeypatch.setitem(ROWS, arch, replace(ROWS[arch], tuning=NVIDIA_TUNING))
    subject = Region(delta_net(*SHAPES[shape], 1.0), arch, slots=4, context=256)
    wrong = [c for c in subject.check() if c.kernel.startswith("delta") and not (c.ok and c.deviation.error <= BOUND)]
    assert not wrong, wrong


class Cut:
    """One sequence through a region in parts, each by the program that takes so many rows."""

    def __init__(self, region: Region, stem: str = "delta"):
        self.region, self.stem = region, stem
        self.stage = Stage(region.graph, region.plan, region.weights)

    def run(self, parts: list[int]) -> dict[str, np.ndarray]:
        """States and outputs of all rows, by pointer."""
        whole, plan = Step.single(np.arange(sum(parts)) % VOCAB, POSITION, SLOT), self.region.plan
        regions = {print_op(op): op for op in self.region.graph.ops if op.kind == "kernel"}
        places = {
            p: next(v[0] for k, v in places_of(plan, p, regions).items() if k.startswith(self.stem))
            for p in ("decode", "prefill")
        }
        region = places["prefill"][0]
        pointers = tuple(dict.fromkeys(p for n in places["prefill"][1] for p in plan.programs["prefill"][n].pointers))
        scene = self.stage.scene(region, pointers, whole, seed=5)
        rows = {b.pointer: b.row_bytes for b in plan.buffers}
        outputs, first = {p: [] for v in region.outputs if (p := Pointer.buffer(v.name)) in rows}, 0
        for count in parts:
            program = "decode" if count <= 16 else "prefill"
            step = Step(
                whole.tokens[first : first + count], (Segment(SLOT, 0, count, POSITION + first),), np.zeros(1, np.int32)
            )
            memory = {
                p: np.roll(d, -first * rows[p]) if p in rows and p not in outputs else d
                for p, d in scene.memory.items()
            }
            for number in places[program][1]:
                launch = plan.programs[program][number]
                self.region.launcher.run(program, number, {p: memory[p] for p in launch.pointers}, step)
            for pointer, found in outputs.items():
                found.append(memory[pointer][: count * rows[pointer]].copy())
            first += count
        states = {p: d for p, d in scene.memory.items() if p.kind == "state"}
        return {p: np.concatenate(found) for p, found in outputs.items()} | states
