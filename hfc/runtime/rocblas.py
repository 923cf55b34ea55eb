"""rocBLAS, loaded only when a plan asks for it. Without it the plan's own kernels serve, which is said once."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from pathlib import Path

from hfc.base.knobs import knob

LIBRARIES = ("librocblas.so.5", "librocblas.so.4", "librocblas.so")
OFF = Path("off")
NO_ATOMICS = 0  # rocblas_atomics_not_allowed: sums in the same order in every run


class Rocblas:
    """A handle on `stream`. multiply: address of rocblas_gemm_ex, which the launch tape calls with `handle`."""

    def __init__(self, library: ctypes.CDLL, stream: int):
        self._library = library
        self.multiply = ctypes.cast(library.rocblas_gemm_ex, ctypes.c_void_p).value
        handle = ctypes.c_void_p()
        self.status = library.rocblas_create_handle(ctypes.byref(handle))
        self.handle = handle.value
        if not self.status:
            self.status = library.rocblas_set_stream(
                handle, ctypes.c_void_p(stream)
            ) or library.rocblas_set_atomics_mode(handle, NO_ATOMICS)

    def close(self) -> None:
        if self.handle:
            self._library.rocblas_destroy_handle(ctypes.c_void_p(self.handle))
            self.handle = None


def open_rocblas(stream: int) -> Rocblas | None:
    """rocBLAS on the current device, or None where it is not installed, not wanted (HFC_ROCBLAS=off) or refuses the card."""
    wanted = knob("HFC_ROCBLAS")
    if wanted == OFF:
        return None
    names = (str(wanted),) if wanted else LIBRARIES
    library, why = _load(names)
    if library is None:
        _say(f"rocBLAS is not used ({why}); prefill runs hfc's own kernels")
        return None
    made = Rocblas(library, stream)
    if made.status:
        _say(f"rocBLAS is not used (it failed with status {made.status}); prefill runs hfc's own kernels")
        made.close()
        return None
    return made


def _load(names: tuple[str, ...]) -> tuple[ctypes.CDLL | None, str]:
    """The first of the libraries that loads and has what is called; else why the last did not."""
    why = ""
    for name in names:
        try:
            library = ctypes.CDLL(name)
            for symbol in ("create_handle", "destroy_handle", "set_stream", "set_atomics_mode", "gemm_ex"):
                getattr(library, f"rocblas_{symbol}")
            return library, ""
        except (OSError, AttributeError) as error:
            why = str(error)
    return None, why


@cache  # the same line once a process, however many models are loaded
def _say(line: str) -> None:
    print(f"hfc: {line}", file=sys.stderr)
