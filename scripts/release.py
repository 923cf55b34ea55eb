#!/usr/bin/env python3
"""A clean checkout -> what a release is: wheel, sdist, SBOM, notes, checksums; with --tag also the tag. Nothing is uploaded.

pip install '.[release]'
scripts/release.py -o dist                # tests, two builds that must be equal, and all files; no tag
scripts/release.py -o dist --tag          # the same, then `git tag -a vVERSION` with the notes
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("requirements.lock", "requirements-runtime.lock")


def main() -> None:
    asked = arguments()
    version = version_of((ROOT / "hfc/__init__.py").read_text())
    notes = changelog_section((ROOT / "CHANGELOG.md").read_text(), version)
    if git("status", "--porcelain"):
        sys.exit("error: the checkout has changes that are not committed; a release is a commit\n  hint: git status")
    if git("tag", "--list", f"v{version}"):
        sys.exit(f"error: the tag v{version} exists\n  hint: raise __version__ in hfc/__init__.py")
    if not asked.skip_tests:
        run([str(ROOT / "scripts/check")])
    asked.output.mkdir(parents=True, exist_ok=True)
    if any(asked.output.iterdir()):
        sys.exit(f"error: {asked.output} is not empty\n  hint: give another folder with -o")
    build(asked.output)
    run([sys.executable, "-m", "twine", "check", "--strict", *map(str, sorted(asked.output.iterdir()))])
    make_sbom(asked.output / f"hfc-{version}.cdx.json")
    for name in LOCKS:
        shutil.copy(ROOT / name, asked.output)
    (asked.output / "NOTES.md").write_text(notes)
    (asked.output / "SHA256SUMS").write_text(checksums(asked.output))
    print((asked.output / "SHA256SUMS").read_text(), end="")
    if asked.tag:
        git("tag", "-a", f"v{version}", "-F", str(asked.output / "NOTES.md"), "--cleanup=verbatim")
    print(
        f"v{version}: "
        + ("tagged; git push origin " + f"v{version}" if asked.tag else "dry run, no tag: --tag makes it")
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "dist", help="an empty folder [default: dist]")
    parser.add_argument("--tag", action="store_true", help="make the tag")
    parser.add_argument("--skip-tests", action="store_true", help="where .ci/run has just passed on this commit")
    return parser.parse_args()


def version_of(text: str) -> str:
    return re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)[1]


def changelog_section(text: str, version: str) -> str:
    """What the changelog says of a version. SystemExit where it says nothing."""
    sections = {s.split("\n", 1)[0].strip(): s.partition("\n")[2].strip() for s in text.split("\n## ")[1:]}
    if not sections.get(version):
        hint = "rename its section `Next`" if sections.get("Next") else "write what is new"
        sys.exit(f"error: CHANGELOG.md has no section {version}\n  hint: {hint}")
    if sections.get("Next"):
        sys.exit(
            f"error: CHANGELOG.md has a section Next above {version}\n  hint: it belongs to {version}, or to another release"
        )
    return f"hfc {version}\n\n{sections[version]}\n"


def build(output: Path) -> None:
    """Wheel and sdist of HEAD, built twice in different folders: both must be the same to the byte."""
    epoch = git("log", "-1", "--format=%ct")
    with tempfile.TemporaryDirectory() as folder:
        first, second = (built(Path(folder) / name, epoch) for name in "ab")
        for path in first.iterdir():
            if path.read_bytes() != (second / path.name).read_bytes():
                sys.exit(
                    f"error: two builds of {path.name} differ\n  hint: what in setup.py depends on the folder or the time?"
                )
            shutil.copy(path, output)


def built(folder: Path, epoch: str) -> Path:
    source, out = folder / "source", folder / "dist"
    source.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(source)], input=archive, check=True)
    command = [sys.executable, "-m", "build", "--no-isolation", "--sdist", "--wheel", "-o", str(out), str(source)]
    run(command, {**os.environ, "SOURCE_DATE_EPOCH": epoch}, quiet=True)
    for sdist in out.glob("*.tar.gz"):
        settle(sdist, int(epoch))
    return out


def settle(sdist: Path, epoch: int) -> None:
    """Rewrite an archive without what depends on who built it when: setuptools takes SOURCE_DATE_EPOCH for wheels alone."""
    plain = io.BytesIO()
    with tarfile.open(sdist) as old, tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as new:
        for member in sorted(old.getmembers(), key=lambda m: m.name):
            held = old.extractfile(member) if member.isfile() else None
            member.mtime, member.uid, member.gid, member.uname, member.gname = epoch, 0, 0, "", ""
            member.mode, member.pax_headers = 0o755 if member.isdir() or member.mode & 0o100 else 0o644, {}
            new.addfile(member, held)
    sdist.write_bytes(gzip.compress(plain.getvalue(), mtime=epoch))


def make_sbom(path: Path) -> None:
    """CycloneDX of what the lock file installs."""
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", "--pyproject", str(ROOT / "pyproject.toml")]
    run([*command, "--output-reproducible", "-o", str(path), str(ROOT / "requirements.lock")], quiet=True)


def checksums(folder: Path) -> str:
    files = sorted(p for p in folder.iterdir() if p.name != "SHA256SUMS")
    return "".join(f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in files)


def git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def run(command: list[str], environment: dict[str, str] | None = None, quiet: bool = False) -> None:
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=quiet, text=True)
    if done.returncode:
        sys.exit((done.stdout or "") + (done.stderr or "") + f"error: {' '.join(command[:4])} ... failed")


if __name__ == "__main__":
    main()
