"""Files of strangers: every reader ends in a result or in one message that says where, what was found and what was expected."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz.loaders import CORPUS, LOADERS, cases, prepare, read
from letters import letters_folder

from hfc.backend.library import build_for_cpu
from hfc.base import cache, whole_file
from hfc.base.diagnostics import HfcError
from hfc.base.numbers import power
from hfc.cli.opt import read_text
from hfc.formats.checkpoint.container import REPORT, report_of
from hfc.frontend.model import load_model
from hfc.frontend.parse import parse
from hfc.ir.text import parse_graph
from hfc.runtime.tokenizer_library import native_calls
from hfc.runtime.vocabulary import load_vocabulary

SCRIPT = Path(__file__).parent.parent / "scripts" / "fuzz_files.py"
KEYS = json.loads((CORPUS / "keys" / "llama.json").read_text())


@pytest.mark.parametrize("name", LOADERS)
def test_damaged_files_are_read_or_refused(name, tmp_path):
    loader = LOADERS[name]
    prepare(loader, tmp_path)
    for content in loader.seeds().values():
        assert read(loader, tmp_path, content) == "read", "the undamaged seed"
    outcomes = [read(loader, tmp_path, content) for _, content in cases(loader, 0, 40)]
    assert "refused" in outcomes


@pytest.mark.parametrize(("name", "seed"), [("imatrix", 10016055), ("imatrix", 3002074), ("config", 200461)])
def test_files_that_once_were_faults(name, seed, tmp_path):
    loader = LOADERS[name]
    prepare(loader, tmp_path)
    ((_, content),) = cases(loader, seed, 1)
    assert read(loader, tmp_path, content) == "refused"


@pytest.mark.long
@pytest.mark.parametrize("name", LOADERS)
def test_many_damaged_files(name):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--loader", name, "--count", "5000"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("tokenizer_config.json", {"eos_token": 7}, "tokenizer_config.json: eos_token: Expected `"),
        ("tokenizer_config.json", {"bos_token": {"content": 1}}, "bos_token: Expected `str`, got `int` - at `$.content`"),
        ("tokenizer_config.json", {"chat_template": [{"name": "default"}]}, "chat_template: Object missing required field `template`"),
        ("tokenizer_config.json", {"chat_template": 1.5}, "chat_template: Expected `str | array | null`, got `float`"),
        ("generation_config.json", {"eos_token_id": "2"}, "generation_config.json: eos_token_id: Expected `int | array | null`, got `str`"),
        ("generation_config.json", {"eos_token_id": [1, None]}, "eos_token_id: Expected `int`, got `null` - at `$[1]`"),
        ("generation_config.json", {"eos_token_id": -5}, "eos_token_id: -5 is no token id"),
        ("generation_config.json", {"eos_token_id": 10**30}, "eos_token_id"),
        ("config.json", {"text_config": [1]}, "config.json: text_config: Expected `object | null`, got `array`"),
    ],
)  # fmt: skip
def test_values_of_another_type_beside_a_tokenizer(tmp_path, file, change, message):
    folder = letters_folder(tmp_path / "m")
    path = folder / file
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **change}))
    with pytest.raises(HfcError) as error:
        load_vocabulary(folder)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model", 3, "model: Expected `str | null`, got `int`"),
        ("tokens", [1, 2], "tokens: Expected `str`, got `int` - at `$[0]`"),
        ("tokens", "abc", "tokens: Expected `array | null`, got `str`"),
        ("scores", ["a"] * 263, "scores: Expected `float`, got `str` - at `$[0]`"),
        ("token_type", [-1] * 263, "token_type has numbers that are no types"),
        ("eos_token_id", "2", "eos_token_id: Expected `int | null`, got `str`"),
        ("eos_token_id", 5000, "eos_token_id is 5000, outside the vocabulary"),
        ("add_bos_token", "yes", "add_bos_token: Expected `bool | null`, got `str`"),
    ],
)
def test_gguf_keys_of_another_type(tmp_path, key, value, message):
    (tmp_path / "keys.json").write_text(json.dumps({**KEYS, f"tokenizer.ggml.{key}": value}))
    with pytest.raises(HfcError) as error:
        LOADERS["gguf_keys"].read(tmp_path / "keys.json")
    assert f"tokenizer.ggml.{message}" in str(error.value)


def test_a_quality_report_of_another_type():
    with pytest.raises(HfcError, match=r"m.safetensors \(hfc.report\): a JSON object is expected, found a list"):
        report_of({REPORT: "[1]"}, "m.safetensors")


def test_a_panic_of_the_tokenizer_library_is_a_message():
    class PanicException(BaseException):  # as pyo3's is: no Exception, and not to be imported
        pass

    with (
        pytest.raises(HfcError, match="cannot encode this text: index out of bounds"),
        native_calls("cannot encode this text"),
    ):
        raise PanicException("index out of bounds")
    with pytest.raises(KeyboardInterrupt), native_calls("x"):
        raise KeyboardInterrupt


MODEL = "model m {{\n  config hf {{\n    layers = 1\n    vocab = 8\n    context = {}\n  }}\n  graph(tokens) {{\n    return tokens\n  }}\n}}\n"


@pytest.mark.parametrize(
    "expression",
    ["9 ** 9 ** 9", "2 ** 5000", "0 - 2 ** 2000", '"a" * 1000000000', '"%1000000000d" % 1', "[1] * 1000000000", "(0 - 8) ** 0.5", "1e999 // 1"],
)  # fmt: skip
def test_arithmetic_of_a_description_is_bounded(tmp_path, expression):
    (tmp_path / "m.hfm").write_text(MODEL.format(expression))
    with pytest.raises(HfcError, match="cannot compute this|must be a whole number"):
        load_model(tmp_path / "m.hfm").settings({"model_type": "m"}, "hf")


def test_powers_that_fit_are_computed():
    assert power(2, 1000) == 2**1000 and power(2.0, -1) == 0.5 and power(-1, 10**9) == 1


@pytest.mark.parametrize("text", ["- " * 5000 + "1", "1" + " + 1" * 5000, "9" * 5000, "[" * 3000 + "]" * 3000])
def test_a_description_nested_deeply_is_a_message(text):
    with pytest.raises(HfcError, match="nested more than 100 levels|a number of 5000 characters"):
        parse(MODEL.format(text), "m.hfm")


def test_ir_text_nested_deeply_is_a_message():
    text = (CORPUS / "llama.ir").read_text()
    with pytest.raises(HfcError):
        parse_graph(text.replace("=", "=" + "[" * 3000, 1))


def test_ir_text_that_is_no_text_is_a_message(tmp_path):
    (tmp_path / "graph.ir").write_bytes(b"graph \xff")
    with pytest.raises(HfcError, match="graph.ir: not UTF-8 text: invalid start byte at byte 6"):
        read_text(str(tmp_path / "graph.ir"), "gfx1100", None, None)


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"])
def test_json_nested_deeply_is_a_message(tmp_path, file):
    folder = letters_folder(tmp_path / "m")
    (folder / file).write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    with pytest.raises(HfcError, match=file):
        load_vocabulary(folder)


def test_a_full_disk_names_the_file_and_what_is_kept(tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "m.bin"
    whole_file.write_whole(path, b"old", "the file")
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(
        HfcError, match="m.bin: cannot write the file: No space left on device; what stood there before is unchanged"
    ):
        whole_file.write_whole(path, b"new", "the file")
    with pytest.raises(HfcError, match="new.bin: .*nothing is left behind"):
        whole_file.write_whole(tmp_path / "new.bin", b"new", "the file")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["m.bin"]


def test_a_home_that_cannot_be_written_does_no_harm(tmp_path, monkeypatch):
    """zig's caches lie in ours. (A file in the place of a home cannot be written by root either.)"""
    (tmp_path / "home").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HFC_CACHE", str(tmp_path / "cache"))
    for name in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    assert cache.compiler_environment()["ZIG_GLOBAL_CACHE_DIR"] == str(tmp_path / "cache" / "zig")
    assert build_for_cpu("int answer(void) { return 42; }", "native").stat().st_size > 0
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", "/own")
    assert cache.compiler_environment()["ZIG_GLOBAL_CACHE_DIR"] == "/own", "the user's own choice stays"
