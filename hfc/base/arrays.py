""".npy files of strangers: mapped, never unpickled, and refused with a message."""

from __future__ import annotations

from pathlib import Path
from tokenize import TokenError

import numpy as np

from hfc.base.diagnostics import HfcError


def read_array(path: Path) -> np.ndarray:
    """The array of an .npy file, as a read-only map of it. numpy evaluates the header as a Python literal, with Python's errors."""
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (
        OSError,
        ValueError,
        TypeError,
        ArithmeticError,
        SyntaxError,
        TokenError,
        RecursionError,
        MemoryError,
    ) as error:
        raise HfcError(f"{path}: not an .npy file that can be read: {str(error)[:200]}") from error
