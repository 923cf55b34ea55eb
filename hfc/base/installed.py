"""An error of the system -> the file of hfc itself that is missing: a wheel that was built or copied without its data."""

from __future__ import annotations

import errno
from pathlib import Path

from hfc.base.diagnostics import HfcError

PACKAGE = Path(__file__).parent.parent


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
