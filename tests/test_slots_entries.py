"""Caches with a place for one position of several: what a slot keeps of a text and gets back, in pieces or as a whole."""

import json

import numpy as np
import pytest
from family_fixture import FOLDER
from safetensors.numpy import save_file

from hfc.compiler import CompileOptions, compile_model
from hfc.formats.checkpoint import open_checkpoint
from hfc.runtime.executor import load
from hfc.runtime.fit import need_of
from hfc.runtime.slots import ALIGNED, kv_planes, recurrent_planes, slot_states
from hfc.step import Step


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Entries of 4 tokens, of which no piece of a text has a part, and of 6."""
    folder = tmp_path_factory.mktemp("v4")
    config = json.loads((FOLDER / "deepseek_v4/config.json").read_text())
    config["compress_rates"] = {"compressed_sparse_attention": 4, "heavily_compressed_attention": 6}
    (folder / "config.json").write_text(json.dumps(config))
    with open_checkpoint(FOLDER / "deepseek_v4") as checkpoint:
        tensors = {name: checkpoint.f32(name).copy() for name in checkpoint.names()}
    longer = {n: np.resize(x, (4, x.shape[1])) for n, x in tensors.items() if n.endswith(".ape") and len(x) == 3}
    save_file(tensors | longer, folder / "model.safetensors")
    made = load(compile_model(folder, ["host"], CompileOptions(ctx=150, slots=2)), threads=1)
    yield made
    made.close()


def test_a_text_goes_on_in_another_slot(model):
    tokens = np.random.default_rng(2).integers(0, model.vocab, 150).astype(np.int32)
    states, at = slot_states(model), [0, ALIGNED, 2 * ALIGNED - 5]
    for start, end in zip(at, at[1:]):
        model.forward(Step.single(tokens[start:end], start, slot=0, outputs="last"))
    kept = states.read_kv(0, 0, ALIGNED), states.read_kv(0, ALIGNED, at[2]), states.read_recurrent(0)
    expected = model.forward(Step.single(tokens[at[2] :], at[2], slot=0, outputs="last"))
    states.write_kv(1, 0, kept[0], ALIGNED, ALIGNED)
    states.write_kv(1, ALIGNED, kept[1], at[2] - ALIGNED, at[2] - ALIGNED)
    states.write_recurrent(1, kept[2])
    np.testing.assert_array_equal(model.forward(Step.single(tokens[at[2] :], at[2], slot=1, outputs="last")), expected)


def test_places_are_memory(model):
    plan = model.plan
    names = {state.name: state for state in plan.states}
    for layer, every in ((1, 4), (2, 6), (3, 4)):
        entries, plain = names[f"layers.{layer}.entries"], names[f"layers.{layer}.kv"]
        assert entries.every == every and entries.planes["k"] * 150 == plain.planes["k"] * -(-150 // every)
    in_pieces = {plane.state for plane in kv_planes(plan)}
    assert {"layers.1.entries", "layers.1.index", "layers.1.kv", "layers.2.kv"} <= in_pieces
    assert "layers.2.entries" in {name for name, *_ in recurrent_planes(plan)} - in_pieces
    cached = sum(sum(state.planes.values()) for state in plan.states if "k" in state.planes)
    assert need_of(plan).per_token * 150 >= cached
