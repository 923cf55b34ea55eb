"""Imported by the library's first call: puts a Python function behind every entry point."""

from __future__ import annotations

import ctypes
import sys
import traceback

from hip_double.calls import Runtime
from hip_double.device import HipError, configured
from hip_double.signatures import SIGNATURES

UNKNOWN = 999
LIBRARY = "libamdhip64.so"


class _Process:
    """What the library's calls are answered with; `restart` begins anew with the environment as it is then."""

    def __init__(self):
        self.restart()

    def restart(self) -> None:
        self.runtime = Runtime(configured())


PROCESS = _Process()


def _answer(name: str):
    def answer(*arguments):
        runtime = PROCESS.runtime
        try:
            with runtime.lock:
                runtime.admit(name)
                return getattr(runtime, name)(*arguments) or 0
        except HipError as error:
            return error.code
        except Exception:  # the border to C: an exception cannot cross it, and ctypes would answer 0, which is success
            print(f"{LIBRARY}: {name}{arguments} failed", file=sys.stderr)
            traceback.print_exc()
            return UNKNOWN

    return answer


def _register() -> list:
    library, kept = ctypes.CDLL(LIBRARY), []
    for name, types in SIGNATURES.items():
        result = ctypes.c_void_p if name.startswith("hipGetError") else ctypes.c_int
        callback = ctypes.CFUNCTYPE(result, *types)(_answer(name))
        ctypes.c_void_p.in_dll(library, f"double_{name}").value = ctypes.cast(callback, ctypes.c_void_p).value
        kept.append(callback)
    return kept


CALLBACKS = _register()
