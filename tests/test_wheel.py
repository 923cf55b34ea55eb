"""The wheel that `python -m build` makes: what is in it, that two builds are equal, and that it works where nothing else is."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from hfc import __version__
from hfc.base.cpu import instruction_sets
from hfc.target.cpus import CPUS

ROOT = Path(__file__).parent.parent
# Of a checkout: what a build, a test run or an editor leaves behind.
LEFT_BEHIND = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info", "tests", "docs", "findings")
DATA = ("*.hfm", "*.lark", "*.j2", "*.h", "*.c", "*.csv", "*.json", "*.toml", "*.html", "*.css", "*.js", "LICENSES.txt")
# A wheel is small: the compiler is a package of its own.
MOST_BYTES = 2_000_000
NO_ZIGLANG = """
import importlib.metadata, sys
version = importlib.metadata.version
def without_ziglang(name):
    if name == "ziglang":
        raise importlib.metadata.PackageNotFoundError(name)
    return version(name)
importlib.metadata.version = without_ziglang
class NoZiglang:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "ziglang":
            raise ModuleNotFoundError("No module named 'ziglang'", name=name)
sys.meta_path.insert(0, NoZiglang())
"""


def built(folder: Path) -> Path:
    shutil.copytree(ROOT, folder / "hfc", ignore=LEFT_BEHIND)
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "-o",
        str(folder / "dist"),
        str(folder / "hfc"),
    ]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return next((folder / "dist").iterdir())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return built(tmp_path_factory.mktemp("first"))


@pytest.fixture(scope="module")
def unpacked(wheel, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


@pytest.mark.skipif(not (ROOT / ".git").exists() or not shutil.which("git"), reason="not a checkout of git")
def test_the_sdist_is_the_whole_checkout(tmp_path):
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = {name for name in tracked.split("\0") if name and (ROOT / name).exists()}
    for name in names:
        (tmp_path / "hfc" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "hfc" / name)
    command = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "-o", str(tmp_path), str(tmp_path / "hfc")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    with tarfile.open(tmp_path / f"hfc-{__version__}.tar.gz") as archive:
        packed = {member.name.split("/", 1)[1] for member in archive.getmembers() if member.isfile()}
    assert not names - packed


def run(site: Path, *words: str, **variables: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(site), **variables}
    return subprocess.run(
        [sys.executable, "-m", "hfc", *words], capture_output=True, text=True, env=environment, cwd=site
    )


def test_every_source_and_data_file_is_in_the_wheel(wheel):
    wanted = {str(p.relative_to(ROOT)) for p in (ROOT / "hfc").rglob("*.py")}
    wanted |= {str(p.relative_to(ROOT)) for pattern in DATA for p in (ROOT / "hfc").rglob(pattern)}
    wanted |= {f"hfc/models/{p.name}" for p in (ROOT / "models").glob("*.hfm")}
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == wanted and len(wanted) > 500


def test_no_kind_of_data_file_is_forgotten():
    """A file of a new kind in the package needs a row in setup.py and here."""
    odd = [p for p in (ROOT / "hfc").rglob("*") if p.is_file() and "__pycache__" not in p.parts and p.suffix != ".py"]
    assert odd and not [p for p in odd if not any(p.match(pattern) for pattern in DATA)]


def test_the_metadata_says_what_it_is(wheel):
    archive = zipfile.ZipFile(wheel)
    metadata = message_from_bytes(archive.read(f"hfc-{__version__}.dist-info/METADATA"))
    assert metadata["Version"] == __version__ and metadata["Author"] and metadata["Requires-Python"] == ">=3.10"
    assert metadata["License-Expression"] == "MIT" and metadata["Description-Content-Type"] == "text/markdown"
    assert "Operating System :: POSIX :: Linux" in metadata.get_all("Classifier")
    assert wheel.stat().st_size < MOST_BYTES


def test_two_builds_are_equal(wheel, tmp_path):
    assert built(tmp_path).read_bytes() == wheel.read_bytes()


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("hfc/models", ("compile", "MODEL", "-o", "m.hfp")),
        ("hfc/frontend/hfm.lark", ("compile", "MODEL", "-o", "m.hfp")),
        ("hfc/backend/host/tape.c.j2", ("compile", "MODEL", "-o", "m.hfp", "--ctx", "96")),
        ("hfc/runtime/registry.toml", ("list", "--remote")),
    ],
)
def test_a_wheel_without_its_data_says_so(unpacked, part, words, tmp_path):
    whole, away = unpacked / part, tmp_path / "away"
    whole.rename(away)
    try:
        words = [str(ROOT / "tests/data/models/llama") if word == "MODEL" else word for word in words]
        done = run(unpacked, *words, HFC_CACHE=str(tmp_path / "cache"))
    finally:
        away.rename(whole)
    assert done.returncode == 2 and "installation of hfc is incomplete" in done.stderr, done.stderr
    assert Path(part).name in done.stderr and "--force-reinstall" in done.stderr and "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def without_compiler(unpacked, tmp_path_factory) -> Path:
    """The wheel on a machine where ziglang is not installed: an install from requirements-runtime.lock."""
    folder = tmp_path_factory.mktemp("runtime")
    (folder / "sitecustomize.py").write_text(NO_ZIGLANG)
    shutil.copytree(unpacked, folder, dirs_exist_ok=True)
    return folder


def portable_cpu() -> str:
    """The best row of CPUS that this machine has."""
    machine, *has = instruction_sets()
    return [name for name, cpu in CPUS.items() if cpu.machine == machine and set(cpu.instructions) <= set(has)][-1]


def test_the_wheel_alone_compiles_a_bundle_that_runs_without_a_compiler(unpacked, without_compiler, tmp_path):
    model, out = ROOT / "tests/data/models/llama", tmp_path / "m.hfp"
    done = run(unpacked, "compile", str(model), "--cpu", portable_cpu(), "--ctx", "64", "-o", str(out))
    assert done.returncode == 0 and (unpacked / "hfc/models").is_dir(), done.stderr
    cache = tmp_path / "cache"
    words = ("bench", str(out), "-p", "4", "-n", "4", "-r", "1", "--json")
    refused = run(without_compiler, *words, HFC_CACHE=str(cache))
    assert refused.returncode == 2 and "ziglang" in refused.stderr and "--trust" in refused.stderr, refused.stderr
    done = run(without_compiler, *words, "--trust", HFC_CACHE=str(cache))
    assert done.returncode == 0 and '"tg4"' in done.stdout and not (cache / "zig").exists(), done.stderr


def test_the_runtimes_lock_is_the_lock_without_the_compiler():
    packages = [
        {line.split("==")[0] for line in (ROOT / name).read_text().splitlines() if "==" in line and line[0].isalnum()}
        for name in ("requirements.lock", "requirements-runtime.lock")
    ]
    assert packages[0] - packages[1] == {"ziglang"} and packages[1] < packages[0]
