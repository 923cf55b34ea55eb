"""The choice of tokens as machine code: what the host's sampler chooses, under biases, masks and penalties too."""

import json

import pytest
from model_reference import MODELS

from hfc.compiler import CompileOptions, compile_model
from hfc.emulated import EmulatedLauncher
from hfc.selftest.sampling import check_sampling


@pytest.mark.parametrize("arch", ["gfx906", "gfx1030", "gfx1100", "gfx1201", "gfx942"])
@pytest.mark.parametrize("vocab", [96, 1003])
def test_a_device_chooses_as_the_host_does(arch, vocab, tmp_path):
    config = json.loads((MODELS / "llama/config.json").read_text()) | {"vocab_size": vocab, "num_hidden_layers": 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    bundle = compile_model(tmp_path, [arch], CompileOptions(ctx=64, max_rows=16))
    assert check_sampling(bundle.plans[arch], EmulatedLauncher(bundle, bundle.plans[arch])).error == 0
