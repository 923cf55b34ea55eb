"""Devices, streams, events and modules in software.

A stream runs nothing until something waits for it: work that a program forgot to wait for has not happened yet, and memory that
it gave away too early is read when it holds something else. A card may be as late as that.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from hfc.base.diagnostics import HfcError
from hfc.isa.arena import Arena, Region
from hfc.isa.errors import KernelFault
from hfc.isa.launch import Loaded, load_kernels
from hfc.target.arch import ARCHS, CardSpec, target_for

INVALID_VALUE, OUT_OF_MEMORY, INVALID_CONFIGURATION, NO_DEVICE, INVALID_DEVICE = 1, 2, 9, 100, 101
INVALID_IMAGE, NO_BINARY, INVALID_HANDLE, NOT_FOUND, NOT_READY = 200, 209, 400, 500, 600
ILLEGAL_ADDRESS, PEER_ALREADY_ENABLED, LAUNCH_FAILURE, CAPTURE_UNSUPPORTED = 700, 704, 719, 900
LOST = (ILLEGAL_ADDRESS, LAUNCH_FAILURE)  # after these every call of the process fails
UNITS = {"M": 1 << 20, "G": 1 << 30}
SUFFIX = {"gfx906": ":sramecc+:xnack-", "gfx908": ":sramecc+:xnack-", "gfx90a": ":sramecc+:xnack-"}

Work = Callable[[], None]


class HipError(Exception):
    def __init__(self, code: int):
        super().__init__(code)
        self.code = code


@dataclass(eq=False)
class Stream:
    """waits: does the device's default stream wait for it, and it for that? captured: None: work is queued, not recorded."""

    device: Device
    waits: bool
    queue: deque[Work] = field(default_factory=deque)
    captured: list[Work] | None = None

    def add(self, work: Work) -> None:
        if self.captured is None:
            self.queue.append(work)
        else:
            self.captured.append(work)

    def finish(self) -> None:
        """Run all that is queued. HipError if the device is lost over it."""
        if self.captured is not None:
            raise HipError(CAPTURE_UNSUPPORTED)
        while self.queue:
            self.queue.popleft()()
        if self.device.lost:
            raise HipError(self.device.lost)


@dataclass(eq=False)
class Event:
    """stream: where it was recorded last. at: seconds when the stream came to it, None: not yet."""

    stream: Stream | None = None
    at: float | None = None

    def record(self, stream: Stream) -> None:
        self.stream, self.at = stream, None
        stream.add(self._pass)

    def _pass(self) -> None:
        self.at = time.perf_counter()

    def wait(self) -> None:
        """Run the stream as far as this event."""
        while self.stream and self.at is None and self.stream.queue:
            self.stream.queue.popleft()()
        if self.stream and self.stream.device.lost:
            raise HipError(self.stream.device.lost)


@dataclass(eq=False)
class Module:
    device: Device
    kernels: dict[str, Loaded]


@dataclass(eq=False)
class Function:
    module: Module
    kernel: Loaded


