"""Importance matrices: what hfc collects, files of llama.cpp's two kinds, and imatrices of other models."""

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
from test_cli import bundle, folder, hfc  # noqa: F401  (fixtures)
from test_quantize import TOKENS, write_model

from hfc.base.diagnostics import HfcError
from hfc.calibrate.collect import collect, importances
from hfc.compiler import open_source
from hfc.oracle import InterpretedModel
from hfc.quantize.imatrix import Imatrix, ImatrixEntry, read_imatrix, write_imatrix
from hfc.step import Step

FIXTURES = Path(__file__).parent.parent.parent / "shared" / "fixtures"
PIECES = [TOKENS[:13], TOKENS[13:33]]


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("source") / "llama")


def traced_squares(path, pieces):
    """Sums of squares of each linear's inputs by the name of its weight, from the interpreter, piece by piece."""
    source, found = open_source(path), {}
    for piece in pieces:
        model = InterpretedModel(source, 64)
        _, values = model.interpreter.trace(Step.single(piece))
        graph = model.interpreter.graph
        makers = {op.output: op for op in graph.ops_of("weight")}
        for op in graph.ops_of("linear", "expert_linear"):
            x = values[op.inputs[0]].astype(np.float64)
            name = makers[op.inputs[1]].attrs["name"]
            if op.kind == "linear":
                found[name] = found.get(name, 0) + (x.reshape(-1, x.shape[-1]) ** 2).sum(axis=0)
                continue
            ids, sums = values[op.inputs[2]], np.zeros((op.inputs[1].type.shape[0], x.shape[-1]))
            for row, chosen in enumerate(ids):
                for slot, expert in enumerate(chosen):
                    sums[expert] += (x[row, slot] if x.ndim == 3 else x[row]) ** 2
            found[name] = found.get(name, 0) + sums
    return found


@pytest.mark.parametrize("model_type", ["llama", "qwen3_5_moe_text"])
def test_sums_are_those_of_the_interpreter(model_type, tmp_path):
    path = write_model(tmp_path / "source", model_type)
    found, expected = collect(open_source(path), PIECES), traced_squares(path, PIECES)
    names = {
        "blk.1.attn_q.weight": "layers.1.q_proj",
        "blk.0.ffn_gate_inp.weight": "layers.0.router",
        "blk.0.ffn_down_exps.weight": "layers.0.down_proj",
    }
    checked = [(theirs, ours) for theirs, ours in names.items() if ours in expected and theirs in found.entries]
    assert len(checked) >= (1 if model_type == "llama" else 2), found.entries.keys()
    for theirs, ours in checked:
        entry = found.entries[theirs]
        assert np.allclose(entry.sums, np.atleast_2d(expected[ours]), rtol=1e-4, atol=1e-6), theirs
        assert entry.counts.sum() % sum(map(len, PIECES)) == 0
    assert (found.chunks, found.chunk_size) == (2, 20)


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="the fixtures lie outside the checkout")
def test_gguf_and_hugging_face_give_one_imatrix():
    """The same model in both layouts: equal names, and inputs in GGUF's order (DeltaNet's value heads stand elsewhere)."""
    paths = FIXTURES / "qwen35-tiny-official", FIXTURES / "gguf/qwen35-tiny-BF16.gguf"
    first, second = (collect(open_source(path), PIECES).entries for path in paths)
    assert first.keys() == second.keys() and "blk.0.ssm_out.weight" in first
    for name in first:
        assert np.allclose(first[name].sums, second[name].sums, rtol=1e-4, atol=1e-7), name
    both = [importances(open_source(path), Imatrix(first), "x") for path in paths]
    out = both[0]["model.language_model.layers.0.linear_attn.out_proj.weight"], both[1]["blk.0.ssm_out.weight"]
    assert not np.array_equal(*out) and np.array_equal(np.sort(out[0]), np.sort(out[1]))


