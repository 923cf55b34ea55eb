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


@pytest.mark.long
def test_the_commands_of_the_readme_run_one_after_the_other(tmp_path, smollm2_gguf):
    np.save(tmp_path / "t.npy", np.arange(8))
    served = False
    for words in commands(ROOT / "README.md"):
        line = " ".join(words)
        if any(line.startswith(start) for start in NOT_RUN):
            continue
        words = [str(smollm2_gguf) if STAND_INS.get(word) else word for word in words]
        if words[0] == "run":
            words += [] if "--max-tokens" in words else ["--max-tokens", "8"]
        if words[0] == "serve":
            served, words = True, [*words, "--port", "0"] if not served else ["ps"]
        done = subprocess.run([sys.executable, "-m", "hfc", *words], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0 and done.stdout.strip() and "Traceback" not in done.stderr, (line, done.stderr)
    stop = subprocess.run([sys.executable, "-m", "hfc", "stop"], capture_output=True, text=True, cwd=tmp_path)
    assert served and "stopped" in stop.stdout
