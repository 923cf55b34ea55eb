"""CONTRIBUTING.md, pre-commit and `scripts/check --quick` name files, programs and packages that are there."""

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads TOML")
ROOT = Path(__file__).parent.parent


def dev_packages() -> set[str]:
    rows = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["dev"]
    return {re.match(r"[\w-]+", row)[0] for row in rows}


def test_hooks_run_what_the_dev_extra_brings():
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [hook["id"] for hook in repo["hooks"]] == ["ruff-check", "ruff-format", "layers", "types"]
    for hook in repo["hooks"]:
        program, _, module, *words = hook["entry"].split()
        assert (program, hook["language"]) == ("python", "system") and module in dev_packages()
        assert importlib.util.find_spec(module)
        assert all((ROOT / word).is_file() for word in words if "/" in word)


def test_the_quick_check_is_of_tests_that_the_dev_extra_can_run():
    text = (ROOT / "scripts" / "check").read_text()
    names = re.findall(r"tests/\w+\.py", text.partition("quick=(")[2].partition(")")[0])
    assert len(names) == len(set(names)) > 10 and all((ROOT / name).is_file() for name in names)
    outside = {"openai", "anthropic", "schemathesis", "pexpect", "tinygrad"}  # of the test extra alone
    for name in names:
        assert not outside & set(re.findall(r"^\s*(?:import|from) (\w+)", (ROOT / name).read_text(), re.MULTILINE))


def test_the_guide_names_what_is_there():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (ROOT / target).exists(), target
    for word in re.findall(r"`(?:python )?((?:tests|scripts|hfc|docs)/[\w/.]+)", text):
        assert (ROOT / word).exists(), word
