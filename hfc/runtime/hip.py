"""AMD's HIP runtime through hip-python (rocm-bindings-hip). Only libamdhip64 is needed on the machine."""

from __future__ import annotations

import ctypes
import os

import numpy as np

from hfc.base.diagnostics import HfcError
from hfc.runtime.driver import DeviceInfo, Driver
from hfc.runtime.hip_library import find_hip_library
from hfc.target.arch import target_for

try:
    from rocm.bindings import hip
    from rocm.bindings.util import paths
except ImportError:  # an optional vendor package
    hip = None

ENTRY_POINTS = {  # what the launch tape calls -> its name in the library
    "launch": "hipModuleLaunchKernel",
    "copy_in": "hipMemcpyHtoDAsync",
    "copy_out": "hipMemcpyDtoHAsync",
    "synchronize": "hipStreamSynchronize",
    "begin_capture": "hipStreamBeginCapture",
    "end_capture": "hipStreamEndCapture",
    "instantiate": "hipGraphInstantiateWithFlags",
    "launch_graph": "hipGraphLaunch",
}


def open_device(index: int = 0) -> "HipDriver":
    """HfcError when there is no driver or no such device; never a silent step down to the CPU."""
    count = count_devices()
    if not 0 <= index < count:
        raise HfcError(f"device hip:{index}: the driver knows {count} device(s)")
    return HipDriver(index)


def list_devices() -> list[DeviceInfo]:
    """What the runtime says of every card that it shows."""
    return [info_of(index) for index in range(count_devices())]


def count_devices() -> int:
    if hip is None:
        raise HfcError(
            "device hip: the Python package rocm-bindings-hip is not installed", hint="pip install rocm-bindings-hip"
        )
    hint = "hfc doctor says what is missing; --device host is this CPU"
    library = find_hip_library()
    if library.path is None:
        raise HfcError(f"device hip: {library.why_not}", hint=hint)
    _show_library()
    try:
        return _check("hipGetDeviceCount", hip.hipGetDeviceCount())
    except (RuntimeError, HfcError) as error:
        why = error.message if isinstance(error, HfcError) else str(error).splitlines()[0]
        raise HfcError(
            f"device hip: there is no AMD GPU that {library.path} shows ({why})",
            hint=hint,
        ) from error


def info_of(index: int) -> DeviceInfo:
    try:
        found = _check("hipGetDeviceProperties", hip.hipGetDeviceProperties(index))
    except RuntimeError as error:  # the call has another name in ROCm 5
        raise HfcError(
            f"device hip: the HIP runtime {find_hip_library().path} is older than ROCm 6 ({str(error).splitlines()[0]})",
            hint="install the HIP runtime of ROCm 6 or newer; `hfc doctor` says how",
        ) from error
    gpu = found.gcnArchName.split(":")[0]  # "gfx90a:sramecc+:xnack-" -> "gfx90a"
    arch = target_for(gpu)
    name = (found.name or gpu) + (f" ({gpu}, which has no row of its own)" if arch != gpu else "")
    units, memory = found.multiProcessorCount, found.totalGlobalMem
    return DeviceInfo(index, name, arch, units, memory, bool(found.integrated))


def _show_library() -> None:
    """Let the bindings open the library that was found: by themselves they look for the unversioned name only."""
    found, theirs = find_hip_library().path, paths.get_library_path
    if found is not None and not hasattr(theirs, "hfc"):

        def get_library_path(name: str) -> bytes:
            return os.fsencode(found) if name == "amdhip64" else theirs(name)

        get_library_path.hfc = True
        paths.get_library_path = get_library_path


