"""No dependency may be a release with a published flaw, and the lock file of a release keeps to pyproject.toml."""

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads TOML")

PROJECT = Path(__file__).parent.parent / "pyproject.toml"
LOCK = PROJECT.with_name("requirements.lock")
LOCKED_EXTRAS = ("cuda",)  # of scripts/lock

# package -> the first release without the flaw, the flaw
WITHOUT_FLAWS = {
    "jinja2": ("3.1.6", "CVE-2025-27516: |attr reaches past the sandbox that renders chat templates"),
    "sentencepiece": ("0.2.1", "CVE-2026-1260: a vocabulary file writes beyond its memory"),
    "idna": ("3.7", "CVE-2024-3651: a long name takes quadratic time"),
    "pyyaml": ("5.4", "CVE-2020-14343: loading runs code"),
    "requests": ("2.32.4", "CVE-2024-47081: .netrc credentials go to another host"),
    "tqdm": ("4.66.3", "CVE-2024-34062: arguments of the command line are evaluated"),
    "urllib3": ("2.6.3", "CVE-2026-21441: a redirect's body is inflated without limit"),
    "h11": ("0.16", "CVE-2025-43859: chunked bodies are parsed leniently, requests can be smuggled"),
    "starlette": ("0.49.1", "CVE-2025-62727: a Range header takes quadratic time"),
    "pydantic": ("2.4", "CVE-2024-3772: an e-mail address takes quadratic time"),
}


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))


def _minima() -> dict[str, str]:
    """Package -> the lowest version that pyproject.toml admits."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    rows = [*project["dependencies"], *(r for rows in project["optional-dependencies"].values() for r in rows)]
    found = (re.match(r"([\w.-]+)(?:\[.*\])?\s*[>=]=\s*([\d.]+)", row) for row in rows)
    return {match[1].lower(): match[2] for match in found if match}


@pytest.mark.parametrize("package", WITHOUT_FLAWS)
def test_the_lowest_version_admitted_has_no_published_flaw(package):
    fixed, flaw = WITHOUT_FLAWS[package]
    lowest = _minima().get(package)
    assert lowest, f"{package} has no lower bound in pyproject.toml, {fixed} is the first without {flaw}"
    assert _numbers(lowest) >= _numbers(fixed), f"{package}>={lowest} admits {flaw}; {fixed} does not"


def _locked() -> dict[str, list[tuple[Version, int]]]:
    """Package -> its versions (one for each range of Pythons) with how many hashes each has."""
    found: dict[str, list[tuple[Version, int]]] = {}
    for entry in re.split(r"\n(?=[a-z0-9])", LOCK.read_text()):
        match = re.match(r"([a-z0-9._-]+)==([^\s;\\]+)", entry)
        if match:
            found.setdefault(match[1], []).append((Version(match[2]), entry.count("--hash=sha256:")))
    return found


def test_the_lock_file_holds_what_pyproject_asks_for():
    """Where it does not: scripts/lock writes it again."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *(row for name in LOCKED_EXTRAS for row in extras[name])]
    locked = _locked()
    for requirement in map(Requirement, asked):
        versions = [version for version, _ in locked.get(requirement.name.lower(), ())]
        assert versions, f"requirements.lock lacks {requirement.name}: run scripts/lock"
        assert all(v in requirement.specifier for v in versions), (
            f"{requirement}: locked is {versions}, run scripts/lock"
        )


def test_every_locked_version_has_hashes_and_no_published_flaw():
    locked = _locked()
    assert len(locked) > 30 and all(count for rows in locked.values() for _, count in rows)
    for package, (fixed, flaw) in WITHOUT_FLAWS.items():
        for version, _ in locked.get(package, ()):
            assert version >= Version(fixed), f"{package} {version} has {flaw}"
