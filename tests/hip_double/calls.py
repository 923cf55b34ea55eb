"""Every HIP call that hfc makes, directly or through rocm-bindings-hip, in terms of device.py."""

from __future__ import annotations

import ctypes
import struct
import threading

from hfc.isa.arena import Arena, Region
from hfc.isa.errors import Unsupported
from hip_double.device import (
    CAPTURE_UNSUPPORTED,
    INVALID_CONFIGURATION,
    INVALID_DEVICE,
    INVALID_HANDLE,
    INVALID_IMAGE,
    INVALID_VALUE,
    LOST,
    NO_DEVICE,
    NOT_FOUND,
    PEER_ALREADY_ENABLED,
    Device,
    Event,
    Faults,
    Function,
    HipError,
    Module,
    Stream,
    Work,
    move,
)
from hip_double.properties import ERRORS, fill
from hip_double.signatures import P

VERSION = 70000000
HARMLESS = ("hipGetDeviceCount", "hipSetDevice", "hipGetDevice", "hipGetErrorName", "hipGetErrorString")
NON_BLOCKING = 1
MOST_THREADS, MOST_LDS = 1024, 65536


class Runtime:
    """One method for each call, with its arguments as integers; HipError or a code says what went wrong."""

    def __init__(self, found: tuple[list[Device], Faults]):
        self.devices, self.faults = found
        self.lock = threading.RLock()
        self._objects: dict[int, object] = {}
        self._pinned: dict[int, Region] = {}
        self._thread = threading.local()
        self._texts = {code: (name.encode(), text.encode()) for code, (name, text) in ERRORS.items()}

    def admit(self, name: str) -> None:
        """HipError for a fault that was asked for, and for every call after the device is lost."""
        code = self.faults.next(name)
        if code in LOST and self.devices:
            self.device.lost = code
        if code:
            raise HipError(code)
        lost = next((device.lost for device in self.devices if device.lost), 0)
        if lost and name not in HARMLESS:
            raise HipError(lost)

    @property
    def device(self) -> Device:
        if not self.devices:
            raise HipError(NO_DEVICE)
        return self.devices[getattr(self._thread, "index", 0)]

    # devices

    def hipInit(self, flags):
        return self.device and 0

    def hipDriverGetVersion(self, version):
        _put_int(version, VERSION)

    hipRuntimeGetVersion = hipDriverGetVersion

    def hipGetDeviceCount(self, count):
        _put_int(count, len(self.devices))
        return 0 if self.devices else NO_DEVICE

    def hipSetDevice(self, index):
        self._device_at(index)
        self._thread.index = index

    def hipGetDevice(self, index):
        _put_int(index, self.device.index)

    def hipGetDevicePropertiesR0600(self, properties, index):
        fill(properties, self._device_at(index))

    def hipGetErrorName(self, code):
        return self._text(code, 0)

    def hipGetErrorString(self, code):
        return self._text(code, 1)

    def hipGetLastError(self):
        return self.device.lost

    def hipDeviceSynchronize(self):
        self.device.finish()

    # memory

    def hipMemGetInfo(self, free, total):
        _put(free, self.device.free_bytes)
        _put(total, self.device.memory_bytes)

    def hipMalloc(self, pointer, nbytes):
        _put(pointer, self.device.allocate(nbytes) if nbytes else 0)

    def hipFree(self, pointer):
        if pointer:
            self._device_of(pointer, 0).free(pointer)

    def hipHostMalloc(self, pointer, nbytes, flags):
        region = Arena([(f"pinned memory of {nbytes} bytes", nbytes, True)]).regions[0]
        self._pinned[region.address] = region
        _put(pointer, region.address)

    def hipHostFree(self, pointer):
        self.device.finish()
        if self._pinned.pop(pointer, None) is None:
            raise HipError(INVALID_VALUE)

    def hipMemset(self, pointer, value, nbytes):
        device = self._device_of(pointer, nbytes)
        device.default.add(lambda: ctypes.memset(pointer, value & 255, nbytes))

    def hipMemcpyHtoD(self, target, source, nbytes):
        device = self._device_of(target, nbytes)
        device.finish_default()
        move(target, source, nbytes)

    def hipMemcpyDtoH(self, target, source, nbytes):
        device = self._device_of(source, nbytes)
        device.finish_default()
        move(target, source, nbytes)

    def hipMemcpyDtoD(self, target, source, nbytes):
        """Within a device this returns before it is done."""
        device = self._device_of(target, nbytes)
        self._device_of(source, nbytes)
        device.default.add(lambda: move(target, source, nbytes))

    def hipMemcpyHtoDAsync(self, target, source, nbytes, stream):
        self._device_of(target, nbytes)
        if not self._is_pinned(source):  # read at once, like a staging copy of the driver
            kept = ctypes.string_at(source, nbytes)
            self._stream(stream).add(lambda: ctypes.memmove(target, kept, nbytes))
        else:
            self._stream(stream).add(lambda: move(target, source, nbytes))

    def hipMemcpyDtoHAsync(self, target, source, nbytes, stream):
        self._device_of(source, nbytes)
        queue = self._stream(stream)
        queue.add(lambda: move(target, source, nbytes))
        if not self._is_pinned(target) and queue.captured is None:
            queue.finish()

    def hipMemcpyDtoDAsync(self, target, source, nbytes, stream):
        self._device_of(target, nbytes)
        self._device_of(source, nbytes)
        self._stream(stream).add(lambda: move(target, source, nbytes))

    def hipDeviceCanAccessPeer(self, can, index, peer):
        """As cards of a workstation: those of one architecture see each other's memory, others do not."""
        one, other = self._device_at(index), self._device_at(peer)
        _put_int(can, one is not other and one.arch == other.arch)

    def hipDeviceEnablePeerAccess(self, peer, flags):
        found = self._device_at(peer)
        if found is self.device or found.arch != self.device.arch:
            raise HipError(INVALID_DEVICE)
        if found.index in self.device.peers:
            raise HipError(PEER_ALREADY_ENABLED)
        self.device.peers.add(found.index)

    def hipMemcpyPeerAsync(self, target, index, source, peer, nbytes, stream):
        """Only where access was enabled: elsewhere a runtime goes through the host, which hfc does itself, and says so."""
        here, there = self._device_at(index), self._device_at(peer)
        here.check(target, nbytes)
        there.check(source, nbytes)
        queue = self._stream(stream)
        if queue.device is not here or peer not in here.peers:
            raise HipError(INVALID_VALUE)
        queue.add(lambda: move(target, source, nbytes))

    # streams and events

    def hipStreamCreateWithFlags(self, stream, flags):
        made = Stream(self.device, not flags & NON_BLOCKING)
        self.device.streams.append(made)
        _put(stream, self._keep(made))

    def hipStreamCreate(self, stream):
        self.hipStreamCreateWithFlags(stream, 0)

    def hipStreamDestroy(self, stream):
        gone = self._take(stream, Stream)
        gone.finish()
        gone.device.streams.remove(gone)

    def hipStreamSynchronize(self, stream):
        found = self._stream(stream)
        found.device.finish_default() if found is found.device.default else found.finish()

    hipStreamQuery = hipStreamSynchronize  # who asks again and again must see an end

    def hipStreamWaitEvent(self, stream, event, flags):
        self._stream(stream).add(self._get(event, Event).wait)

    def hipEventCreate(self, event):
        _put(event, self._keep(Event()))

    def hipEventCreateWithFlags(self, event, flags):
        self.hipEventCreate(event)

    def hipEventDestroy(self, event):
        self._take(event, Event)

    def hipEventRecord(self, event, stream):
        self._get(event, Event).record(self._stream(stream))

    def hipEventSynchronize(self, event):
        self._get(event, Event).wait()

    hipEventQuery = hipEventSynchronize

    def hipEventElapsedTime(self, milliseconds, start, stop):
        first, last = self._get(start, Event), self._get(stop, Event)
        if first.stream is None or last.stream is None:
            raise HipError(INVALID_HANDLE)
        if first.at is None or last.at is None:
            return 600  # hipErrorNotReady
        ctypes.c_float.from_address(milliseconds).value = 1e3 * (last.at - first.at)

    # kernels

    def hipModuleLoadData(self, module, image):
        try:
            made = self.device.load(_image(image))
        except Unsupported as error:
            raise HipError(INVALID_IMAGE) from error
        _put(module, self._keep(made))

    def hipModuleUnload(self, module):
        self._take(module, Module)

    def hipModuleGetFunction(self, function, module, name):
        found, symbol = self._get(module, Module), ctypes.string_at(name).decode()
        if symbol not in found.kernels:
            raise HipError(NOT_FOUND)
        _put(function, self._keep(Function(found, found.kernels[symbol])))

    def hipModuleLaunchKernel(self, function, gx, gy, gz, bx, by, bz, shared, stream, parameters, extra):
        """Arguments are read now; whatever they point to is read when the stream comes to it."""
        called, queue = self._get(function, Function), self._stream(stream)
        kernel, device = called.kernel, called.module.device
        grid, block = (gx, gy, gz), (bx, by, bz)
        most = min(kernel.kernel.metadata.get(".max_flat_workgroup_size", MOST_THREADS), MOST_THREADS)
        if not all(grid) or not 0 < bx * by * bz <= most or kernel.kernel.lds_bytes + shared > MOST_LDS:
            raise HipError(INVALID_CONFIGURATION)
        if queue.device is not device:
            raise HipError(INVALID_HANDLE)
        wanted = [a for a in kernel.kernel.arguments if not a[".value_kind"].startswith("hidden_")]
        pointers = ctypes.cast(parameters, ctypes.POINTER(P)) if wanted else ()
        arguments = [_argument(pointers[i], a) for i, a in enumerate(wanted)]
        reached = [self._device_at(index) for index in sorted(device.peers)]
        queue.add(lambda: device.run(kernel, grid, block, shared, arguments, reached))

    # graphs

    def hipStreamBeginCapture(self, stream, mode):
        queue = self._stream(stream)
        if queue.captured is not None or queue is queue.device.default:
            raise HipError(CAPTURE_UNSUPPORTED)
        queue.captured = []

    def hipStreamEndCapture(self, stream, graph):
        queue = self._stream(stream)
        if queue.captured is None:
            raise HipError(CAPTURE_UNSUPPORTED)
        _put(graph, self._keep(tuple(queue.captured)))
        queue.captured = None

    def hipGraphInstantiateWithFlags(self, executable, graph, flags):
        _put(executable, self._keep(self._get(graph, tuple)))

    def hipGraphLaunch(self, executable, stream):
        works: tuple[Work, ...] = self._get(executable, tuple)
        for work in works:
            self._stream(stream).add(work)

    def hipGraphDestroy(self, graph):
        self._take(graph, tuple)

    hipGraphExecDestroy = hipGraphDestroy

    # handles

    def _keep(self, thing: object) -> int:
        handle = 0x10000 + 16 * len(self._objects)
        self._objects[handle] = thing
        return handle

    def _get(self, handle: int, kind: type):
        found = self._objects.get(handle)
        if not isinstance(found, kind):
            raise HipError(INVALID_HANDLE)
        return found

    def _take(self, handle: int, kind: type):
        """The thing, whose handle means nothing from now on."""
        found = self._get(handle, kind)
        self._objects[handle] = None
        return found

    def _stream(self, handle: int | None) -> Stream:
        return self._get(handle, Stream) if handle else self.device.default

    def _device_at(self, index: int) -> Device:
        if not 0 <= index < len(self.devices):
            raise HipError(INVALID_DEVICE)
        return self.devices[index]

    def _device_of(self, pointer: int | None, nbytes: int) -> Device:
        """The device whose memory all of this is; its own, as a card here sees no other's."""
        self.device.check(pointer or 0, nbytes)
        return self.device

    def _is_pinned(self, address: int) -> bool:
        return any(start <= address < start + region.nbytes for start, region in self._pinned.items())

    def _text(self, code: int, which: int) -> int:
        pair = self._texts.get(code, (b"hipErrorUnknown", b"unknown error"))
        return ctypes.cast(ctypes.c_char_p(pair[which]), P).value


def _put(address: int, value: int) -> None:
    ctypes.c_uint64.from_address(address).value = value


def _put_int(address: int, value: int) -> None:
    ctypes.c_int.from_address(address).value = value


def _argument(pointer: int, argument: dict) -> int | bytes:
    data = ctypes.string_at(pointer, argument[".size"])
    return int.from_bytes(data, "little") if argument[".value_kind"] == "global_buffer" else data


def _image(address: int) -> bytes:
    """An ELF file in memory ends with its section headers, as the linker writes it."""
    head = ctypes.string_at(address, 64)
    if head[:4] != b"\x7fELF":
        raise HipError(INVALID_IMAGE)
    start, (size, count) = struct.unpack_from("<Q", head, 40)[0], struct.unpack_from("<HH", head, 58)
    return ctypes.string_at(address, start + size * count)
