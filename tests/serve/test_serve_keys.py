"""Where the server's keys come from, and that a key on the command line does not stay in the list of processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hfc.base.diagnostics import HfcError
from hfc.base.knobs import knob
from hfc.cli.keys import VARIABLE, api_keys, environment, without_keys

ASKED = """
import sys
from pathlib import Path
from hfc.cli import keys
keys.hide_keys(["s3cret", "other"])
"""


@pytest.fixture(autouse=True)
def no_keys(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


def test_keys_of_all_places(tmp_path, monkeypatch):
    (tmp_path / "keys").write_text("one\ntwo\n")
    monkeypatch.setenv(VARIABLE, "three  one")
    assert api_keys(["zero"], tmp_path / "keys") == ("zero", "one", "two", "three")
    assert api_keys(None, None) == ("three", "one")
    assert environment(["four"])[VARIABLE] == "three one four"
    assert knob(VARIABLE) == "(set)", "hfc doctor must not print it"


def test_bad_places_are_messages(tmp_path):
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for file, message in (("empty", "no key in it"), ("binary", "cannot be read"), ("lost", "No such file")):
        with pytest.raises(HfcError, match=message):
            api_keys(None, tmp_path / file)
    with pytest.raises(HfcError, match="empty"):
        api_keys([" "], None)


def test_words_without_keys():
    words = [
        "serve",
        "m",
        "--api-key",
        "a",
        "--port",
        "0",
        "--api-key=b",
        "--api-key-file",
        "f",
        "--",
        "--api-key",
        "c",
    ]
    assert without_keys(words) == ["serve", "m", "--port", "0", "--api-key-file", "f", "--", "--api-key", "c"]
    assert without_keys(["serve", "--api-key"]) == ["serve"]


def test_the_command_starts_again_without_its_keys(tmp_path):
    """The new process is the same one, its words have no key, and its environment has both. `doctor` stands in for `serve`."""
    shown = tmp_path / "sitecustomize.py"
    shown.write_text(
        "import os, sys\nif '-m' in sys.orig_argv: print(sys.orig_argv, os.environ['HFC_API_KEY'], flush=True); os._exit(0)\n"
    )
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", ASKED, "doctor", "--api-key", "s3cret", "--api-key=other"], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": path}, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    words, _, keys = done.stdout.strip().rpartition("] ")
    assert keys == "s3cret other" and "s3cret" not in words and words.endswith("'doctor'"), done.stdout
