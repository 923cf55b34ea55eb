"""NVIDIA's driver API through cuda-python: the second platform of HIP sources, on which whole models run at speed."""

from __future__ import annotations

import ctypes

import numpy as np

from hfc.base.diagnostics import HfcError
from hfc.runtime.cuda_library import NO_DRIVER, has_cuda_library
from hfc.runtime.driver import DeviceInfo, Driver

try:
    from cuda.bindings import driver as cu
except ImportError:  # an optional vendor package
    cu = None

LIBRARY = "libcuda.so.1"
ENTRY_POINTS = {  # what the launch tape calls -> its name in the library
    "launch": "cuLaunchKernel",
    "copy_in": "cuMemcpyHtoDAsync_v2",
    "copy_out": "cuMemcpyDtoHAsync_v2",
    "synchronize": "cuStreamSynchronize",
    "begin_capture": "cuStreamBeginCapture_v2",
    "end_capture": "cuStreamEndCapture",
    "instantiate": "cuGraphInstantiateWithFlags",
    "launch_graph": "cuGraphLaunch",
    "launch_early": "cuLaunchKernelEx",
}
HINTS = {
    "CUDA_ERROR_UNSUPPORTED_PTX_VERSION": "the NVIDIA driver is older than the bundle's PTX: update it (CUDA 12.0 or later)",
    "CUDA_ERROR_OUT_OF_MEMORY": "another program may hold the memory; `hfc fit` says what the model needs",
}


def open_device(index: int = 0) -> "CudaDriver":
    """HfcError when there is no driver or no such device."""
    count = count_devices()
    if not 0 <= index < count:
        raise HfcError(f"device cuda:{index}: the driver knows {count} device(s)")
    return CudaDriver(index)


def list_devices() -> list[DeviceInfo]:
    """What the driver says of every GPU; none is opened."""
    return [info_of(index) for index in range(count_devices())]


def count_devices() -> int:
    if not has_cuda_library():
        raise HfcError(f"device cuda: {NO_DRIVER}", hint="hfc devices lists the cards; --device host is this CPU")
    if cu is None:
        raise HfcError("device cuda: the Python package cuda-bindings is not installed", hint="pip install hfc[cuda]")
    try:
        cu.cuInit(0)
        return _check("cuDeviceGetCount", cu.cuDeviceGetCount())
    except (RuntimeError, HfcError) as error:
        why = error.message if isinstance(error, HfcError) else str(error).splitlines()[0]
        raise HfcError(f"device cuda: there is no GPU that the NVIDIA driver shows ({why})") from error


