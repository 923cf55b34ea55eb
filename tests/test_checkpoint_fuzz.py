"""Damaged checkpoint files: whatever the bytes, reading ends in data or in an HfcError, with little memory."""

import copy
import json
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hfqm_files import entry, hfqm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hfc.base.diagnostics import HfcError
from hfc.formats import READABLE
from hfc.formats.checkpoint import open_checkpoint

HOSTILE = [0, 1, 7, 255, 2**15, 2**31, 2**32 - 1, 2**40, 2**62, 2**63, 2**64 - 1]
MEMORY_LIMIT = 4 << 20  # bytes; the files have less than 2 KB

each_example = settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def small_gguf() -> bytes:
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    keys = [
        text("general.architecture") + struct.pack("<I", 8) + text("llama"),
        text("general.alignment") + struct.pack("<II", 4, 64),
        text("numbers") + struct.pack("<IIQ3f", 9, 6, 3, 1, 2, 3),
        text("words") + struct.pack("<IIQ", 9, 8, 3) + text("a") + text("") + text("ccc"),
        text("flag") + struct.pack("<I?", 7, True),
        text("big") + struct.pack("<IQ", 10, 2**50),
    ]
    rows = [
        text("norm") + struct.pack("<IQIQ", 1, 8, 0, 0),
        text("matrix") + struct.pack("<IQQIQ", 2, 32, 2, 3, 64),
        text("experts") + struct.pack("<IQQQIQ", 3, 4, 3, 2, 1, 128),
    ]
    head = b"GGUF" + struct.pack("<IQQ", 3, len(rows), len(keys)) + b"".join(keys) + b"".join(rows)
    return head + bytes(-len(head) % 64) + np.arange(176, dtype=np.uint8).tobytes()


def small_safetensors() -> bytes:
    header = {
        "__metadata__": {"format": "pt"},
        "norm": {"dtype": "F32", "shape": [8], "data_offsets": [0, 32]},
        "matrix": {"dtype": "BF16", "shape": [4, 1, 4], "data_offsets": [32, 64]},
        "scalar": {"dtype": "F16", "shape": [], "data_offsets": [64, 66]},
        "empty": {"dtype": "F32", "shape": [0, 4], "data_offsets": [66, 66]},
        "ids": {"dtype": "I64", "shape": [2], "data_offsets": [66, 82]},
    }
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(range(82))


def small_hfqm() -> bytes:
    x = np.random.default_rng(3).standard_normal((2, 256)).astype(np.float32)
    tensors = {
        "norm": entry(READABLE["f16"], x[0, :8]),
        "matrix": entry(READABLE["mq4g256v2"], x),
        "conv": entry(READABLE["q8_0"], x[:1, :64], (16, 1, 4)),
        "odd": (19, (3, 4), bytes(range(12))),
        "rows": entry(READABLE["hfp4g32"], x),
    }
    return hfqm(tensors, {"model_type": "llama"}, align=64, tokenizer='{"a": "}"}', tokenizer_config={"b": [1, {}]})


FILES = {"model.gguf": small_gguf(), "model.hfq": small_hfqm(), "model.safetensors": small_safetensors()}


def read_everything(path: Path) -> int:
    """Open a file and read all of it; the number of tensors read, 0 if it was refused."""
    try:
        checkpoint = open_checkpoint(path)
    except HfcError as error:
        assert path.name in str(error), "the message must name the file"
        return 0
    with checkpoint:
        for name in checkpoint.names():
            info = checkpoint.info(name)
            assert info.packed or checkpoint.raw(name).nbytes == info.nbytes
            if info.format in READABLE:
                try:
                    assert checkpoint.f32(name).shape == info.shape
                except HfcError as error:  # rows with headers of their own
                    assert path.name in str(error) and name in str(error), "the message must name file and tensor"
        dict(checkpoint.config)
        return len(checkpoint.names())


