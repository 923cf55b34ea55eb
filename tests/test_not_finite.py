"""Logits that are not numbers: the error names the layer in which they began, on a card in software (tests/hip_double)."""

import json
from pathlib import Path

import numpy as np
import pytest
from letters import letters_folder
from test_hip_device import library, several  # noqa: F401

from hfc.cli import main

pytest.importorskip("rocm.bindings.hip", reason="rocm-bindings-hip is not installed")


def damage(path: Path, name: str) -> None:
    """The first scale of a q8_0 tensor becomes infinite."""
    data = bytearray(path.read_bytes())
    size = int.from_bytes(data[:8], "little")
    found = json.loads(data[8 : 8 + size])[name]
    begin = 8 + size + found["data_offsets"][0]
    data[begin : begin + 2] = np.array(np.inf, np.float16).tobytes()
    path.write_bytes(data)


def test_the_first_layer_whose_output_is_not_finite_is_named(library, tmp_path):  # noqa: F811
    """In a prompt, by the launches of one step; the hint is to try another profile first."""
    source, coded = letters_folder(tmp_path / "llama"), tmp_path / "coded"
    with pytest.raises(SystemExit) as end:
        main(["quantize", str(source), "--format", "q8_0", "-o", str(coded), "-q"])
    assert not end.value.code
    damage(coded / "model.safetensors", "model.layers.1.mlp.down_proj.weight")
    words = ["run", str(coded), "--raw", "hello", "-n", "4", "--ctx", "64", "--device", "hip", "--profile"]
    turbo, fast = several(library, [("gfx1030:1G", "", [*words, profile]) for profile in ("turbo", "fast")])
    for code, _, err in (turbo, fast):
        assert code == 2 and "logits that are not numbers: layers.1 (layers.1.down_proj) is the first" in err, err
    assert "take --profile fast; if its logits are no numbers either, the weights may be damaged" in turbo[2]
    assert "--profile fast" not in fast[2] and "the weights may be damaged" in fast[2]
