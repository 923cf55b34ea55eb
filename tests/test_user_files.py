"""Files and folders as they lie on disks and hubs: links, folders of both kinds, and what hfc does not run, said in a sentence."""

import json
import os
import re
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from letters import letters_folder
from test_cli import hfc  # noqa: F401  (fixture)

from hfc.base.diagnostics import HfcError
from hfc.base.file_start import STARTS
from hfc.cli import dispatch
from hfc.compiler import CompileOptions, compile_model, open_source
from hfc.formats.checkpoint import open_checkpoint
from hfc.formats.checkpoint.foreign import METHODS, READ_METHODS, REMOVED_TYPES
from hfc.quantize.writer import Writer
from hfc.runtime.source import find_source

MODELS = Path(__file__).parent / "data" / "models"


def gguf_file(path: Path, tensor_type: int | None = None, **texts: str) -> Path:
    """A GGUF of string keys and, with a type, one tensor."""
    text = lambda value: struct.pack("<Q", len(value.encode())) + value.encode()  # noqa: E731
    keys = b"".join(text(k.replace("__", ".")) + struct.pack("<I", 8) + text(v) for k, v in texts.items())
    row = b"" if tensor_type is None else text("w") + struct.pack("<IQQIQ", 2, 32, 1, tensor_type, 0)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, tensor_type is not None, len(texts)) + keys + row + b"\0" * 4096)
    return path


def linked(target: Path, folder: Path) -> Path:
    """The folder as the hub's cache lays it out: names that are links into blobs/, where nothing has a name."""
    blobs, snapshot = target / "blobs", target / "snapshots" / "0123"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, path in enumerate(sorted(folder.iterdir())):
        shutil.copy(path, blobs / f"{number:064x}")
        os.symlink(Path("..", "..", "blobs", f"{number:064x}"), snapshot / path.name)
    return snapshot


def test_links_stay_links(tmp_path):
    """A folder of links and the file in it find what lies beside them; the plan remembers the link, not the blob."""
    snapshot = linked(tmp_path, MODELS / "llama")
    (snapshot / "model.gguf").unlink()
    for given in (snapshot, snapshot / "model.safetensors"):
        with open_checkpoint(given) as checkpoint:
            assert checkpoint.config["model_type"] == "llama"
        assert open_source(given).path.is_relative_to(snapshot)
    bundle = compile_model(snapshot, ["host"], CompileOptions(ctx=32))
    assert Path(bundle.model["weights"]).is_relative_to(snapshot)


def test_parts_of_a_split_gguf_that_are_links_find_each_other(tmp_path, smollm2_gguf):
    gguf = pytest.importorskip("gguf")
    parts = tmp_path / "parts"
    parts.mkdir()
    for number in (1, 2):
        writer = gguf.GGUFWriter(parts / f"m-0000{number}-of-00002.gguf", "llama")
        writer.add_uint16("split.count", 2)
        writer.add_tensor(f"t{number}", np.ones((2, 32), "f4"))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    snapshot = linked(tmp_path / "hub", parts)
    with open_checkpoint(snapshot / "m-00001-of-00002.gguf") as checkpoint:
        assert sorted(checkpoint.names()) == ["t1", "t2"]


def test_a_folder_with_a_config_and_a_gguf_is_the_gguf(tmp_path):
    folder = tmp_path / "both"
    folder.mkdir()
    for name in ("config.json", "model.gguf"):
        shutil.copy(MODELS / "llama" / name, folder)
    gguf_file(folder / "mmproj-model.gguf", general__type="mmproj")
    source = open_source(folder)
    assert source.kind == "gguf" and source.checkpoint is not None
    with open_checkpoint(folder) as checkpoint:
        assert checkpoint.kind == "gguf"


@pytest.mark.parametrize("method", sorted(set(METHODS) - set(READ_METHODS)))
def test_quantized_repositories_say_what_they_are(tmp_path, method):
    folder = shutil.copytree(MODELS / "llama", tmp_path / "m")
    (folder / "model.gguf").unlink()
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": method, "bits": 4}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(HfcError) as error:
        open_source(folder)
    assert f"quantized with {METHODS[method]}, 4 bits" in str(error.value) and "GGUF" in error.value.hint


