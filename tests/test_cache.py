"""The build cache: made once, rebuilt when damaged, never half written."""

import os

import pytest

from hfc.base import cache, path_text
from hfc.base.cache import cached, key_of
from hfc.base.diagnostics import HfcError
from hfc.base.whole_file import write_whole


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("HFC_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_made_once():
    calls = []
    for _ in range(2):
        path = cached("ab" * 16, ".so", lambda: calls.append(1) or b"content")
        assert path.read_bytes() == b"content"
    assert len(calls) == 1


def test_damaged_entry_is_rebuilt_and_said(capsys):
    path = cached("cd" * 16, ".bin", lambda: b"content")
    path.write_bytes(b"conte")
    assert cached("cd" * 16, ".bin", lambda: b"content").read_bytes() == b"content"
    assert capsys.readouterr().err.count("is damaged") == 1
    cached("cd" * 16, ".bin", lambda: b"other")
    assert capsys.readouterr().err == ""


def test_an_entry_that_another_process_finishes_meanwhile_is_not_damaged(monkeypatch, capsys):
    """It appears between the look for a whole one and the look for any."""
    is_whole, looks = cache._is_whole, []

    def looked_at(path):
        found = is_whole(path)
        if not looks:
            looks.append(path)
            cached("34" * 16, ".bin", lambda: b"content")
        return found

    monkeypatch.setattr(cache, "_is_whole", looked_at)
    assert cached("34" * 16, ".bin", lambda: b"made twice").read_bytes() == b"content"
    assert capsys.readouterr().err == ""


def test_key_keeps_borders():
    assert key_of("ab", "c") != key_of("a", "bc")
    assert key_of("ab", "c") == key_of("ab", b"c")


def test_unwritable_folder_is_a_user_error(folder, monkeypatch):
    (folder / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "file"))
    with pytest.raises(HfcError, match="cannot write the cache entry"):
        cached("ef" * 16, ".so", lambda: b"content")


def test_another_process_never_sees_half_an_entry(monkeypatch):
    """At whatever moment it looks: no entry, or a whole one. (Half of one would be called damaged.)"""
    seen, write = [], cache._write

    def looked_at(path, data):
        write(path, data)
        entry = path.with_name(path.name.removesuffix(".sha256"))
        seen.append((entry.exists(), cache._is_whole(entry)))

    monkeypatch.setattr(cache, "_write", looked_at)
    cached("12" * 16, ".so", lambda: b"content")
    assert seen == [(False, False), (True, True)]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX has pipes with names")
def test_a_device_or_a_pipe_is_not_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with pytest.raises(HfcError, match="this is a device or a pipe, no file"):
            write_whole(tmp_path / name, b"data", "the bundle")
    assert (tmp_path / "pipe").is_fifo() and sorted(p.name for p in tmp_path.iterdir()) == ["link", "pipe"]


def test_without_a_home_folder_the_cache_is_asked_for(monkeypatch):
    for name in ("HFC_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(path_text.os.path, "expanduser", lambda text: text)
    with pytest.raises(HfcError, match="(?s)there is no home folder.*set HOME, or HFC_CACHE"):
        cache.cache_folder()
