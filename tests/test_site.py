"""The documentation as a site: strict, without a request to anybody, and with pages and pictures that are what the program says."""

import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from hfc.base.knobs import KNOBS
from hfc.cli.commands import COMMANDS, module_of

ROOT = Path(__file__).parent.parent
# Elements and properties of a page that fetch something.
FETCHED = re.compile(r"""(?:<(?:script|img|link|iframe)\b[^>]*?(?:src|href)=|url\()["']?(https?://[^"')\s>]+)""")


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / f"scripts/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_command_reference_has_what_the_program_reads():
    page = script("cli_reference").page()
    for name in COMMANDS:
        usage = importlib.import_module(f"hfc.cli.usage.{module_of(name)}").USAGE
        section = page.split(f"\n### hfc {name}\n")[1].split("\n##")[0]
        assert all(f"`{flag}`" in section for option in usage.options for flag in option.flags), name
        rows = [line for line in section.splitlines() if line.startswith("|")]
        assert len(rows) == (len(usage.parameters) + 2 if usage.parameters else 0)
        assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} <= {4}, "a | in a cell"
    assert all(f"| `{knob}` |" in page for knob in KNOBS)


def test_the_pictures_are_what_their_script_draws():
    pictures = script("learn_pictures").PICTURES
    stale = [name for name, draw in pictures.items() if (ROOT / "docs/learn" / name).read_text() != draw()]
    assert not stale, "scripts/learn_pictures.py"
    assert {p.name for p in (ROOT / "docs/learn").glob("*.svg")} == pictures.keys()


def test_the_pictures_say_what_the_emulator_counts():
    passes = script("learn_pictures").silicon.passes
    assert [passes(4 * stride, 4) for stride in (0, 1, 2, 32, 33)] == [1, 1, 2, 32, 1]
    assert passes(16, 16) == 1 and passes(128, 16) == 8


def test_links_of_pages_and_their_files_lead_somewhere():
    """In the repository, where pages are read too: a path that is there, and a heading that is there."""
    lost = []
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
        for target in re.findall(r"(?<!`)\]\(([^)\s]+)\)", text):
            path, _, anchor = target.partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            file = (page.parent / path).resolve() if path else page
            if not file.exists() or (anchor and anchor not in anchors(file)):
                lost.append(f"{page.relative_to(ROOT)}: {target}")
    assert not lost


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {
        re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", h).lower()).replace(" ", "-") for h in headings
    }


@pytest.mark.long
def test_the_site_builds_strictly_and_asks_nobody(tmp_path):
    pytest.importorskip("material", reason="pip install '.[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 20
    asked = {url for page in pages for url in FETCHED.findall(page.read_text())}
    asked |= {url for sheet in (tmp_path / "site").rglob("*.css") for url in FETCHED.findall(sheet.read_text())}
    assert not asked
