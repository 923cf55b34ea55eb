"""hfc as it is installed: a hash of it, and what to say where a file of it is missing (a wheel that was built or copied without its data)."""

from __future__ import annotations

import errno
import hashlib
from functools import cache
from pathlib import Path

from hfc.base.diagnostics import HfcError

PACKAGE = Path(__file__).parent.parent
CODE = (".py", ".j2", ".h", ".lark", ".c", ".csv")  # what decides how a model is compiled, but for the model files


def missing_part(error: OSError) -> HfcError | None:
    """What to say where the error is about a file of this package; None where it is about one of the user's."""
    if isinstance(error, LookupError):  # a template's loader: its error is both
        return incomplete(str(error))
    is_ours = isinstance(error.filename, str) and Path(error.filename).is_relative_to(PACKAGE)
    return incomplete(error.filename) if is_ours and error.errno == errno.ENOENT else None


def incomplete(what: str | Path) -> HfcError:
    return HfcError(
        f"this installation of hfc is incomplete: {what} is missing",
        hint="install it again: pip install --force-reinstall --no-deps hfc",
    )


@cache
def package_digest() -> str:
    """A hash of hfc itself: what another version has made is made again."""
    digest = hashlib.sha256()
    for path in sorted(p for p in PACKAGE.rglob("*") if p.suffix in CODE):
        digest.update(str(path.relative_to(PACKAGE)).encode() + path.read_bytes())
    return digest.hexdigest()
