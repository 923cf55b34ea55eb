"""Every command in README and docs: it parses, and those of the README run."""

import importlib
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from letters import TEMPLATE, letters_folder
from test_cli import hfc  # noqa: F401  (fixture)

from hfc.base.diagnostics import HfcError
from hfc.cli.commands import COMMANDS
from hfc.cli.usage.parse import HelpWanted, parse

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# What the README's commands need beside the registry's model; MODEL is that model's file.
STAND_INS = {"model.gguf": "MODEL"}
NOT_RUN = {
    "compile olmo2.hfm": "its checkpoint is not here; tests/test_models_fixtures.py compiles the same model from a small one",
    "run olmo2.hfp": "made by the command before",
    "matrix": "minutes; tests/test_matrix.py runs it",
    "run mixture.gguf": "a mixture is not here; tests/test_hosted_experts.py runs a small one",
    "chat": "needs a terminal; tests/test_talk.py gives it one",
    "bench smollm2.hfp --draft": "minutes; tests/speculate/test_drafted_bench.py runs it",
}


def commands(page: Path) -> list[list[str]]:
    """The words of each line of a block that starts with hfc, without its comment."""
    found, text = [], page.read_text()
    fenced = "\n".join(textwrap.dedent(block) for block in re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S))
    indented = "\n".join(re.findall(r"^    (\S.*)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M))
    for line in (fenced + "\n" + indented).splitlines():
        line = re.sub(r"^(\$ )?(?:[A-Z_]+=\S+ )*", "", line)
        if re.match(r"hfc [a-z-]", line):
            found.append(shlex.split(line, comments=True)[1:])
    return found


ALL = [(page, words) for page in PAGES for words in commands(page)]


def test_the_pages_have_commands():
    assert len(ALL) > 25 and {page.name for page, _ in ALL} >= {"README.md", "serve.md", "settings.md"}


@pytest.mark.parametrize(("page", "words"), ALL, ids=lambda v: v.name if isinstance(v, Path) else " ".join(v)[:50])
def test_every_command_of_the_pages_parses(page, words, capsys):
    name, *rest = words
    if name.startswith("-") or name == "help":
        return
    assert name in COMMANDS, f"{page}: hfc {' '.join(words)}"
    usage = importlib.import_module(f"hfc.cli.usage.{name.replace('-', '_')}").USAGE
    try:
        parse(name, usage, rest)
    except HelpWanted:
        pass
    except HfcError as error:
        pytest.fail(f"{page}: hfc {' '.join(words)}: {error}")


# Words of the README's commands -> what a small model on the host takes in their place.
SMALL = {
    "smollm2:135m": "{model}",
    "model.gguf": "{model}",
    "host,gfx1100": "host",
    "gfx1100": "host",
    "128,512": "8,16",
}
# command -> where it runs; everything else of the README runs here
ELSEWHERE = {
    "chat": "tests/test_talk.py", "pull": "tests/test_hub.py and test_registry.py", "serve": "tests/serve/test_serve_cli.py", "predict": "tests/isa/test_isa_predict.py",
    "matrix": "tests/test_matrix.py", "bench smollm2.hfp --draft": "tests/speculate/test_drafted_bench.py",
    "compile olmo2.hfm": "tests/test_models_fixtures.py", "run olmo2.hfp": "tests/test_models_fixtures.py",
    "explain smollm2.hfp --arch gfx1100 --kernel": "tests/test_explain_why.py", "doctor": "tests/test_doctor.py",
    "run mixture.gguf": "tests/test_hosted_experts.py",
}  # fmt: skip


def test_the_commands_of_the_readme_run_on_a_small_model(hfc, tmp_path, monkeypatch):  # noqa: F811
    model = letters_folder(tmp_path / "letters", TEMPLATE)
    monkeypatch.chdir(tmp_path)
    np.save("t.npy", np.arange(8))
    ran = []
    for words in commands(ROOT / "README.md"):
        line = " ".join(words)
        if any(line.startswith(start) for start in ELSEWHERE):
            continue
        words = [SMALL.get(word, word).format(model=model) for word in words]
        words += ["--max-tokens", "8"] if words[0] == "run" and "--max-tokens" not in words else []
        code, out, err = hfc(*words)
        assert code == 0 and out.strip(), (line, out, err)
        ran.append(line)
    assert {line.split()[0] for line in ran} >= {
        "run",
        "list",
        "compile",
        "explain",
        "bench",
        "logits",
        "opt",
        "config",
        "devices",
    }


# Words of the other pages' commands -> what the small model takes in their place.
SMALL_PAGES = {
    "qwen3.5-9b": "{model}", "smollm2:135m": "{model}", "qwen3.5:27b": "{model}", "model.gguf": "{model}", "Qwen3.5-9B.config.json": "{model}",
    "models/llama.hfm": "{root}/models/llama.hfm", "mq4g256": "q8_0", "128,512": "8,16", "8192": "64", "512": "8", "128": "8", "64": "4",
    "gfx1100:0-39,gfx1030:40-63": "gfx1100:0-0,gfx1030:1-1", "24G,16G": "1G,1G", "model.hfp": "{gpu}",
}  # fmt: skip
# start of a command of another page -> what runs its like
PAGES_ELSEWHERE = {
    "lsp": "tests/test_editor.py",
    "tune": "tests/test_tune.py", "serve": "tests/serve/test_serve_cli.py", "ps": "tests/serve/test_serve_cli.py",
    "stop": "tests/serve/test_serve_cli.py", "eval tiny.hfp": "tests/test_eval.py", "run m.hfp --devices": "tests/test_stages_device.py",
    "run qwen3.5:27b --devices": "tests/test_stages_device.py", "run mixture.gguf": "tests/test_hosted_experts.py",
    "fit mixture.gguf": "tests/test_hosted_experts.py", "compile mixture.gguf": "tests/test_hosted_experts.py",
}  # fmt: skip


def test_what_runs_the_commands_of_the_pages_is_there():
    for file in {
        part for table in (ELSEWHERE, PAGES_ELSEWHERE) for cell in table.values() for part in cell.split(" and ")
    }:
        assert (ROOT / file).exists() or (ROOT / "tests" / file).exists(), file
    lines = {" ".join(words) for page, words in ALL if page.name != "README.md"}
    assert all(any(line.startswith(start) for line in lines) for start in PAGES_ELSEWHERE), "a row that nothing needs"


@pytest.mark.long
def test_the_commands_of_the_other_pages_run_on_a_small_model(hfc, tmp_path, monkeypatch):  # noqa: F811
    model = letters_folder(tmp_path / "letters", TEMPLATE)
    monkeypatch.chdir(tmp_path)
    assert hfc("compile", model, "--arch", "gfx1100,gfx1201", "-o", "gpu.hfp", "--ctx", "64")[0] == 0
    places = {"model": model, "root": ROOT, "gpu": "gpu.hfp"}
    ran = set()
    for page, words in ALL:
        line = " ".join(words)
        if page.name == "README.md" or any(line.startswith(start) for start in PAGES_ELSEWHERE):
            continue
        if "--format" in words:  # a checkpoint has formats of its own
            at = words.index("--format")
            words = words[:at] + words[at + 2 :]
        words = [SMALL_PAGES.get(word, word).format(**places) for word in words]
        words += ["--max-tokens", "4"] if words[0] == "run" else []
        code, out, err = hfc(*words)
        fine = (0, 1) if words[0] == "doctor" else (0,)  # the doctor's verdict on this machine is its own
        assert code in fine and "Traceback" not in err and (out + err).strip(), (page.name, line, out, err)
        ran.add(f"{page.stem} {words[0]}")
    assert len(ran) >= 14, ran


@pytest.mark.long
def test_the_commands_of_the_readme_run_one_after_the_other(tmp_path, smollm2_gguf):
    np.save(tmp_path / "t.npy", np.arange(8))
    port = ""
    for words in commands(ROOT / "README.md"):
        line = " ".join(words)
        if any(line.startswith(start) for start in NOT_RUN):
            continue
        words = [str(smollm2_gguf) if STAND_INS.get(word) else word for word in words]
        if words[0] == "run":
            words += [] if "--max-tokens" in words else ["--max-tokens", "8"]
        if words[0] == "serve":
            words = ["ps"] if port else [*words, "--port", "0"]
        done = subprocess.run([sys.executable, "-m", "hfc", *words], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0 and done.stdout.strip() and "Traceback" not in done.stderr, (line, done.stderr)
        if words[0] == "serve":
            port = re.search(r":(\d+)", done.stdout)[1]
    stop = subprocess.run([sys.executable, "-m", "hfc", "stop", port], capture_output=True, text=True, cwd=tmp_path)
    assert "stopped" in stop.stdout


def test_every_row_of_what_clients_send_names_tests_that_are_there():
    part = (ROOT / "docs" / "clients.md").read_text().partition("## What clients send")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+) \| (.+) \|$", part, re.M)[1:]
    assert len(rows) == 19
    for row, cell in rows:
        named = re.findall(r"`(test_\w+)::(test_\w+)`", cell)
        assert named, row
        for file, name in named:
            assert re.search(rf"^def {name}\(", (ROOT / "tests" / "serve" / f"{file}.py").read_text(), re.M), (
                f"{row}: {name}"
            )


def test_every_row_of_the_table_of_files_names_a_test_that_is_there():
    rows = re.findall(r"^\| (.+?) \| (.+) \|$", (ROOT / "docs" / "files.md").read_text(), re.M)[1:]
    named = [(row, file, name) for row, cell in rows for file, name in re.findall(r"`(test_\w+)::(test_\w+)`", cell)]
    assert len(rows) == 19 and {row for row, _ in rows} == {row for row, *_ in named}
    for row, file, name in named:
        assert re.search(rf"^def {name}\(", (ROOT / "tests" / f"{file}.py").read_text(), re.M), f"{row}: {file}::{name}"
