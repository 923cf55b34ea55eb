"""L3 and L4 for drafts: their kernels on awkward sizes, and whole drafts as gfx machine code, in the emulator against the interpreter."""

import numpy as np
import pytest
from draft_regions import GRAPHS
from model_reference import MODELS, relative_error
from regions import Region
from test_draft_models import DRAFTS, small_mtp, text_of

from hfc.compiler import CompileOptions, compile_model, open_source
from hfc.emulated import EmulatedModel
from hfc.oracle import InterpretedModel
from hfc.runtime.upload import CheckpointWeights
from hfc.step import Segment, Step

assert small_mtp  # a fixture

ARCHS = ("gfx906", "gfx1010", "gfx1030", "gfx1100", "gfx1201", "gfx942")
CONTEXT = 64
BOUND = 1e-4  # relative L2 with f32 keys and values; measured 5e-6


@pytest.mark.sampled(24)
@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("name", GRAPHS)
def test_kernels(name, arch):
    checks = Region(GRAPHS[name](), arch).check()
    assert {c.program for c in checks} == {"decode", "prefill", "sample"}
    assert all(c.ok for c in checks), checks


@pytest.mark.long
@pytest.mark.parametrize("arch", ("gfx906", "gfx1030", "gfx1100", "gfx1201"))
@pytest.mark.parametrize("draft", ("dflash", "dflash2", "mtp"))
def test_two_sequences_draft_behind_steps_that_were_cut(draft, arch, small_mtp):
    """Prompts of two slots in one step, a verify step of which some rows count, a draft for both: tokens are the interpreter's."""
    target = small_mtp if draft == "mtp" else MODELS / "qwen3_5_text"
    draft = draft if draft == "mtp" else DRAFTS / draft
    source = open_source(target, draft=draft)
    bundle = compile_model(target, [arch], CompileOptions(ctx=CONTEXT, max_rows=32, slots=2, kv="f32", draft=draft))
    emulated = EmulatedModel(bundle, arch, CheckpointWeights(source.weights(), CONTEXT))
    interpreted = InterpretedModel(source, CONTEXT, slots=2)
    text, block = text_of(MODELS / "qwen3_5_text"), emulated.plan.draft.block

    def both(call, segments, tokens):
        step = Step(np.asarray(tokens, np.int32), segments, np.arange(len(tokens), dtype=np.int32))
        return [getattr(model, call)(step) for model in (emulated, interpreted)]

    both("forward", (Segment(0, 0, 9, 0), Segment(1, 9, 5, 0)), [*text[:9], *text[:5]])
    verify = (Segment(0, 0, 3, 9, commit=False), Segment(1, 3, 2, 5, commit=False))
    found, expected = both("forward", verify, [text[9], 3, 4, text[5], text[6]])
    assert relative_error(found, expected) <= BOUND
    blocks = [np.full(block, emulated.plan.draft.mask_token or 0) for _ in range(2)]
    blocks[0][0], blocks[1][0] = text[10], text[7]
    again = (Segment(1, 0, block, 7, replay=2, commit=False), Segment(0, block, block, 10, replay=1, commit=False))
    (tokens, logits), (same, near) = both("draft", again, [*blocks[1], *blocks[0]])
    assert relative_error(logits, near) <= BOUND
    assert tokens.tolist() == same.tolist()
    assert (tokens[0], tokens[block]) == (text[7], text[10])
