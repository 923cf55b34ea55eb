"""scripts/release.py: what it refuses, and a whole dry run in a repository of its own."""

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from hfc import __version__

ROOT = Path(__file__).parent.parent
spec = importlib.util.spec_from_file_location("release", ROOT / "scripts/release.py")
release = importlib.util.module_from_spec(spec)
spec.loader.exec_module(release)


def test_the_notes_are_the_versions_section():
    text = "# Changes\n\n## 1.2.0\n\n- New.\n\n## 1.1.0\n\n- Old.\n"
    assert release.changelog_section(text, "1.2.0") == "hfc 1.2.0\n\n- New.\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# Changes\n\n## Next\n\n- New.\n\n## 1.1.0\n\n- Old.\n", "rename its section `Next`"),
        ("# Changes\n\n## 1.1.0\n\n- Old.\n", "write what is new"),
        ("# Changes\n\n## Next\n\n- Newer.\n\n## 1.2.0\n\n- New.\n", "has a section Next above 1.2.0"),
    ],
)
def test_a_changelog_without_the_version_is_refused(text, message):
    with pytest.raises(SystemExit, match=message):
        release.changelog_section(text, "1.2.0")


def test_the_version_stands_in_one_place():
    assert release.version_of((ROOT / "hfc/__init__.py").read_text()) == __version__
    text = (ROOT / "pyproject.toml").read_text()
    assert 'version = { attr = "hfc.__version__" }' in text and f'"{__version__}"' not in text


def test_an_sdist_does_not_tell_who_packed_it_when(tmp_path):
    made = []
    for second, name in enumerate(("first", "second")):
        source = tmp_path / name / "hfc"
        (source / "scripts").mkdir(parents=True)
        (source / "scripts/demo").write_text("demo")
        (source / "scripts/demo").chmod(0o755 if second else 0o700)
        (source / "README.md").write_text("hfc")
        os.utime(source / "README.md", (second, second))
        path = tmp_path / name / "hfc.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for part in sorted(source.rglob("*"), reverse=bool(second)):
                archive.add(part, part.relative_to(source.parent), recursive=False)
        release.settle(path, 1_700_000_000)
        made.append(path)
    assert made[0].read_bytes() == made[1].read_bytes()
    with tarfile.open(made[1]) as archive:
        assert [(m.name, m.mode, m.mtime) for m in archive.getmembers()] == [
            ("hfc/README.md", 0o644, 1_700_000_000),
            ("hfc/scripts", 0o755, 1_700_000_000),
            ("hfc/scripts/demo", 0o755, 1_700_000_000),
        ]


@pytest.mark.long
def test_a_dry_run_makes_every_file_and_no_tag(tmp_path):
    for package in ("build", "twine", "cyclonedx_py"):
        pytest.importorskip(package, reason="pip install '.[release]'")
    checkout = tmp_path / "hfc"
    shutil.copytree(
        ROOT, checkout, ignore=shutil.ignore_patterns(".git", "__pycache__", "build", "dist", "*.egg-info", ".*_cache")
    )
    changes = checkout / "CHANGELOG.md"
    changes.write_text(changes.read_text().replace("\n## Next\n", "\n## 99.0.0\n", 1))
    init = checkout / "hfc/__init__.py"
    init.write_text(init.read_text().replace(__version__, "99.0.0"))
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        subprocess.run([*git, *words], cwd=checkout, check=True)
    out = tmp_path / "out"
    command = [sys.executable, str(checkout / "scripts/release.py"), "--skip-tests", "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "dry run, no tag" in done.stdout, done.stdout + done.stderr
    sums = dict(reversed(line.split("  ")) for line in (out / "SHA256SUMS").read_text().splitlines())
    wanted = {"hfc-99.0.0-py3-none-any.whl", "hfc-99.0.0.tar.gz", "hfc-99.0.0.cdx.json", "NOTES.md", *release.LOCKS}
    assert sums.keys() == wanted
    assert all(hashlib.sha256((out / name).read_bytes()).hexdigest() == digest for name, digest in sums.items())
    sbom = json.loads((out / "hfc-99.0.0.cdx.json").read_text())
    assert sbom["metadata"]["component"]["name"] == "hfc"
    assert {"numpy", "ziglang", "tokenizers"} <= {part["name"] for part in sbom["components"]}
    assert not subprocess.run(["git", "tag"], cwd=checkout, capture_output=True, text=True).stdout
    (checkout / "README.md").write_text("changed")
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode and "not committed" in again.stderr
