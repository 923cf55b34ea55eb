"""What is compiled and how -> the bundle that came of it before: found by names, sizes and times of files, without opening one of them.

An entry of the index is a small file, named by a hash of everything that a compilation looks at; it holds the hash of a bundle, which the
cache keeps by its content. What is damaged, or not there any more, is no entry."""

from __future__ import annotations

import glob
import importlib.util
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from hfc.base.cache import cache_folder, find_kept, kept, key_of
from hfc.base.cpu import processor
from hfc.base.diagnostics import HfcError
from hfc.base.installed import CODE, PACKAGE
from hfc.base.knobs import knob, own_table
from hfc.base.whole_file import write_whole
from hfc.bundles import read_bundle
from hfc.cli import settings_of
from hfc.plan import Bundle

PART = re.compile(r"(.+)-\d{5}-of-(\d{5})\.gguf")
SUFFIX = ".hfp"


def index_key(source: Path, words: Sequence[str], beside: Iterable[str | Path]) -> str | None:
    """Of a compilation; None where it is to be done whatever was done before.

    words: what `hfc compile` is told.  beside: other checkpoints that it is told of."""
    if knob("HFC_DEBUG"):
        return None  # it tells what a compilation does
    places = [*checkpoint_places(source), *draft_places(source), *own_places(), *compiler_places()]
    for path in beside:
        places += checkpoint_places(Path(path))
    facts = ("compiled", sys.version, processor(), str(knob("HFC_CLANG")), os.path.abspath(source))
    own = (f"{name}={value}" for name, value in sorted(settings_of("compile", []).items()))  # what it is told by files
    return key_of(*facts, *words, "", *own, "", *map(state_of, places), *hfc_states(PACKAGE))


def find_compiled(key: str | None) -> Bundle | None:
    """The bundle of an entry that is there and whole."""
    try:
        content = find_kept(_entry(key).read_text(), SUFFIX) if key else None
        return read_bundle(content, "cached bundle") if content else None
    except (OSError, UnicodeDecodeError, HfcError):
        return None


def keep_compiled(key: str | None, data: bytes) -> None:
    """A disk that is full, or a cache that cannot be written, leaves a start that takes longer."""
    if key is None:
        return
    try:
        content, entry = kept(data, SUFFIX), _entry(key)
        entry.parent.mkdir(parents=True, exist_ok=True)
        write_whole(entry, content.stem.encode(), "the index entry")
    except (HfcError, OSError):
        return


def state_of(path: Path) -> str:
    """What tells a file from itself at another time; of a folder, its files."""
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            names = sorted(entry.path for entry in os.scandir(path) if entry.is_file())
            return "\n".join([str(path), *(state_of(Path(name)) for name in names)])
    except OSError as error:
        return f"{path}: {error.errno}"  # not there, or not to be read
    return _stated(path, found)


def _stated(path: str | Path, found: os.stat_result) -> str:
    return f"{path} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"


def checkpoint_places(path: Path) -> list[Path]:
    """Files, and folders, that say what is compiled. Of a GGUF in parts all parts; what lies beside other files may be their config."""
    part = PART.fullmatch(path.name)
    if part:
        return [
            Path(name) for name in sorted(glob.glob(f"{glob.escape(str(path.parent / part[1]))}-*-of-{part[2]}.gguf"))
        ]
    return [path] if path.suffix == ".gguf" or path.is_dir() else [path, path.parent]


def draft_places(source: Path) -> list[Path]:
    """Where the draft of a model may lie that nobody has named: those of `discover_draft`."""
    folder = source if source.is_dir() else source.parent
    return [folder / "draft", folder / "draft.gguf", *sorted(folder.parent.glob(f"{glob.escape(folder.name)}-DFlash*"))]


def own_places() -> list[Path]:
    """Model files and tables beside the checkpoint: a checkout's, and the user's."""
    own = [own_table(), knob("HFC_MODEL_FILE"), knob("HFC_MODELS")]
    return [PACKAGE.parent / "models", *(path for path in own if path)]


def compiler_places() -> list[Path]:
    """Where another version of a compiler takes the place of this one: the package, without importing it, and what HFC_CLANG names."""
    package, named = None, knob("HFC_CLANG")
    with suppress(ModuleNotFoundError):  # from who hides the package; where it is missing there is no error
        package = importlib.util.find_spec("ziglang")
    places = [Path(package.origin).parent] if package and package.origin else []
    return [*places, Path(shutil.which(named) or named)] if named else places


def hfc_states(folder: str | Path) -> Iterator[str]:
    """Of hfc's own files, which `package_digest` would read."""
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        if entry.is_dir(follow_symlinks=False):
            yield from hfc_states(entry.path)
        elif entry.name.endswith((*CODE, ".hfm")):
            yield _stated(entry.path, entry.stat())


def _entry(key: str) -> Path:
    return cache_folder() / "compiled" / key[:2] / key
