"""The compiled launch tape of a GPU plan as ctypes sees it."""

from __future__ import annotations

import ctypes

from hfc.plan import Bundle, Plan
from hfc.runtime.host_code import open_code

CAPTURE = ("begin_capture", "end_capture", "instantiate", "launch_graph")  # left out where graphs do not pay


class DriverTable(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_void_p)
        for name in ("launch", "copy_in", "copy_out", "synchronize", *CAPTURE, "stream", "multiply", "library")
    ]


def open_tape(bundle: Bundle, plan: Plan) -> ctypes.CDLL:
    """The tape for this machine's CPU, see open_code."""
    library = open_code(bundle, plan)
    library.hfc_gpu_create.restype = ctypes.c_void_p
    library.hfc_gpu_create.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint64]
    library.hfc_gpu_step.argtypes = [
        ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint64,
        ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p,
    ]  # fmt: skip
    if hasattr(library, "hfc_gpu_queue"):
        library.hfc_gpu_queue.argtypes = library.hfc_gpu_step.argtypes
    library.hfc_gpu_destroy.argtypes = [ctypes.c_void_p]
    if plan.leaves_experts:
        library.hfc_gpu_host.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    if hasattr(library, "hfc_gpu_launch_early"):
        library.hfc_gpu_launch_early.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    return library
