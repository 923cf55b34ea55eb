"""Files that appear whole or not at all, with the permissions that the user's umask gives."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hfc.base.diagnostics import HfcError


@contextmanager
def whole_file(path: Path, what: str, executable: bool = False) -> Iterator[Path]:
    """The path of a new, empty file beside `path`; it takes the name when the block ends without an error.

    Nobody can guess its name, and a link that lies there is not followed. A failed write says what became of `path`."""
    if path.is_dir():
        raise HfcError(f"{path}: cannot write {what}: this is a folder", hint="name a file in it")
    if path.exists() and not path.is_file():  # taking its name would put a file in place of /dev/null
        raise HfcError(f"{path}: cannot write {what}: this is a device or a pipe, no file", hint="name a file")
    temporary = path.with_name(f".{path.name[:200]}.{secrets.token_hex(8)}")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        os.close(os.open(temporary, flags, 0o777 if executable else 0o666))
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        kept = "what stood there before is unchanged" if path.exists() else "nothing is left behind"
        raise HfcError(
            f"{path}: cannot write {what}: {error.strerror or error}; {kept}",
            hint=_advice(error, path.parent),
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _advice(error: OSError, folder: Path) -> str:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return f"{folder} is no folder: make it, or write elsewhere"
    if isinstance(error, PermissionError):
        return f"get the right to write into {folder}, or write elsewhere"
    return f"free some space on the disk of {folder}, or write elsewhere"


def write_whole(path: Path, data: bytes, what: str, executable: bool = False) -> None:
    """Write all of `data` under `path`, or leave what is there. HfcError names the file."""
    with whole_file(path, what, executable) as temporary:
        temporary.write_bytes(data)


def keep_source(text: str, suffix: str) -> Path:
    """Put a source that does not compile where its user finds it: a new file of the folder for temporary files."""
    handle, name = tempfile.mkstemp(prefix="hfc-failed-", suffix=suffix)
    with os.fdopen(handle, "w") as file:
        file.write(text)
    return Path(name)
