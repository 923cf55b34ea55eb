"""What `pip install hfc` gives without extras: every command, and nothing that is not used."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hfc.cli.commands import COMMANDS

ROOT = Path(__file__).parent.parent
# Packages of extras and of tests, by the names that they are imported by.
EXTRAS = (
    "cuda",
    "tinygrad",
    "safetensors",
    "ml_dtypes",
    "openai",
    "anthropic",
    "schemathesis",
    "torch",
    "transformers",
)
IMPORTED_AS = {
    "huggingface-hub": "huggingface_hub", "prometheus-client": "prometheus_client", "rocm-bindings-hip": "rocm",
    "tomli": "tomli", "prompt-toolkit": "prompt_toolkit", "pillow": "PIL",
}  # fmt: skip
# Named only so that no release with a flaw comes with the others.
BOUNDS = {"starlette", "h11", "pydantic", "idna", "pyyaml", "requests", "tqdm", "urllib3"}
BLOCKED = f"""
import importlib, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {EXTRAS!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
from hfc.cli import main
from hfc.cli.commands import COMMANDS
for name in COMMANDS:
    try:
        main([name, "--help"])
    except SystemExit as end:
        assert not end.code, name
    importlib.import_module("hfc.cli." + name.replace("-", "_"))
print("done")
"""


def dependencies() -> list[str]:
    """Names of the core dependencies, as pyproject.toml has them."""
    text = (ROOT / "pyproject.toml").read_text()
    block = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)[1]
    return re.findall(r'^  "([\w.-]+)', block, re.MULTILINE)


def test_no_command_needs_an_extra():
    done = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.endswith("done\n"), done.stderr[-2000:]


def test_every_dependency_is_imported():
    imported = {"ziglang"}  # run as a program
    for path in (ROOT / "hfc").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.split(".")[0])
    unused = [d for d in dependencies() if d not in BOUNDS and IMPORTED_AS.get(d, d) not in imported]
    assert dependencies() and not unused, "move them to the extra that needs them"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> dict[str, str]:
    """The environment of a newcomer: a venv with `pip install .` of a copy of the tree, an empty home."""
    folder = tmp_path_factory.mktemp("newcomer")
    shutil.copytree(
        ROOT, folder / "hfc", ignore=shutil.ignore_patterns(".venv", ".git", "__pycache__", "build", "*.egg-info")
    )
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    subprocess.run([folder / "venv/bin/python", "-m", "pip", "install", "-qq", "."], check=True, cwd=folder / "hfc")
    (folder / "home").mkdir()
    return {"PATH": f"{folder}/venv/bin:/usr/bin:/bin", "HOME": str(folder / "home"), "PWD": str(folder / "home")}


@pytest.mark.long
@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_every_commands_help_after_pip_install(fresh, name):
    done = subprocess.run(
        ["hfc", *filter(None, [name]), "--help"], capture_output=True, text=True, env=fresh, cwd=fresh["HOME"]
    )
    assert done.returncode == 0 and done.stdout.startswith("Usage: hfc") and not done.stderr


@pytest.mark.long
def test_the_first_minutes_after_pip_install(fresh):
    for words in (["hfc", "doctor"], ["hfc", "devices"], ["hfc", "run", "smollm2:135m", "What is gravity?", "-n", "8"]):
        done = subprocess.run(words, capture_output=True, text=True, env=fresh, cwd=fresh["HOME"])
        assert done.returncode == 0 and done.stdout.strip() and "Traceback" not in done.stderr, (words, done.stderr)
