"""Checks of the software device itself, in a process that has loaded it: python probe.py exits with 0 if all hold."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import numpy as np

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "isa")]

from harness import compile_hip
from rocm.bindings import hip

from hfc.base.diagnostics import HfcError
from hfc.runtime.driver import LEGACY_STREAM
from hfc.runtime.hip import open_device

N = 256
U, P = ctypes.c_uint, ctypes.c_void_p


def restart(devices: str = "gfx1100:64M", faults: str = ""):
    """As a new process with these devices."""
    os.environ |= {"HIP_DOUBLE_DEVICES": devices, "HIP_DOUBLE_FAULTS": faults}
    hip.hipGetErrorName(hip.hipError_t.hipSuccess)  # loads the library, if nothing has
    sys.modules["hip_double.register"].PROCESS.restart()


class Card:
    """An opened device with a stream, pinned memory, two arrays and the kernel c = a + b."""

    def __init__(self):
        self.driver = open_device()
        self.stream, self.pinned = self.driver.create_stream(), self.driver.allocate_pinned(4 * N)
        self.a, self.c = self.driver.allocate(4 * N), self.driver.allocate(4 * N)
        module = self.driver.load_module(compile_hip("basic", "gfx1100"))
        self.function = self.driver.function(module, "vadd")
        self.launch = ctypes.CFUNCTYPE(ctypes.c_int, P, *[U] * 7, P, P, P)(self.driver.entry_points()["launch"])

    def add(self, count: int = N, stream: int | None = None, grid: int = 1) -> int:
        """c = a + a on the stream; the driver's error."""
        values = [ctypes.c_uint64(self.a), ctypes.c_uint64(self.a), ctypes.c_uint64(self.c), ctypes.c_int(count)]
        pointers = (P * 4)(*(ctypes.addressof(v) for v in values))
        on = self.stream if stream is None else stream
        return self.launch(self.function, grid, 1, 1, N, 1, 1, 0, on, ctypes.addressof(pointers), None)

    def read(self) -> np.ndarray:
        found = np.empty(N, np.float32)
        self.driver.copy_out(found.view(np.uint8), self.c)
        return found


def expect(error: str, call) -> None:
    try:
        call()
    except HfcError as found:
        assert error in found.message, f"{found.message!r}, expected {error}"
    else:
        raise AssertionError(f"{error} was expected")


def streams_are_late_and_in_order():
    restart()
    card = Card()
    values = card.pinned.view(np.float32)
    values[:] = np.arange(N)
    card.driver.copy_in_async(card.a, card.pinned, card.stream)
    assert card.add() == 0
    assert not (card.read() == 2 * np.arange(N)).any(), "the default stream does not wait for a non-blocking one"
    card.driver.synchronize(card.stream)
    assert (card.read() == 2 * np.arange(N)).all()
    card.driver.copy_in_async(card.a, card.pinned, card.stream)
    values[:] = 7  # pinned memory is read when the stream comes to it
    card.add()
    card.driver.synchronize(card.stream)
    assert (card.read() == 14).all()


def memory_is_limited_and_fresh_memory_is_not_zero():
    restart("gfx1100:1M")
    driver = open_device()
    block = driver.allocate(1 << 19)
    found = np.zeros(16, np.uint8)
    driver.copy_out(found, block)
    assert found.all() and driver.free_memory() == 1 << 19
    expect("hipErrorOutOfMemory", lambda: driver.allocate((1 << 19) + 1))
    expect("hipErrorInvalidValue", lambda: driver.copy_out(found, block + (1 << 19) - 8))
    driver.zero(block, 16)
    driver.synchronize(LEGACY_STREAM)
    driver.copy_out(found, block)
    assert not found.any()
    driver.free(block)
    expect("hipErrorInvalidValue", lambda: driver.free(block))


def events_take_time():
    restart()
    card = Card()
    start, end = card.driver.create_event(), card.driver.create_event()
    card.driver.record(start, card.stream)
    card.add()
    card.driver.record(end, card.stream)
    assert card.driver.elapsed_ms(start, end) > 0
    assert len(set(card.read().tolist())) == 1, "all of a was the same"


def graphs_record_and_repeat():
    restart()
    card = Card()
    library = ctypes.CDLL("libamdhip64.so")
    graph, executable = P(), P()
    assert library.hipStreamBeginCapture(P(card.stream), 2) == 0
    card.driver.copy_in_async(card.a, card.pinned, card.stream)
    card.add()
    expect("hipErrorStreamCaptureUnsupported", lambda: card.driver.synchronize(card.stream))
    assert library.hipStreamEndCapture(P(card.stream), ctypes.byref(graph)) == 0
    assert library.hipGraphInstantiateWithFlags(ctypes.byref(executable), graph, ctypes.c_size_t(0)) == 0
    for value in (3, 4):
        card.pinned.view(np.float32)[:] = value
        assert library.hipGraphLaunch(executable, P(card.stream)) == 0
        card.driver.synchronize(card.stream)
        assert (card.read() == 2 * value).all()


def wrong_calls_have_a_cards_errors():
    restart("gfx1100:64M,gfx906:64M")
    card = Card()
    assert card.add(grid=0) == 9, "hipErrorInvalidConfiguration"
    expect(
        "hipErrorNotFound", lambda: card.driver.function(card.driver.load_module(compile_hip("basic", "gfx1100")), "no")
    )
    expect("hipErrorInvalidImage", lambda: card.driver.load_module(b"not a code object" + bytes(64)))
    other = open_device(1)
    assert other.info.arch == "gfx906" and other.info.compute_units == 60
    expect("hipErrorNoBinaryForGpu", lambda: other.load_module(compile_hip("basic", "gfx1100")))
    expect("hip:2: the driver knows 2 device(s)", lambda: open_device(2))


def faults_come_when_asked_for():
    restart(faults="hipMalloc@2=2,hipStreamSynchronize@1=719")
    driver = open_device()
    driver.allocate(16)
    expect("hipErrorOutOfMemory", lambda: driver.allocate(16))
    driver.allocate(16)
    stream = driver.create_stream()
    expect("hipErrorLaunchFailure", lambda: driver.synchronize(stream))
    expect("hipErrorLaunchFailure", lambda: driver.allocate(16))


def a_wrong_access_loses_the_device():
    restart()
    card = Card()
    assert card.add(count=10 * N, grid=10) == 0, "a launch returns before it has run"
    expect("hipErrorIllegalAddress", lambda: card.driver.synchronize(card.stream))
    expect("hipErrorIllegalAddress", lambda: card.driver.allocate(16))


def no_card_is_no_device():
    restart("")
    expect("hipErrorNoDevice", open_device)


if __name__ == "__main__":
    for check in (
        streams_are_late_and_in_order,
        memory_is_limited_and_fresh_memory_is_not_zero,
        events_take_time,
        graphs_record_and_repeat,
        wrong_calls_have_a_cards_errors,
        faults_come_when_asked_for,
        a_wrong_access_loses_the_device,
        no_card_is_no_device,
    ):
        check()
        print(check.__name__)
