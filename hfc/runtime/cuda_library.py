"""Whether NVIDIA's driver is on this machine, without a package of NVIDIA's."""

from __future__ import annotations

import ctypes
import sys

NO_DRIVER = "no NVIDIA driver"


def has_cuda_library() -> bool:
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True