def try_bytes(path: Path, content: bytes) -> int:
    path.write_bytes(content)
    tracemalloc.start()
    try:
        found = read_everything(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MEMORY_LIMIT, f"{peak} bytes were allocated for a file of {len(content)}"
    return found


@pytest.fixture(params=sorted(FILES))
def target(request, tmp_path) -> tuple[Path, bytes]:
    return tmp_path / request.param, FILES[request.param]


def test_the_undamaged_files_are_good(target):
    path, content = target
    assert try_bytes(path, content) == {"model.gguf": 3, "model.hfq": 5, "model.safetensors": 5}[path.name]


def test_truncation_at_every_byte(target):
    path, content = target
    read = [length for length in range(len(content)) if try_bytes(path, content[:length])]
    assert read == [], "a truncated file was taken for a whole one"


@each_example
@given(data=st.data())
def test_random_bytes_changed(target, data):
    path, content = target
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try_bytes(path, bytes(damaged))


def test_every_u64_and_u32_of_a_gguf_replaced_by_hostile_numbers(tmp_path):
    content = FILES["model.gguf"]
    header = len(content) - 176
    for at in range(0, header - 8):
        for number in HOSTILE:
            for width, code in ((8, "<Q"), (4, "<I")):
                damaged = bytearray(content)
                damaged[at : at + width] = struct.pack(code, number % 2 ** (8 * width))
                read_or_refuse(tmp_path / "model.gguf", bytes(damaged))


def test_every_number_of_an_hfqm_replaced_by_hostile_ones(tmp_path):
    content = FILES["model.hfq"]
    index = content.index(b"norm") - 6
    for at in [*range(32), *range(index, content.index(b"rows") + 26)]:
        for number in HOSTILE:
            for width, code in ((8, "<Q"), (4, "<I"), (1, "<B")):
                damaged = bytearray(content)
                damaged[at : at + width] = struct.pack(code, number % 2 ** (8 * width))
                read_or_refuse(tmp_path / "model.hfq", bytes(damaged))


def read_or_refuse(path: Path, content: bytes) -> None:
    """As try_bytes, without the cost of tracing every allocation."""
    path.write_bytes(content)
    read_everything(path)


def test_hostile_gguf_numbers_allocate_nothing(tmp_path):
    """The counts and lengths proper, one at a time."""
    content = FILES["model.gguf"]
    places = [8, 16, 24]  # tensor count, key count, length of the first key
    places += [content.index(name) - 8 for name in (b"norm", b"matrix", b"llama", b"words", b"ccc")]
    places += [content.index(name) + len(name) + 8 for name in (b"numbers", b"words")]  # array lengths
    places += [content.index(b"matrix") + 10, content.index(b"matrix") + 18]  # dimensions
    for at in places:
        for number in HOSTILE[4:]:
            damaged = content[:at] + struct.pack("<Q", number) + content[at + 8 :]
            assert try_bytes(tmp_path / "model.gguf", damaged) == 0, f"u64 {number} at byte {at} was accepted"


@each_example
@given(data=st.data())
def test_safetensors_headers_with_odd_values(tmp_path, data):
    """Structured damage: the header stays JSON, but any value in it may be any JSON."""
    odd = st.sampled_from(
        [None, True, -1, 0, 1.5, 2**70, 10**400, "F32", "", [], [1], [0, 4], {}, {"a": 1}, float("nan")]
    )
    text_length = struct.unpack("<Q", FILES["model.safetensors"][:8])[0]
    header = json.loads(FILES["model.safetensors"][8 : 8 + text_length])
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from(sorted(header)))
        if isinstance(header[name], dict) and data.draw(st.booleans()):
            key = data.draw(st.sampled_from(["dtype", "shape", "data_offsets"]))
            header[name][key] = copy.deepcopy(data.draw(odd))
        else:
            header[name] = copy.deepcopy(data.draw(odd))
    text = json.dumps(header).encode()
    try_bytes(tmp_path / "model.safetensors", struct.pack("<Q", len(text)) + text + bytes(82))