def test_files(llama, tmp_path):
    made = collect(open_source(llama), PIECES, "some text")
    write_imatrix(tmp_path / "a.gguf", made)
    found = read_imatrix(tmp_path / "a.gguf")
    assert (found.datasets, found.chunks, found.chunk_size) == (("some text",), 2, 20)
    assert all(
        np.array_equal(found.entries[n].sums, e.sums) and np.array_equal(found.entries[n].counts, e.counts)
        for n, e in made.entries.items()
    )
    library = gguf.GGUFReader(tmp_path / "a.gguf")
    named = {t.name: t.data for t in library.tensors}
    assert np.array_equal(named["blk.0.ffn_up.weight.in_sum2"], made.entries["blk.0.ffn_up.weight"].sums)
    assert library.get_field("general.type").contents() == "imatrix"
    path = tmp_path / "old.dat"
    path.write_bytes(struct.pack("<ii3sii4f", 1, 3, b"abc", 2, 4, 2, 4, 6, 8) + struct.pack("<ii4s", 7, 4, b"text"))
    old = read_imatrix(path)
    assert old.entries["abc"].mean.tolist() == [[1, 2, 3, 4]] and (old.chunks, old.datasets) == (7, ("text",))
    for length in range(len(path.read_bytes())):
        if length not in (0, 35):  # the oldest files end behind the entries
            (tmp_path / "cut.dat").write_bytes(path.read_bytes()[:length])
            with pytest.raises(HfcError, match="cut.dat"):
                read_imatrix(tmp_path / "cut.dat")
    with pytest.raises(HfcError, match="negative or no numbers"):
        path.write_bytes(path.read_bytes()[:19] + b"\xff" * 4 + path.read_bytes()[23:])
        read_imatrix(path)


def test_an_expert_that_no_row_reached_counts_as_unknown():
    assert ImatrixEntry(np.zeros((2, 3), np.float32), np.array([0, 4], np.float32)).mean.tolist() == [
        [1, 1, 1],
        [0, 0, 0],
    ]


def test_an_imatrix_of_another_model_is_refused(llama, tmp_path):
    source, entries = open_source(llama), dict(collect(open_source(llama), PIECES).entries)
    assert importances(source, Imatrix(entries), "x.gguf")["model.layers.1.mlp.down_proj.weight"].shape == (1, 512)
    other = {name.replace("ffn", "mlp").replace("attn", "mixer"): entry for name, entry in entries.items()}
    narrow = entries | {"blk.1.ffn_up.weight": ImatrixEntry(np.ones((1, 64), np.float32), np.ones(1, np.float32))}
    deeper = entries | {"blk.9.ffn_up.weight": entries["blk.1.ffn_up.weight"]}
    for wrong, reason in (
        (other, "nothing of blk.0.attn_"),
        (narrow, "64 inputs there and 256 here"),
        (deeper, "blk.9.ffn_up.weight, which the model has not"),
    ):
        with pytest.raises(HfcError, match=f"x.gguf is an imatrix of another model than llama: .*{reason}"):
            importances(source, Imatrix(wrong), "x.gguf")


def test_an_imatrix_with_entries_missing_or_fused_is_used(llama):
    source, entries = open_source(llama), dict(collect(open_source(llama), PIECES).entries)
    whole = importances(source, Imatrix(entries), "x")
    tensor = "model.layers.1.mlp.down_proj.weight"
    partly = importances(source, Imatrix({n: e for n, e in entries.items() if n != "blk.1.ffn_down.weight"}), "x")
    assert partly.keys() == whole.keys() - {tensor}, "what it lacks is packed plainly"
    by_sibling = importances(source, Imatrix({n: e for n, e in entries.items() if n != "blk.1.ffn_up.weight"}), "x")
    fused = {n: e for n, e in entries.items() if not n.startswith(("blk.0.attn_q", "blk.0.attn_k", "blk.0.attn_v"))}
    fused |= {
        "blk.0.attn_qkv.weight": entries["blk.0.attn_q.weight"],
        "blk.2.nextn.eh_proj.weight": entries["blk.0.attn_q.weight"],
    }
    for found in (by_sibling, importances(source, Imatrix(fused), "x")):
        assert found.keys() == whole.keys() and all(np.array_equal(found[n], whole[n]) for n in whole)


def test_command(hfc, folder, tmp_path):  # noqa: F811
    code, out, err = hfc("imatrix", folder, "-o", tmp_path / "m.gguf", "-n", 60, "--chunk", 20)
    assert code == 0 and "60 tokens" in out, err
    assert read_imatrix(tmp_path / "m.gguf").chunks == 3
    assert "no weights to run" in hfc("imatrix", folder / "config.json", "-o", tmp_path / "m.gguf")[2]