def info_of(index: int) -> DeviceInfo:
    device = _check("cuDeviceGet", cu.cuDeviceGet(index))

    def attribute(name: str) -> int:
        which = getattr(cu.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
        return _check("cuDeviceGetAttribute", cu.cuDeviceGetAttribute(which, device))

    arch = f"sm_{attribute('COMPUTE_CAPABILITY_MAJOR')}{attribute('COMPUTE_CAPABILITY_MINOR')}"
    name = _check("cuDeviceGetName", cu.cuDeviceGetName(100, device)).split(b"\0")[0].decode()
    memory = _check("cuDeviceTotalMem", cu.cuDeviceTotalMem(device))
    return DeviceInfo(index, name, arch, attribute("MULTIPROCESSOR_COUNT"), memory, bool(attribute("INTEGRATED")))


class CudaDriver:
    """See driver.Driver."""

    def __init__(self, index: int):
        self._device = _check("cuDeviceGet", cu.cuDeviceGet(index))
        self._context = _check("cuDevicePrimaryCtxRetain", cu.cuDevicePrimaryCtxRetain(self._device))
        self.make_current()
        self.info = info_of(index)
        most = cu.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
        self._block_shared_bytes = _check("cuDeviceGetAttribute", cu.cuDeviceGetAttribute(most, self._device))

    def make_current(self) -> None:
        _check("cuCtxSetCurrent", cu.cuCtxSetCurrent(self._context))

    def free_memory(self) -> int:
        return _check("cuMemGetInfo", cu.cuMemGetInfo())[0]

    def allocate(self, nbytes: int) -> int:
        return int(_check("cuMemAlloc", cu.cuMemAlloc(max(nbytes, 1))))

    def free(self, pointer: int) -> None:
        _check("cuMemFree", cu.cuMemFree(pointer))

    def allocate_pinned(self, nbytes: int) -> np.ndarray:
        address = int(_check("cuMemHostAlloc", cu.cuMemHostAlloc(nbytes, 0)))
        return np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_uint8)), (nbytes,))

    def free_pinned(self, array: np.ndarray) -> None:
        _check("cuMemFreeHost", cu.cuMemFreeHost(array.ctypes.data))

    def zero(self, pointer: int, nbytes: int) -> None:
        _check("cuMemsetD8", cu.cuMemsetD8(pointer, 0, nbytes))

    def copy_in(self, pointer: int, data: np.ndarray) -> None:
        _check("cuMemcpyHtoD", cu.cuMemcpyHtoD(pointer, data.ctypes.data, data.nbytes))

    def copy_in_async(self, pointer: int, pinned: np.ndarray, stream: int) -> None:
        _check("cuMemcpyHtoDAsync", cu.cuMemcpyHtoDAsync(pointer, pinned.ctypes.data, pinned.nbytes, stream))

    def copy_out(self, data: np.ndarray, pointer: int) -> None:
        _check("cuMemcpyDtoH", cu.cuMemcpyDtoH(data.ctypes.data, pointer, data.nbytes))

    def copy_out_async(self, pinned: np.ndarray, pointer: int, stream: int) -> None:
        _check("cuMemcpyDtoHAsync", cu.cuMemcpyDtoHAsync(pinned.ctypes.data, pointer, pinned.nbytes, stream))

    def copy_device(self, target: int, source: int, nbytes: int) -> None:
        _check("cuMemcpyDtoD", cu.cuMemcpyDtoD(target, source, nbytes))

    def reaches(self, peer: Driver) -> bool:
        assert isinstance(peer, CudaDriver), "asked of devices of one kind"
        if self.info.index == peer.info.index:
            return True
        if not _check("cuDeviceCanAccessPeer", cu.cuDeviceCanAccessPeer(self._device, peer._device)):
            return False
        self.make_current()
        (error,) = cu.cuCtxEnablePeerAccess(peer._context, 0)
        return error in (cu.CUresult.CUDA_SUCCESS, cu.CUresult.CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED)

    def copy_from_async(self, target: int, peer: Driver, source: int, nbytes: int, stream: int) -> None:
        assert isinstance(peer, CudaDriver), "asked of devices of one kind"
        if self.info.index == peer.info.index:
            _check("cuMemcpyDtoDAsync", cu.cuMemcpyDtoDAsync(target, source, nbytes, stream))
            return
        found = cu.cuMemcpyPeerAsync(target, self._context, source, peer._context, nbytes, stream)
        _check("cuMemcpyPeerAsync", found)

    def load_module(self, image: bytes) -> int:
        """image: PTX text; the driver finishes the compilation and keeps its own cache."""
        return int(_check("cuModuleLoadData", cu.cuModuleLoadData(image + b"\0")))

    def function(self, module: int, symbol: str) -> int:
        """Its launches may ask for all the shared memory that it does not declare."""
        made = _check(f"cuModuleGetFunction({symbol})", cu.cuModuleGetFunction(module, symbol.encode()))
        declared, asked = (
            getattr(cu.CUfunction_attribute, f"CU_FUNC_ATTRIBUTE_{name}")
            for name in ("SHARED_SIZE_BYTES", "MAX_DYNAMIC_SHARED_SIZE_BYTES")
        )
        free = self._block_shared_bytes - _check("cuFuncGetAttribute", cu.cuFuncGetAttribute(declared, made))
        _check("cuFuncSetAttribute", cu.cuFuncSetAttribute(made, asked, free))
        return int(made)

    def create_stream(self) -> int:
        return int(_check("cuStreamCreate", cu.cuStreamCreate(cu.CUstream_flags.CU_STREAM_NON_BLOCKING)))

    def synchronize(self, stream: int) -> None:
        _check("cuStreamSynchronize", cu.cuStreamSynchronize(stream))

    def create_event(self) -> int:
        return int(_check("cuEventCreate", cu.cuEventCreate(0)))

    def record(self, event: int, stream: int) -> None:
        _check("cuEventRecord", cu.cuEventRecord(event, stream))

    def wait(self, event: int) -> None:
        _check("cuEventSynchronize", cu.cuEventSynchronize(event))

    def wait_in_stream(self, stream: int, event: int) -> None:
        _check("cuStreamWaitEvent", cu.cuStreamWaitEvent(stream, event, 0))

    def elapsed_ms(self, start: int, end: int) -> float:
        self.wait(end)
        return _check("cuEventElapsedTime", cu.cuEventElapsedTime(start, end))

    def entry_points(self) -> dict[str, int]:
        library = ctypes.CDLL(LIBRARY)
        return {role: ctypes.cast(getattr(library, name), ctypes.c_void_p).value for role, name in ENTRY_POINTS.items()}


def _check(call: str, result):
    """The value behind cuda-python's (error, value…); an error becomes HfcError with the driver's own words."""
    error, *values = result
    if error != cu.CUresult.CUDA_SUCCESS:
        _, text = cu.cuGetErrorString(error)
        raise HfcError(
            f"device cuda: {call} failed: {text.decode() if text else error.name}", hint=HINTS.get(error.name)
        )
    return values[0] if len(values) == 1 else tuple(values)
