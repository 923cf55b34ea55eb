"""Single launches of a plan, each on memory of its own: what `hfc selftest` puts beside the interpreter."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Protocol

import numpy as np

from hfc.base.diagnostics import DeviceLost, HfcError
from hfc.bundles.grid import grid_value
from hfc.plan import Bundle, Launch, Plan, pointer_table
from hfc.pointer import STEP, Pointer
from hfc.program import Program
from hfc.runtime.driver import LEGACY_STREAM, Driver
from hfc.runtime.host import launch_ranges, open_library
from hfc.runtime.memory import address, allocate
from hfc.step import Step

GUARD = np.full(4096, 0xA5, np.uint8)  # past the end of every buffer; a kernel that writes there is wrong

_LAUNCH = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, *[ctypes.c_uint] * 7, *[ctypes.c_void_p] * 3)


class Launcher(Protocol):
    """Runs launch `number` of a program on `memory`: pointer -> uint8 content. What the kernels may
    write has changed afterwards.

    Raises HfcError when the device fails or a kernel writes beyond one of its pointers."""

    def run(self, program: Program, number: int, memory: dict[Pointer, np.ndarray], step: Step) -> None: ...


class HostLauncher:
    """Launches of the host's library: the tape runs a range of one launch."""

    def __init__(self, bundle: Bundle, plan: Plan, threads: int):
        self._plan, self._threads = plan, threads
        self._library = open_library(bundle, plan)
        if not hasattr(self._library, "hfc_range"):
            raise HfcError(
                "the bundle's host library is of an older hfc and cannot run single launches", hint="compile it again"
            )
        self._library.hfc_range.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]

    def run(self, program: Program, number: int, memory: dict[Pointer, np.ndarray], step: Step) -> None:
        library, table = self._library, pointer_table(self._plan)
        words = step.encode(self._plan.max_rows)
        placed = {pointer: allocate(data.nbytes + GUARD.nbytes) for pointer, data in memory.items()}
        for pointer, data in memory.items():
            placed[pointer][: data.nbytes], placed[pointer][data.nbytes :] = data.reshape(-1), GUARD
        addresses = (ctypes.c_void_p * len(table))(*(address(placed[p]) if p in placed else None for p in table))
        tape = library.hfc_create(self._threads, addresses, len(table))
        if not tape:
            raise HfcError("the host device could not start: out of memory")
        first = launch_ranges(self._plan)[program][0] + number
        library.hfc_range(tape, first, first + 1)
        library.hfc_step(tape, words.ctypes.data)
        library.hfc_destroy(tape)
        for pointer, data in memory.items():
            _check_guard(self._plan.programs[program][number], pointer, placed[pointer][data.nbytes :])
            if not pointer.is_read_only:
                data.reshape(-1)[:] = placed[pointer][: data.nbytes]


class GpuLauncher:
    """Launches of a GPU's code objects, one driver call each, without the tape."""

    def __init__(self, bundle: Bundle, plan: Plan, driver: Driver):
        self._plan, self._driver = plan, driver
        self._files = {kernel.symbol: bundle.files[kernel.file] for kernel in plan.kernels}
        self._functions: dict[str, int] = {}
        self._stream = driver.create_stream()
        self._entry = _LAUNCH(driver.entry_points()["launch"])

    def run(self, program: Program, number: int, memory: dict[Pointer, np.ndarray], step: Step) -> None:
        launch, driver = self._plan.programs[program][number], self._driver
        words = step.encode(self._plan.max_rows).view(np.uint8)
        placed: dict[Pointer, int] = {}
        try:
            for pointer, data in {STEP: words, **memory}.items():
                placed[pointer] = driver.allocate(data.nbytes + GUARD.nbytes)
                driver.copy_in(placed[pointer], data)
                driver.copy_in(placed[pointer] + data.nbytes, GUARD)
            driver.synchronize(LEGACY_STREAM)  # for which the stream of the launch does not wait
            self.launch(launch, [placed[STEP], *(placed[p] for p in launch.pointers)], step)
            for pointer, data in memory.items():
                guard = np.empty_like(GUARD)
                driver.copy_out(guard, placed[pointer] + data.nbytes)
                _check_guard(launch, pointer, guard)
                if not pointer.is_read_only:
                    driver.copy_out(data, placed[pointer])
        finally:
            # After a lost device nothing can be freed either, and the first error is the one to tell.
            with suppress(HfcError):
                for block in placed.values():
                    driver.free(block)

    def launch(self, launch: Launch, addresses: list[int], step: Step) -> None:
        """A launch on memory of the device, at whose end this waits. addresses: the step's, and those of its pointers."""
        grid = [grid_size(expression, step) for expression in launch.grid]
        if not all(grid):
            return
        values = (ctypes.c_uint64 * len(addresses))(*addresses)
        arguments = (ctypes.c_void_p * len(addresses))(
            *(ctypes.addressof(values) + 8 * i for i in range(len(addresses)))
        )
        error = self._entry(
            self._function(launch.kernel), *grid, launch.block, 1, 1, launch.lds_bytes, self._stream, ctypes.addressof(arguments), None
        )  # fmt: skip
        if error:
            raise DeviceLost(f"{launch.kernel}: the launch failed with driver error {error}")
        self._driver.synchronize(self._stream)

    def _function(self, symbol: str) -> int:
        if symbol not in self._functions:
            module = self._driver.load_module(self._files[symbol])
            self._functions[symbol] = self._driver.function(module, symbol)
        return self._functions[symbol]


def grid_size(expression: str, step: Step) -> int:
    """The value of a plan's grid expression for a step."""
    counts = {"T": len(step.tokens), "R": len(step.output_rows), "G": len(step.segments), "C": step.reach}
    return grid_value(expression, counts)


def _check_guard(launch: Launch, pointer: Pointer, guard: np.ndarray) -> None:
    if not np.array_equal(guard, GUARD):
        first = int(np.flatnonzero(guard != GUARD)[0])
        raise HfcError(f"{launch.kernel}: wrote {first} bytes past the end of {pointer}")
