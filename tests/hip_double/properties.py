"""hipDeviceProp_tR0600 as HIP 6 and 7 lay it out, and the errors by number (hip_runtime_api.h)."""

from __future__ import annotations

import ctypes

from hfc.target.arch import ARCHS
from hip_double.device import SUFFIX, Device

# words: the same type for all names of a row; NAME*N is an array
LAYOUT: tuple[tuple[type, str], ...] = (
    (ctypes.c_char, "name*256 uuid*16 luid*8"),
    (ctypes.c_uint, "luidDeviceNodeMask"),
    (ctypes.c_size_t, "totalGlobalMem sharedMemPerBlock"),
    (ctypes.c_int, "regsPerBlock warpSize"),
    (ctypes.c_size_t, "memPitch"),
    (ctypes.c_int, "maxThreadsPerBlock maxThreadsDim*3 maxGridSize*3 clockRate"),
    (ctypes.c_size_t, "totalConstMem"),
    (ctypes.c_int, "major minor"),
    (ctypes.c_size_t, "textureAlignment texturePitchAlignment"),
    (ctypes.c_int, "deviceOverlap multiProcessorCount kernelExecTimeoutEnabled integrated canMapHostMemory computeMode"),
    (ctypes.c_int, "textures*40"),
    (ctypes.c_size_t, "surfaceAlignment"),
    (ctypes.c_int, "concurrentKernels ECCEnabled pciBusID pciDeviceID pciDomainID tccDriver asyncEngineCount"),
    (ctypes.c_int, "unifiedAddressing memoryClockRate memoryBusWidth l2CacheSize persistingL2CacheMaxSize"),
    (ctypes.c_int, "maxThreadsPerMultiProcessor streamPrioritiesSupported globalL1CacheSupported localL1CacheSupported"),
    (ctypes.c_size_t, "sharedMemPerMultiprocessor"),
    (ctypes.c_int, "regsPerMultiprocessor managedMemory isMultiGpuBoard multiGpuBoardGroupID hostNativeAtomicSupported"),
    (ctypes.c_int, "singleToDoublePrecisionPerfRatio pageableMemoryAccess concurrentManagedAccess"),
    (ctypes.c_int, "computePreemptionSupported canUseHostPointerForRegisteredMem cooperativeLaunch cooperativeMultiDeviceLaunch"),
    (ctypes.c_size_t, "sharedMemPerBlockOptin"),
    (ctypes.c_int, "pageableMemoryAccessUsesHostPageTables directManagedMemAccessFromHost maxBlocksPerMultiProcessor"),
    (ctypes.c_int, "accessPolicyMaxWindowSize"),
    (ctypes.c_size_t, "reservedSharedMemPerBlock"),
    (ctypes.c_int, "hostRegisterSupported sparseHipArraySupported hostRegisterReadOnlySupported timelineSemaphores"),
    (ctypes.c_int, "memoryPoolsSupported gpuDirectRDMASupported gpuDirectRDMAFlushWritesOptions gpuDirectRDMAWritesOrdering"),
    (ctypes.c_int, "memoryPoolSupportedHandleTypes deferredMapping ipcEventSupported clusterLaunch unifiedFunctionPointers"),
    (ctypes.c_int, "reserved*63 hipReserved*32"),
    (ctypes.c_char, "gcnArchName*256"),
    (ctypes.c_size_t, "maxSharedMemoryPerMultiProcessor"),
    (ctypes.c_int, "clockInstructionRate arch"),
    (ctypes.c_void_p, "hdpMemFlushCntl hdpRegFlushCntl"),
    (ctypes.c_int, "unmatched*4 isLargeBar asicRevision"),
)  # fmt: skip
NBYTES = 1472

ERRORS = {
    0: ("hipSuccess", "no error"),
    1: ("hipErrorInvalidValue", "invalid argument"),
    2: ("hipErrorOutOfMemory", "out of memory"),
    3: ("hipErrorNotInitialized", "initialization error"),
    9: ("hipErrorInvalidConfiguration", "invalid configuration argument"),
    100: ("hipErrorNoDevice", "no ROCm-capable device is detected"),
    101: ("hipErrorInvalidDevice", "invalid device ordinal"),
    200: ("hipErrorInvalidImage", "device kernel image is invalid"),
    209: ("hipErrorNoBinaryForGpu", "no kernel image is available for execution on the device"),
    400: ("hipErrorInvalidHandle", "invalid resource handle"),
    500: ("hipErrorNotFound", "named symbol not found"),
    600: ("hipErrorNotReady", "device not ready"),
    700: ("hipErrorIllegalAddress", "an illegal memory access was encountered"),
    704: ("hipErrorPeerAccessAlreadyEnabled", "peer access is already enabled"),
    719: ("hipErrorLaunchFailure", "unspecified launch failure"),
    900: ("hipErrorStreamCaptureUnsupported", "operation not permitted when stream is capturing"),
}


class Properties(ctypes.Structure):
    _fields_ = [
        (word.split("*")[0], kind * int(word.split("*")[1]) if "*" in word else kind)
        for kind, names in LAYOUT
        for word in names.split()
    ]


assert ctypes.sizeof(Properties) == NBYTES, ctypes.sizeof(Properties)


def fill(address: int, device: Device) -> None:
    card = device.card
    ctypes.memset(address, 0, NBYTES)
    found = Properties.from_address(address)
    found.name = f"{card.name} in software".encode()
    found.gcnArchName = (device.arch + SUFFIX.get(device.arch, "")).encode()
    found.totalGlobalMem = device.memory_bytes
    found.sharedMemPerBlock = found.maxSharedMemoryPerMultiProcessor = 65536
    found.warpSize = ARCHS[device.arch].wave if device.arch in ARCHS else 32
    found.maxThreadsPerBlock, found.multiProcessorCount = 1024, card.compute_units
    found.integrated = device.is_integrated
    found.clockRate, found.pciBusID = 1000 * card.clock_mhz, device.index + 1
