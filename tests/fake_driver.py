"""A GPU made of numpy memory: kernels write nothing, everything else is as on a card, and failures can be asked for."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable

import numpy as np

from hfc.base.diagnostics import HfcError
from hfc.runtime.driver import DeviceInfo

GARBAGE = 0xCD  # fresh memory is not zero
LOST = 719  # CUDA's "unspecified launch failure"; every later call fails with it too
NO_CONTEXT = 201
P, U, N = ctypes.c_void_p, ctypes.c_uint, ctypes.c_size_t
SIGNATURES = {
    "launch": (P, U, U, U, U, U, U, U, P, P, P),
    "copy_in": (P, P, N, P),
    "copy_out": (P, P, N, P),
    "synchronize": (P,),
    "begin_capture": (P, ctypes.c_int),
    "end_capture": (P, ctypes.POINTER(P)),
    "instantiate": (ctypes.POINTER(P), P, ctypes.c_ulonglong),
    "launch_graph": (P, P),
    "launch_early": (ctypes.POINTER(U), P, P, P),
}


class FakeDriver:
    """hfc.runtime.driver.Driver. allocations_left: how many succeed (None: all that fit).

    fail_at: number of the launch, from 1 on, at which the device is lost (None: never).
    """

    def __init__(self, arch: str = "sm_90", memory_bytes: int = 4 << 30):
        self.info = DeviceInfo(0, "Fake 9000", arch, 4, memory_bytes)
        self.memory: dict[int, np.ndarray] = {}
        self.pinned: list[np.ndarray] = []
        self.symbols: list[str] = []
        self.launches: list[tuple[str, tuple[int, int, int]]] = []
        self.early = 0  # launches that need not wait for the kernel ahead of them
        self.allocations_left: int | None = None
        self.fail_at: int | None = None
        self.error = 0
        self._graphs: list[list[Callable[[], int]]] = []
        self._recording: list[Callable[[], int]] | None = None
        self._thread = threading.local()  # a context is current in the threads that said so
        self._thread.current = True
        self._callbacks = {
            role: ctypes.CFUNCTYPE(ctypes.c_int, *s)(getattr(self, f"_{role}")) for role, s in SIGNATURES.items()
        }

    # Driver, as Python calls it

    def free_memory(self) -> int:
        return self.info.memory_bytes - sum(a.nbytes for a in self.memory.values())

    def allocate(self, nbytes: int) -> int:
        self._check("allocate")
        if self.allocations_left == 0 or nbytes > self.free_memory():
            raise HfcError("device fake: allocate failed: out of memory")
        if self.allocations_left:
            self.allocations_left -= 1
        array = np.full(max(nbytes, 1), GARBAGE, np.uint8)
        self.memory[array.ctypes.data] = array
        return array.ctypes.data

    def free(self, pointer: int) -> None:
        self._check("free")
        del self.memory[pointer]

    def allocate_pinned(self, nbytes: int) -> np.ndarray:
        self._check("allocate_pinned")
        self.pinned.append(np.full(nbytes, GARBAGE, np.uint8))
        return self.pinned[-1]

    def free_pinned(self, array: np.ndarray) -> None:
        self._check("free_pinned")
        self.pinned = [a for a in self.pinned if a.ctypes.data != array.ctypes.data]

    def zero(self, pointer: int, nbytes: int) -> None:
        self._check("zero")
        ctypes.memset(self._inside(pointer, nbytes), 0, nbytes)

    def copy_in(self, pointer: int, data: np.ndarray) -> None:
        self._check("copy_in")
        ctypes.memmove(self._inside(pointer, data.nbytes), np.ascontiguousarray(data).ctypes.data, data.nbytes)

    def copy_in_async(self, pointer: int, pinned: np.ndarray, stream: int) -> None:
        self.copy_in(pointer, pinned)

    def copy_out(self, data: np.ndarray, pointer: int) -> None:
        self._check("copy_out")
        ctypes.memmove(data.ctypes.data, self._inside(pointer, data.nbytes), data.nbytes)

    def copy_out_async(self, pinned: np.ndarray, pointer: int, stream: int) -> None:
        self.copy_out(pinned, pointer)

    def copy_device(self, target: int, source: int, nbytes: int) -> None:
        self._check("copy_device")
        ctypes.memmove(self._inside(target, nbytes), self._inside(source, nbytes), nbytes)

    def reaches(self, peer: "FakeDriver") -> bool:
        self._check("reaches")
        return True

    def copy_from_async(self, target: int, peer: "FakeDriver", source: int, nbytes: int, stream: int) -> None:
        self._check("copy_from_async")
        ctypes.memmove(self._inside(target, nbytes), peer._inside(source, nbytes), nbytes)

    def load_module(self, image: bytes) -> int:
        self._check("load_module")
        return 1

    def function(self, module: int, symbol: str) -> int:
        self._check("function")
        self.symbols.append(symbol)
        return len(self.symbols)

    def create_stream(self) -> int:
        self._check("create_stream")
        return 1

    def synchronize(self, stream: int) -> None:
        self._check("synchronize")

    def create_event(self) -> int:
        self._check("create_event")
        return 1

    def record(self, event: int, stream: int) -> None:
        self._check("record")

    def wait(self, event: int) -> None:
        self._check("wait")

    def wait_in_stream(self, stream: int, event: int) -> None:
        self._check("wait_in_stream")

    def elapsed_ms(self, start: int, end: int) -> float:
        self._check("elapsed_ms")
        return 0.5

    def make_current(self) -> None:
        self._thread.current = True

    def entry_points(self) -> dict[str, int]:
        return {role: ctypes.cast(callback, P).value for role, callback in self._callbacks.items()}

    # the driver's functions, as the launch tape calls them

    def _launch(self, function, gx, gy, gz, *rest) -> int:
        return self._do(lambda: self._run(self.symbols[function - 1], (gx, gy, gz)))

    def _launch_early(self, config, function, *rest) -> int:
        self.early += 1
        return self._launch(function, *config[:3])

    def _copy_in(self, device, host, nbytes, stream) -> int:
        return self._do(lambda: self._move(self._inside(device, nbytes), host, nbytes))

    def _copy_out(self, host, device, nbytes, stream) -> int:
        return self._do(lambda: self._move(host, self._inside(device, nbytes), nbytes))

    def _synchronize(self, stream) -> int:
        return self._state()

    def _begin_capture(self, stream, mode) -> int:
        self._recording = []
        return self._state()

    def _end_capture(self, stream, graph) -> int:
        self._graphs.append(self._recording)
        self._recording = None
        graph[0] = len(self._graphs)
        return self.error

    def _instantiate(self, executable, graph, flags) -> int:
        executable[0] = graph
        return self.error

    def _launch_graph(self, executable, stream) -> int:
        return self._state() or next((error for call in self._graphs[executable - 1] if (error := call())), 0)

    def _do(self, call: Callable[[], int]) -> int:
        if self._state():
            return self._state()
        if self._recording is None:
            return call()
        self._recording.append(call)
        return 0

    def _run(self, symbol: str, grid: tuple[int, int, int]) -> int:
        assert all(grid), "a grid of nothing is an error on a card"
        self.launches.append((symbol, grid))
        if self.fail_at is not None and len(self.launches) >= self.fail_at:
            self.error = LOST
        return self.error

    def _move(self, target: int, source: int, nbytes: int) -> int:
        if not self.error:
            ctypes.memmove(target, source, nbytes)
        return self.error

    def _inside(self, pointer: int, nbytes: int) -> int:
        """The address, if it lies in one allocation as a whole."""
        fits = any(start <= pointer and pointer + nbytes <= start + a.nbytes for start, a in self.memory.items())
        assert fits, f"{nbytes} bytes at {pointer:#x} are not in device memory"
        return pointer

    def _state(self) -> int:
        """0, or the error that every call in this thread has."""
        return self.error or (0 if getattr(self._thread, "current", False) else NO_CONTEXT)

    def _check(self, call: str) -> None:
        if error := self._state():
            raise HfcError(f"device fake: {call} failed: {'device lost' if error == LOST else 'no context is current'}")
