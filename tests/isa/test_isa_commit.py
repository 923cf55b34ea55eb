"""D9 in machine code: rows that waited to be committed leave the same bits as rows decoded one after the other."""

import numpy as np
import pytest
from model_reference import MODELS
from speculated import LENGTH, Speculation, plain_logits

from hfc.compiler import compile_model, open_source
from hfc.emulated import EmulatedModel
from hfc.runtime.gpu import DECODE_ROWS
from hfc.runtime.upload import CheckpointWeights
from hfc.step import JOURNAL_ROWS

SLOTS, CONTEXT, CYCLES = 3, 48, 30


@pytest.mark.parametrize(
    "checkpoint, arch",
    [
        ("qwen3_5_text", "gfx1100"),
        ("qwen3_5_moe_text", "gfx1201"),
        pytest.param("qwen3_5_text", "gfx906", marks=pytest.mark.long),
        pytest.param("qwen3_5_text", "gfx1201", marks=pytest.mark.long),
        pytest.param("qwen3_5_text", "gfx942", marks=pytest.mark.long),
    ],
)
def test_the_same_bits_whatever_waited(checkpoint, arch):
    path = MODELS / checkpoint
    bundle = compile_model(path, [arch], ctx=CONTEXT, max_rows=32, slots=SLOTS, kv="f32", journal_rows=JOURNAL_ROWS)
    model = EmulatedModel(bundle, arch, CheckpointWeights(open_source(path).checkpoint, CONTEXT))
    tokens = np.random.default_rng(11).integers(0, model.vocab, (SLOTS, LENGTH)).astype(np.int32)
    expected = plain_logits(model.forward, tokens)
    case = Speculation(tokens, model.vocab, DECODE_ROWS, JOURNAL_ROWS, seed=3)
    for _ in range(CYCLES):
        step, real = case.step()
        found = model.forward(step) if step.segments else None
        for row, slot, position in real:
            assert found[row].tobytes() == expected[position, slot].tobytes(), (row, slot, position)
    model.forward(case.last())
