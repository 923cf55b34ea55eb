"""What was compiled before is found without the compiler, and only while nothing has changed that it was made from."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from model_reference import MODELS

from hfc.base.cache import cache_folder, record_made
from hfc.cli import compiled_before, open_model
from hfc.cli.compiled_before import find_compiled, index_key, keep_compiled
from hfc.cli.open_model import ModelChoice, open_bundle, resolve
from hfc.compiler import CompileOptions, compile_model


@pytest.fixture
def llama(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HFC_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "models" / "llama"
    shutil.copytree(MODELS / "llama", folder)
    return folder


def test_the_second_start_has_no_compiler_and_a_changed_checkpoint_has(monkeypatch, tmp_path):
    bundle = compile_model(MODELS / "llama", ["host"], CompileOptions(ctx=64))
    started = []

    def compiler(words, **_):
        """What `hfc compile` does: a bundle, and the word that its code was made here."""
        started.append(words)
        bundle.save(Path(words[words.index("-o") + 1]))
        record_made(bundle.files[bundle.plans["host"].library])
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setenv("HFC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(open_model.subprocess, "run", compiler)
    folder = tmp_path / "llama"
    shutil.copytree(MODELS / "llama", folder)
    choice = ModelChoice(context=64, draft="auto")
    first = open_bundle(resolve(str(folder)), choice)
    assert open_bundle(resolve(str(folder)), choice) == first and len(started) == 1
    open_bundle(resolve(str(folder)), replace(choice, kv="q8"))
    assert len(started) == 2
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes())  # as long as before, of another time
    open_bundle(resolve(str(folder)), choice)
    assert len(started) == 3
    shutil.rmtree(cache_folder() / "made")  # nobody says any more that its code is this machine's: it is not run
    open_bundle(resolve(str(folder)), choice)
    assert len(started) == 4


def test_damaged_entries_and_bundles_are_none(llama):
    data = b"no bundle"
    key = index_key(llama, ["--arch", "host"], [])
    assert find_compiled(key) is None and find_compiled(None) is None
    keep_compiled(key, data)
    entry = compiled_before._entry(key)
    assert find_compiled(key) is None, "its content is whole, but no bundle"
    for text in (b"", b"\xff\xfe", b"../../../etc/passwd", b"0" * 64):
        entry.write_bytes(text)
        assert find_compiled(key) is None
    shutil.rmtree(cache_folder())
    cache_folder().write_text("no folder")
    keep_compiled(key, data)  # a cache that cannot be written is no error of a start
    assert find_compiled(key) is None


def test_everything_that_a_compilation_looks_at_is_in_the_key(llama, tmp_path, monkeypatch):
    gguf, table = tmp_path / "models" / "m.gguf", tmp_path / "choices.csv"
    gguf.write_bytes(b"GGUF and more")
    monkeypatch.setenv("HFC_CHOICES", str(table))
    seen = set()

    def is_new(source: Path, words=(), beside=()) -> bool:
        key = index_key(source, words, beside)
        assert key == index_key(source, words, beside)
        count = len(seen)
        seen.add(key)
        return len(seen) > count

    assert is_new(gguf) and is_new(llama) and is_new(gguf, ["--kv", "q8"]) and is_new(gguf, (), [llama])
    (tmp_path / "models" / "unrelated.gguf").write_bytes(b"1")
    assert not is_new(gguf), "the next download into its folder is nothing to it"
    times = gguf.stat().st_atime_ns, gguf.stat().st_mtime_ns
    gguf.write_bytes(b"GGUF and mere")
    os.utime(gguf, ns=times)  # of the size and time of before: the time of its last change tells
    assert is_new(gguf)
    (tmp_path / "models" / "draft.gguf").write_bytes(b"1")
    assert is_new(gguf) and not is_new(gguf)
    (tmp_path / "models" / "draft").mkdir()
    (tmp_path / "models" / "draft" / "config.json").write_text("{}")
    assert is_new(gguf)
    (llama / "config.json").write_text("{}")
    assert is_new(llama)
    table.write_text("a table")
    assert is_new(gguf)
    (tmp_path / "hfc.toml").write_text('profile = "fast"')  # of no option of `hfc run`: `hfc compile` itself reads it
    monkeypatch.setenv("HFC_CONFIG", str(tmp_path / "hfc.toml"))
    assert is_new(gguf)
    monkeypatch.setenv("HFC_MODELS", str(tmp_path))
    assert is_new(gguf)
    (tmp_path / "ziglang").mkdir()
    for name in ("__init__.py", "zig"):
        (tmp_path / "ziglang" / name).write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "ziglang", raising=False)
    assert is_new(gguf) and not is_new(gguf)
    (tmp_path / "ziglang" / "zig").write_text("another version")
    assert is_new(gguf)
    clang = tmp_path / "clang"
    monkeypatch.setenv("HFC_CLANG", str(clang))
    assert is_new(gguf) and not is_new(gguf)
    clang.write_text("a compiler")
    assert is_new(gguf)
    monkeypatch.setattr(compiled_before, "hfc_states", lambda folder: ["another version"])
    assert is_new(gguf)
    monkeypatch.setenv("HFC_DEBUG", "1")
    assert index_key(gguf, (), ()) is None


def test_what_cannot_be_read_is_no_error_of_the_index(tmp_path, monkeypatch):
    (tmp_path / "draft").mkdir()

    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    before = compiled_before.state_of(tmp_path / "draft")
    monkeypatch.setattr(compiled_before.os, "scandir", refused)
    assert compiled_before.state_of(tmp_path / "draft") == f"{tmp_path / 'draft'}: 13" != before
    assert compiled_before.state_of(tmp_path / "nothing") != compiled_before.state_of(tmp_path / "draft")


def test_a_part_of_a_split_gguf_counts(tmp_path):
    first, second = (tmp_path / f"m-0000{i}-of-00002.gguf" for i in (1, 2))
    first.write_bytes(b"1")
    second.write_bytes(b"2")
    before = index_key(first, (), ())
    second.write_bytes(b"22")
    assert index_key(first, (), ()) != before