class HipDriver:
    """See driver.Driver."""

    def __init__(self, index: int):
        self._index = index
        self.make_current()
        self.info = info_of(index)

    def make_current(self) -> None:
        _check("hipSetDevice", hip.hipSetDevice(self._index))

    def free_memory(self) -> int:
        return _check("hipMemGetInfo", hip.hipMemGetInfo())[0]

    def allocate(self, nbytes: int) -> int:
        return int(_check("hipMalloc", hip.hipMalloc(max(nbytes, 1))))

    def free(self, pointer: int) -> None:
        _check("hipFree", hip.hipFree(pointer))

    def allocate_pinned(self, nbytes: int) -> np.ndarray:
        address = int(_check("hipHostMalloc", hip.hipHostMalloc(nbytes, 0)))
        return np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_uint8)), (nbytes,))

    def free_pinned(self, array: np.ndarray) -> None:
        _check("hipHostFree", hip.hipHostFree(array.ctypes.data))

    def zero(self, pointer: int, nbytes: int) -> None:
        _check("hipMemset", hip.hipMemset(pointer, 0, nbytes))

    def copy_in(self, pointer: int, data: np.ndarray) -> None:
        _check("hipMemcpyHtoD", hip.hipMemcpyHtoD(pointer, data.ctypes.data, data.nbytes))

    def copy_in_async(self, pointer: int, pinned: np.ndarray, stream: int) -> None:
        _check("hipMemcpyHtoDAsync", hip.hipMemcpyHtoDAsync(pointer, pinned.ctypes.data, pinned.nbytes, stream))

    def copy_out(self, data: np.ndarray, pointer: int) -> None:
        _check("hipMemcpyDtoH", hip.hipMemcpyDtoH(data.ctypes.data, pointer, data.nbytes))

    def copy_out_async(self, pinned: np.ndarray, pointer: int, stream: int) -> None:
        _check("hipMemcpyDtoHAsync", hip.hipMemcpyDtoHAsync(pinned.ctypes.data, pointer, pinned.nbytes, stream))

    def copy_device(self, target: int, source: int, nbytes: int) -> None:
        _check("hipMemcpyDtoD", hip.hipMemcpyDtoD(target, source, nbytes))

    def reaches(self, peer: Driver) -> bool:
        assert isinstance(peer, HipDriver), "asked of devices of one kind"
        if self.info.index == peer.info.index:
            return True
        if not _check("hipDeviceCanAccessPeer", hip.hipDeviceCanAccessPeer(self._index, peer._index)):
            return False
        self.make_current()
        (error,) = hip.hipDeviceEnablePeerAccess(peer._index, 0)
        return error in (hip.hipError_t.hipSuccess, hip.hipError_t.hipErrorPeerAccessAlreadyEnabled)

    def copy_from_async(self, target: int, peer: Driver, source: int, nbytes: int, stream: int) -> None:
        assert isinstance(peer, HipDriver), "asked of devices of one kind"
        if self.info.index == peer.info.index:
            _check("hipMemcpyDtoDAsync", hip.hipMemcpyDtoDAsync(target, source, nbytes, stream))
            return
        found = hip.hipMemcpyPeerAsync(target, self._index, source, peer._index, nbytes, stream)
        _check("hipMemcpyPeerAsync", found)

    def load_module(self, image: bytes) -> int:
        return int(_check("hipModuleLoadData", hip.hipModuleLoadData(image)))

    def function(self, module: int, symbol: str) -> int:
        return int(_check(f"hipModuleGetFunction({symbol})", hip.hipModuleGetFunction(module, symbol.encode())))

    def create_stream(self) -> int:
        return int(_check("hipStreamCreateWithFlags", hip.hipStreamCreateWithFlags(int(hip.hipStreamNonBlocking))))

    def synchronize(self, stream: int) -> None:
        _check("hipStreamSynchronize", hip.hipStreamSynchronize(stream))

    def create_event(self) -> int:
        return int(_check("hipEventCreate", hip.hipEventCreate()))

    def record(self, event: int, stream: int) -> None:
        _check("hipEventRecord", hip.hipEventRecord(event, stream))

    def wait(self, event: int) -> None:
        _check("hipEventSynchronize", hip.hipEventSynchronize(event))

    def wait_in_stream(self, stream: int, event: int) -> None:
        _check("hipStreamWaitEvent", hip.hipStreamWaitEvent(stream, event, 0))

    def elapsed_ms(self, start: int, end: int) -> float:
        self.wait(end)
        return _check("hipEventElapsedTime", hip.hipEventElapsedTime(start, end))

    def entry_points(self) -> dict[str, int]:
        library = _library()
        return {role: ctypes.cast(getattr(library, name), ctypes.c_void_p).value for role, name in ENTRY_POINTS.items()}


def _library() -> ctypes.CDLL:
    path = find_hip_library().path
    assert path, "a device is open"
    return ctypes.CDLL(path)


def _check(call: str, result):
    """The value behind hip-python's (error, value…); an error becomes HfcError with the driver's own words."""
    error, *values = result if isinstance(result, tuple) else (result,)
    if error != hip.hipError_t.hipSuccess:
        raise HfcError(f"device hip: {call} failed: {error.name}")
    return values[0] if len(values) == 1 else tuple(values)
