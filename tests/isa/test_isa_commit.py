"""D9 in machine code: rows that waited to be committed leave the same bits as rows decoded one after the other."""

import numpy as np
import pytest
from model_reference import MODELS
from recurrences import CASES, recurrence_net
from regions import VOCAB, Builder
from speculated import Speculation, plain_logits

from hfc.backend import gpu
from hfc.backend.emit import emit
from hfc.backend.skeletons.delta import geometry
from hfc.compiler import CompileOptions, compile_model, open_source
from hfc.emulated import EmulatedModel
from hfc.ir.graph import TensorType
from hfc.passes.pipeline import run_passes
from hfc.passes.settings import Settings
from hfc.plan import Bundle
from hfc.runtime.random_weights import RandomWeights
from hfc.runtime.upload import CheckpointWeights
from hfc.step import DECODE_ROWS, JOURNAL_ROWS, Segment, Step
from hfc.target.arch import find_arch

SLOTS, CONTEXT, LENGTH, CYCLES = 3, 48, 18, 12


def emulated(checkpoint: str, arch: str) -> EmulatedModel:
    path = MODELS / checkpoint
    bundle = compile_model(
        path, [arch], CompileOptions(ctx=CONTEXT, max_rows=32, slots=SLOTS, kv="f32", journal_rows=JOURNAL_ROWS)
    )
    return EmulatedModel(bundle, arch, CheckpointWeights(open_source(path).checkpoint, CONTEXT))


@pytest.mark.parametrize(
    "checkpoint, arch",
    [
        pytest.param("qwen3_5_text", "gfx1100", marks=pytest.mark.long),
        pytest.param("qwen3_5_moe_text", "gfx1201", marks=pytest.mark.long),
        pytest.param("qwen3_5_text", "gfx906", marks=pytest.mark.long),
        pytest.param("qwen3_5_text", "gfx1201", marks=pytest.mark.long),
        pytest.param("qwen3_5_text", "gfx942", marks=pytest.mark.long),
    ],
)
def test_the_same_bits_whatever_waited(checkpoint, arch):
    decode_as_it_comes(emulated(checkpoint, arch))


@pytest.mark.long
@pytest.mark.parametrize("arch", ["gfx1100", "gfx906"])
def test_the_same_bits_where_blocks_carry_few_columns(monkeypatch, arch):
    monkeypatch.setattr(geometry, "comes_apart", lambda region, arch: True)
    monkeypatch.setattr(geometry, "side_by_side", lambda region, arch, split: 1)
    decode_as_it_comes(emulated("qwen3_5_text", arch))


@pytest.mark.parametrize("arch", ["gfx1100", "gfx906"])
def test_a_convolution_that_stands_alone(arch):
    b, channels, taps = Builder(), 150, 4
    window = b.state("window", TensorType("f32", ("S", channels, taps - 1)))
    y, _ = b.op("causal_conv", b.vectors("u", channels), b.matrix("conv", "f32", channels, taps), window)
    graph = b.finish(b.op("linear", y, b.matrix("head", "f32", VOCAB, channels)))
    settings = Settings(find_arch(arch), CONTEXT, SLOTS, 32, 32, "f16", "f16", journal_rows=JOURNAL_ROWS)
    plan, files = gpu.build(emit(run_passes(graph, settings), settings, gpu.MATRIX_LAYOUT), settings)
    decode_as_it_comes(EmulatedModel(Bundle({}, {arch: plan}, files), arch, RandomWeights(CONTEXT)))


@pytest.mark.parametrize(
    "case, arch",
    [
        ("kda", "gfx1100"),
        pytest.param("mamba", "gfx906", marks=pytest.mark.long),
        pytest.param("wide", "gfx1100", marks=pytest.mark.long),
        pytest.param("odd", "gfx1201", marks=pytest.mark.long),
    ],
)
def test_a_recurrence_whatever_made_its_operands(case, arch):
    settings = Settings(find_arch(arch), CONTEXT, SLOTS, 32, 32, "f16", "f16", journal_rows=JOURNAL_ROWS)
    fused = emit(run_passes(recurrence_net(**CASES[case]), settings), settings, gpu.MATRIX_LAYOUT)
    plan, files = gpu.build(fused, settings)
    decode_as_it_comes(EmulatedModel(Bundle({}, {arch: plan}, files), arch, RandomWeights(CONTEXT)))


def decode_as_it_comes(model: EmulatedModel) -> None:
    """Random steps against sequences that were decoded row by row."""
    tokens = np.random.default_rng(11).integers(0, model.vocab, (SLOTS, LENGTH)).astype(np.int32)
    expected = plain_logits(model.forward, tokens)
    case = Speculation(tokens, model.vocab, DECODE_ROWS, JOURNAL_ROWS, seed=3)
    for _ in range(CYCLES):
        step, real = case.step()
        found = model.forward(step) if step.segments else None
        for row, slot, position in real:
            assert found[row].tobytes() == expected[position, slot].tobytes(), (row, slot, position)
    model.forward(case.last())


@pytest.mark.parametrize("arch", ["gfx1100", pytest.param("gfx906", marks=pytest.mark.long)])
def test_a_long_segment_begins_after_the_rows_that_counted(arch):
    model = emulated("qwen3_5_text", arch)
    tokens = np.random.default_rng(12).integers(0, model.vocab, 23).astype(np.int32)
    for row in range(3):
        model.forward(Step.single(tokens[row : row + 1], row, slot=0))
    plain = model.forward(Step.single(tokens[3:], 3, slot=0))
    guess = np.append(tokens[:3], [1, 2]).astype(np.int32)
    model.forward(Step(guess, (Segment(1, 0, 5, 0, commit=False),), np.arange(5, dtype=np.int32)))
    found = model.forward(Step(tokens[3:], (Segment(1, 0, 20, 3, replay=3),), np.arange(20, dtype=np.int32)))
    assert found.tobytes() == plain.tobytes()
