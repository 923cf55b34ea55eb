"""L4 of profile turbo: a whole model as machine code. Any number of rows and any cut of a prompt give the same bits (D10)."""

from dataclasses import replace

import numpy as np
import pytest
from model_reference import MODELS, relative_error

from hfc.cli import main
from hfc.compiler import CompileOptions, compile_model, open_source
from hfc.emulated import EmulatedModel
from hfc.oracle import InterpretedModel
from hfc.runtime.upload import CheckpointWeights
from hfc.step import Step

CONTEXT, MAX_ROWS = 96, 64
BOUND = 0.1  # relative L2 of logits; measured 1.6e-2: three layers of inputs of 8 bits


@pytest.mark.parametrize("arch", ["gfx1030", *(pytest.param(a, marks=pytest.mark.long) for a in ("gfx1201",))])
def test_rows_and_cuts_of_a_prompt_do_not_matter(arch, tmp_path):
    path = tmp_path / "coded"
    with pytest.raises(SystemExit) as end:
        main(["quantize", str(MODELS / "llama"), "--format", "q4_0", "-o", str(path), "-q"])
    assert not end.value.code
    source = open_source(path)
    options = CompileOptions(ctx=CONTEXT, max_rows=MAX_ROWS, profile="turbo")
    bundle = compile_model(path, [arch], options)
    assert any(kernel.resources.get("input_bits") == 8 for kernel in bundle.plans[arch].kernels)

    def fresh() -> EmulatedModel:
        return EmulatedModel(bundle, arch, CheckpointWeights(source.checkpoint, CONTEXT))

    def prompt(tokens: np.ndarray, position: int = 0) -> Step:
        return replace(Step.single(tokens, position=position, outputs="last"), prompts=True)

    tokens = np.arange(5, 42, dtype=np.int32)
    model = fresh()
    alone = np.stack([model.forward(Step.single([token], position=at))[0] for at, token in enumerate(tokens[:5])])
    np.testing.assert_array_equal(model.forward(Step.single(tokens[:5])), alone)
    whole = fresh().forward(prompt(tokens))
    for cut in (1, 33):
        model = fresh()
        model.forward(prompt(tokens[:cut]))
        np.testing.assert_array_equal(model.forward(prompt(tokens[cut:], cut)), whole)
    exact = InterpretedModel(source, CONTEXT).forward(Step.single(tokens, outputs="last"))
    error = relative_error(whole, exact)
    assert 1e-3 < error < BOUND, error