class Device:
    """One GPU: an arch, its memory and its default stream."""

    def __init__(
        self, index: int, arch: str, memory_bytes: int, card: CardSpec, faults: Faults, is_integrated: bool = False
    ):
        self.index, self.arch, self.memory_bytes, self.card, self.faults = index, arch, memory_bytes, card, faults
        self.allocations: dict[int, Region] = {}
        self.peers: set[int] = set()  # devices whose memory it may read
        self.lost = 0
        self.is_integrated = is_integrated
        self.default = Stream(self, True)
        self.streams = [self.default]

    @property
    def free_bytes(self) -> int:
        return self.memory_bytes - sum(region.nbytes for region in self.allocations.values())

    def allocate(self, nbytes: int) -> int:
        if nbytes > self.free_bytes:
            raise HipError(OUT_OF_MEMORY)
        region = Arena([(f"device memory of {nbytes} bytes", nbytes, True)]).regions[0]
        self.allocations[region.address] = region
        return region.address

    def free(self, address: int) -> None:
        self.finish()
        if address not in self.allocations:
            raise HipError(INVALID_VALUE)
        del self.allocations[address]

    def check(self, address: int, nbytes: int) -> int:
        """The address, if all of it lies in one allocation."""
        for start, region in self.allocations.items():
            if start <= address and address + nbytes <= start + region.nbytes:
                return address
        raise HipError(INVALID_VALUE)

    def finish(self) -> None:
        for stream in self.streams:
            stream.finish()

    def finish_default(self) -> None:
        """What the default stream waits for before it begins."""
        for stream in self.streams:
            if stream.waits:
                stream.finish()

    def load(self, image: bytes) -> Module:
        kernels = load_kernels(image)
        if any(loaded.arch not in (self.arch, target_for(self.arch)) for loaded in kernels.values()):
            raise HipError(NO_BINARY)
        return Module(self, kernels)

    def run(
        self, kernel: Loaded, grid, block, shared: int, arguments: list[int | bytes], reached: Sequence["Device"] = ()
    ) -> None:
        """One kernel, now. What it may not touch loses the device, and the emulator's words go to stderr.

        reached: devices whose memory it may touch too."""
        if self.lost:
            return
        self.lost = self.faults.next("kernel")
        if self.lost:
            return
        try:
            memory = [part for device in (self, *reached) for part in device.allocations.values()]
            kernel.launch(grid, block, arguments, shared, memory=memory)
        except HfcError as error:
            print(f"libamdhip64.so: {error}", file=sys.stderr, flush=True)
            self.lost = ILLEGAL_ADDRESS if isinstance(error, KernelFault) else LAUNCH_FAILURE


class Faults:
    """Errors to answer with: name of a call (or "kernel") and its number, from 1 on -> code."""

    def __init__(self, text: str):
        self._codes: dict[tuple[str, int], int] = {}
        self._counts: dict[str, int] = {}
        for part in filter(None, text.split(",")):
            match = re.fullmatch(r"(\w+)@(\d+)=(\d+)", part.strip())
            if not match:
                raise HfcError(f"HIP_DOUBLE_FAULTS: {part!r} is not like hipMalloc@3=2")
            self._codes[match[1], int(match[2])] = int(match[3])

    def next(self, name: str) -> int:
        """The code for this call, 0 for none."""
        self._counts[name] = self._counts.get(name, 0) + 1
        return self._codes.get((name, self._counts[name]), 0)


def configured() -> tuple[list[Device], Faults]:
    """The devices and faults that the environment asks for."""
    faults, devices = Faults(os.environ.get("HIP_DOUBLE_FAULTS", "")), []
    for text in filter(None, os.environ.get("HIP_DOUBLE_DEVICES", "gfx1100:4G").split(",")):
        match = re.fullmatch(r"(\w+):(\d+)([MG])(:igpu)?", text.strip())
        if not match:
            raise HfcError(f"HIP_DOUBLE_DEVICES: {text!r} is not like gfx1100:24G or gfx1103:16G:igpu")
        arch, nbytes = match[1], int(match[2]) * UNITS[match[3]]
        card = ARCHS[arch].cards[0] if arch in ARCHS else CardSpec(arch, 8, 100, 8, 2000)
        devices.append((arch, nbytes, card, faults, bool(match[4])))
    visible = os.environ.get("HIP_VISIBLE_DEVICES", os.environ.get("CUDA_VISIBLE_DEVICES"))
    if visible is not None:  # as the runtime does: a number that there is not ends the list
        numbers = [int(word) if word.strip().isdigit() else len(devices) for word in visible.split(",")]
        devices = [devices[n] for n in takewhile(lambda n: n < len(devices), numbers)]
    return [Device(number, *facts) for number, facts in enumerate(devices)], faults


def move(target: int, source: int, nbytes: int) -> None:
    ctypes.memmove(target, source, nbytes)
