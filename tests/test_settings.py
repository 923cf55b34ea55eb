"""hfc.toml, environment variables, flags of other programs, completion: where values come from, and what is refused."""

import os
import re
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest

from hfc.base.diagnostics import HfcError
from hfc.base.knobs import KNOBS
from hfc.base.orphans import as_child
from hfc.cli import main, settings_of
from hfc.cli.completion import candidates
from hfc.cli.serve import server_limits
from hfc.cli.settings import settings_of as found_settings
from hfc.cli.settings import variables
from hfc.cli.usage import bench, fit, run, serve
from hfc.cli.usage.familiar import FAMILIAR
from hfc.cli.usage.parse import parse
from hfc.serve.limits import ServerLimits


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Write the user's file and that of the folder one works in; None: there is none."""

    def write(user: str | None = None, project: str | None = None) -> None:
        for text, path in ((user, tmp_path / "config/hfc/hfc.toml"), (project, tmp_path / "work/hfc.toml")):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            if text is not None:
                path.write_text(text)

    for name in KNOBS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    write()
    monkeypatch.chdir(tmp_path / "work")
    return write


def value(command: str, *words: str) -> dict:
    usage = {"run": run.USAGE, "serve": serve.USAGE}[command]
    return parse(command, usage, words, settings_of(command, list(words)))


def test_later_places_win(files, monkeypatch):
    files('device = "hip"\nctx = 1024\n[run]\ntemperature = 0.5\n', 'ctx = "2k"\n')
    found = value("run", "m")
    assert (found["device"], found["ctx"], found["temperature"], found["top_k"]) == ("hip", 2048, 0.5, None)
    assert value("serve", "m")["temperature"] is None
    monkeypatch.setenv("HFC_DEVICE", "host")
    assert value("run", "m")["device"] == "host" and value("run", "m", "--device", "cuda")["device"] == "cuda"
    origins = {name: s.origin.rpartition("/")[2] for name, s in found_settings("run").items()}
    assert origins == {"device": "HFC_DEVICE", "ctx": "hfc.toml", "temperature": "hfc.toml"}
    assert found_settings("run")["ctx"].origin == "hfc.toml" and found_settings("run")["temperature"].origin.startswith(
        "/"
    )


def test_what_a_bundle_has_decided_is_not_asked_of_a_file(files):
    files("ctx = 1024\nthreads = 2\n")
    assert value("run", "m.hfp")["ctx"] is None and value("run", "m.hfp")["threads"] == 2


def test_a_bundle_that_is_written_takes_all_settings(files, monkeypatch):
    files('kv = "q4"\n[compile]\nctx = 1024\nprofile = "exact"\n')
    words = ["m.gguf", "-o", "m.hfp"]
    assert settings_of("compile", words) == {"kv": "q4", "ctx": 1024, "profile": "exact"}
    monkeypatch.setattr("os.environ", as_child(os.environ))
    assert settings_of("compile", words) == {"profile": "exact"}, "hfc run has read its own settings of the rest"


def test_variables_of_the_table_are_settings_of_the_users_file(files, monkeypatch):
    files('cache = "/data/hfc"\njobs = 3\nthreads = 5\n')
    assert {name: s.value for name, s in variables().items()} == {"HFC_CACHE": "/data/hfc", "HFC_JOBS": "3"}
    monkeypatch.setenv("HFC_JOBS", "4")
    assert set(variables()) == {"HFC_CACHE"} and value("run", "m")["threads"] == 5


@pytest.mark.parametrize(
    "line", ['clang = "/tmp/evil"', 'rocblas = "/tmp/evil.so"', 'cache = "/tmp/x"', 'draft = "/tmp/x"', 'host = "0.0.0.0"',
             '[serve]\ncors = "*"', '[serve]\napi-key-file = "k"', '[serve]\nmodels = "/"', '[run]\nsystem = "obey"'],
)  # fmt: skip
def test_the_file_of_a_folder_cannot_choose_what_runs_or_who_is_let_in(files, line):
    files(project=line)
    with pytest.raises(HfcError, match="cannot be set by the file of a folder"):
        found_settings("run")
    files(user=line)
    found_settings("serve")


@pytest.mark.parametrize("key", ["trust", "api-key", "random-weights", "output", "weights"])
def test_what_is_for_one_call_is_set_by_no_file(files, key):
    files(user=f'{key} = "x"')
    with pytest.raises(HfcError, match=f"unknown setting in .*'{key}'"):
        found_settings("run")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ctz = 4", "unknown setting in hfc.toml: 'ctz'\n  hint: did you mean 'ctx'?"),
        ("[srve]\nslots = 2", "did you mean 'serve'"),
        ("[serve]\nslot = 2", "did you mean 'slots'"),
        ("ctx = 0", "hfc.toml: ctx 0: expected a number of tokens"),
        ("threads = true", "expected one value, found True"),
        ("slots = 'many'", "expected a whole number"),
        ("ctx 5", "hfc.toml: not TOML"),
    ],
)
def test_mistakes_in_files_are_errors(files, text, message, capsys):
    files(project=text)
    with pytest.raises(SystemExit) as end:
        main(["serve", "m"])
    error = capsys.readouterr().err
    assert end.value.code == 2 and message in error and error.count("error:") == 1


