"""L3 of hfc's and hipfire's formats: small models as gfx machine code in the emulator, every weight and KV format."""

import sys
from pathlib import Path

import numpy as np
import pytest

from hfc.compiler import CompileOptions, compile_model, open_source, settings_for
from hfc.emulated import EmulatedModel
from hfc.oracle import InterpretedModel
from hfc.passes.pipeline import run_passes
from hfc.runtime.upload import CheckpointWeights
from hfc.step import Step
from hfc.target.arch import find_arch

sys.path.insert(0, str(Path(__file__).parent.parent))
from test_quantize import TOKENS, converted, write_model

CASES = [
    ("hfc4", "q8", "gfx1100"),
    ("hfq4g256", "asym3", "gfx1030"),
    ("hfq4g256v2", "q8/q4", "gfx906"),
    ("hfq6g256", "asym4", "gfx1201"),
    # fmt: skip
    ("hfq3g256", "asym2", "gfx1100"),
    ("q8_0", "fwht3", "gfx1030"),
    ("q8_0", "fwht4/q4", "gfx906"),
    ("q8_0", "fwht2", "gfx1201"),
]
ORDINARY = (CASES[4],)  # the others take half a minute each


@pytest.mark.parametrize(
    "format, kv, arch", [pytest.param(*c, marks=() if c in ORDINARY else pytest.mark.long) for c in CASES]
)
def test_formats_in_machine_code(format, kv, arch, tmp_path):
    source = write_model(tmp_path / "source", num_hidden_layers=1)
    converted(source, tmp_path / "out", format)
    opened = open_source(tmp_path / "out")
    fused = run_passes(opened.graph(), settings_for(opened, find_arch("host"), CompileOptions(kv=kv, ctx=32)))
    reference = InterpretedModel(opened, 32, graph=fused)
    bundle = compile_model(tmp_path / "out", [arch], CompileOptions(kv=kv, ctx=32, max_rows=16))
    model = EmulatedModel(bundle, arch, CheckpointWeights(opened.checkpoint, 32))
    for step in (Step.single(TOKENS[:11]), Step.single(TOKENS[11:13], position=11)):
        found, expected = model.forward(step), reference.forward(step)
        # 1e-3 as for every kernel; a key's code that flips at a threshold moves it by a level
        assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < (
            0.03 if kv[:4] in ("asym", "fwht") else 1e-3
        )