def test_adapters_and_other_parts_say_what_they_are(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(HfcError, match="a LoRA adapter, not a model") as error:
        open_source(tmp_path)
    assert "merge" in error.value.hint
    for keys, sentence in (
        ({"general__type": "adapter", "general__architecture": "llama"}, "a LoRA adapter, not a model"),
        ({"general__architecture": "clip"}, "the image part of a multimodal model"),
        ({"general__type": "imatrix"}, "an importance matrix"),
    ):
        with pytest.raises(HfcError, match=sentence):
            open_source(gguf_file(tmp_path / "other.gguf", **keys))


def test_files_of_other_kinds_say_what_they_are(tmp_path):
    for start, (sentence, step) in STARTS.items():
        for name in ("model.safetensors", "model.gguf", "pytorch_model.bin"):
            (tmp_path / name).write_bytes(start + b"...." * 20)
            with pytest.raises(HfcError, match=re.escape(f"{name}: this is {sentence}")) as error:
                open_source(tmp_path / name)
            assert error.value.hint == step
    (tmp_path / "m.hfp").write_bytes(b"PK\x03\x04....")
    with pytest.raises(HfcError, match="a compiled bundle, not a checkpoint") as error:
        open_checkpoint(tmp_path / "m.hfp")
    assert error.value.hint.startswith("hfc explain ")
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    data = header.ljust(0x88B1F) + bytes(4)  # a length that begins as gzip does
    (tmp_path / "odd.safetensors").write_bytes((0x88B1F).to_bytes(8, "little") + data)
    with open_checkpoint(tmp_path / "odd.safetensors") as checkpoint:
        assert list(checkpoint.names()) == ["a"]


@pytest.mark.parametrize("number", REMOVED_TYPES)
def test_removed_types_of_gguf_are_named(tmp_path, number):
    old, new = REMOVED_TYPES[number]
    with pytest.raises(HfcError, match=f"of type {old}, which llama.cpp removed") as error:
        open_checkpoint(gguf_file(tmp_path / "old.gguf", number))
    assert f"take a file of type {new}" in error.value.hint


def test_an_index_means_its_folder(tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    source = find_source(str(tmp_path / "model.safetensors.index.json"))
    assert (source.kind, source.path) == ("checkpoint", tmp_path)


def test_quantize_refuses_what_run_refuses(hfc, tmp_path):  # noqa: F811
    folder = letters_folder(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    for change, message in (
        ({"model_type": "lama"}, "model type 'lama'"), ({"sliding_window": 64}, "'sliding_window'"),
        ({"quantization_config": {"quant_method": "hqq"}}, "quantized with HQQ"),
    ):  # fmt: skip
        (folder / "config.json").write_text(json.dumps({**config, **change}))
        code, _, err = hfc("quantize", folder, "--format", "q8_0", "-o", tmp_path / "out")
        assert code == 2 and message in err, err
        assert hfc("run", folder, "--raw", "hi", "--device", "null")[0] == 2
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "command", [("compile", "-o", "a.hfp"), ("fit", "--vram", "24"), ("predict", "--card", "RX 7900 XTX")]
)
def test_a_format_for_weights_that_have_their_own_is_refused(hfc, command):  # noqa: F811
    code, _, err = hfc(command[0], Path(__file__).parent / "data/models/qwen3_5_text", "--format", "q4_k", *command[1:])
    assert code == 2 and "have formats of their own" in err and "hfc quantize" in err, err


def test_formats_are_suggested_whatever_their_case_and_refused_for_every_width(hfc, tmp_path):  # noqa: F811
    folder = letters_folder(tmp_path / "m")  # rows of 64 and 96, to which no block of 256 fits
    assert "did you mean 'q4_k'" in hfc("quantize", folder, "--format", "Q4_K_M")[2]
    assert "cannot quantize to q4_k" in hfc("quantize", folder, "--format", "q4_k")[2]
    assert hfc("quantize", folder, "--format", "Q8_0", "-o", tmp_path / "out")[0] == 0


def test_an_interrupted_quantize_says_how_it_goes_on(hfc, tmp_path, monkeypatch, capfd):  # noqa: F811
    folder = letters_folder(tmp_path / "m")

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Writer, "flush", interrupt)
        patched.setattr(Writer, "write", interrupt)
        with pytest.raises(KeyboardInterrupt):
            dispatch(["quantize", str(folder), "--format", "q8_0", "-o", str(tmp_path / "out")])
    assert "the same command goes on from here" in capfd.readouterr().err
    assert not (tmp_path / "out" / "model.safetensors").exists()
    assert hfc("quantize", folder, "--format", "q8_0", "-o", tmp_path / "out")[0] == 0