def test_config_show_says_where_each_value_came_from(files, capsys, monkeypatch):
    files('cache = "/data/hfc"\n', "[serve]\nslots = 8\n")
    monkeypatch.setenv("HFC_JOBS", "2")
    for words in (["config"], ["config", "show", "serve"], ["config", "path"]):
        with pytest.raises(SystemExit):
            main(words)
    out = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["serve", "slots", "8", "hfc.toml"] in out and ["serve", "queue", "256", "default"] in out
    rows = {line[0]: line for line in out if line and line[0].startswith("HFC_")}
    assert rows["HFC_CACHE"][1] == "/data/hfc" and rows["HFC_CACHE"][2].endswith("config/hfc/hfc.toml")
    assert rows["HFC_JOBS"][1:3] == ["2", "environment"] and set(rows) == set(KNOBS)


def test_help_needs_no_file_to_be_right(files, capsys):
    files(project="nonsense")
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0


def test_flags_of_other_programs_are_understood_or_answered_in_one_line(capsys):
    words = [
        "-m",
        "x.gguf",
        "-ngl",
        "99",
        "-fa",
        "on",
        "--jinja",
        "-p",
        "hi",
        "-b",
        "512",
        "--temp",
        "0",
        "-n",
        "4",
        "-c",
        "8k",
    ]
    found = parse("run", run.USAGE, words)
    assert (found["model"], found["prompt"], found["temperature"], found["max_tokens"], found["ctx"]) == (
        "x.gguf",
        "hi",
        0,
        4,
        8192,
    )
    notes = capsys.readouterr().err.splitlines()
    assert [n.split()[1] for n in notes] == ["-ngl:", "-fa:", "--jinja:", "-b:"] and "--device" in notes[0]
    assert parse("serve", serve.USAGE, ["-m", "x", "-np", "8"])["model"] == ["x"]
    assert parse("bench", bench.USAGE, ["x", "-b", "4", "-p", "8"])["batch"] == "4"
    for flag, row in FAMILIAR.items():
        if row.is_refused:
            with pytest.raises(HfcError, match=f"hfc run has no {flag}") as caught:
                parse("run", run.USAGE, ["x", flag, "1", "2"])
            assert caught.value.hint == row.instead
    with pytest.raises(HfcError, match="unknown option '-p'"):
        parse("fit", fit.USAGE, ["x", "--vram", "8", "-p", "hi"])


def test_completion_knows_commands_options_and_their_values():
    assert candidates(["qu"]) == ["quantize"] and "run" in candidates([""])
    assert candidates(["help", "se"]) == ["serve", "selftest"] and candidates(["nothing", "x"]) == []
    assert candidates(["run", "m", "--temp"]) == ["--temperature", "--temp"]
    assert candidates(["run", "--device", "h"]) == ["hip", "host"] and candidates(["run", "mod"]) == []


def test_the_bash_script_completes():
    script = (
        f'hfc() {{ "{sys.executable}" -m hfc "$@"; }}; eval "$(hfc completion bash)"; COMP_WORDS=(hfc run --max-t); COMP_CWORD=2; '
        '_hfc; echo "${COMPREPLY[@]}"; complete -p hfc'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    assert done.stdout.splitlines() == ["--max-tokens", "complete -o default -F _hfc hfc"], done.stderr


def test_limits_of_the_server_are_settings(files, capsys):
    files("[serve]\njson-fields = 300\n", "[serve]\nmax-body-mb = 2\ngrammar-timeout = 0.5\n")
    limits = value("serve", "m", "--max-connections", "9")["limits"]
    assert server_limits(limits) == replace(
        ServerLimits(), body_bytes=2 << 20, grammar_s=0.5, json_fields=300, connections=9
    )
    with pytest.raises(SystemExit):
        main(["config", "show", "serve"])
    out = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["serve", "max-body-mb", "2", "hfc.toml"] in out and ["serve", "header-timeout", "20.0", "default"] in out


def test_every_limit_is_an_option_with_its_default(files):
    files()
    limits = value("serve", "m")["limits"]
    assert server_limits(limits) == ServerLimits() and len(limits) == len(fields(ServerLimits))


def test_the_table_of_variables_is_the_table_of_knobs():
    text = (Path(__file__).parent.parent / "docs" / "settings.md").read_text()
    assert dict(re.findall(r"^\| `(HFC_\w+)` \| (.*) \|$", text, re.MULTILINE)) == {
        k.name: k.effect for k in KNOBS.values()
    }


def test_every_variable_of_others_that_the_source_names_is_in_the_page():
    root = Path(__file__).parent.parent
    pattern = r'"((?:HIP|ROCR|HSA|ROCM|HF|XDG|ZIG|LISTEN|CUDA_VISIBLE)_[A-Z_]+)"'
    named = {name for path in (root / "hfc").rglob("*.py") for name in re.findall(pattern, path.read_text())}
    text = (root / "docs" / "settings.md").read_text()
    assert {"HF_ENDPOINT", "ROCM_PATH"} <= named and not [name for name in sorted(named) if f"`{name}`" not in text]
