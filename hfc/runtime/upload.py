"""Weights to device memory: mapped file -> pinned staging -> device, or random bytes of the right shape."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np

from hfc.formats import weight_format
from hfc.formats.checkpoint import Checkpoint
from hfc.plan import ConstRef, Plan, WeightRef
from hfc.pointer import Pointer
from hfc.runtime.driver import Driver
from hfc.runtime.weights import RELEASE_EVERY, Progress, load_const, load_weight

STAGING = 64 << 20  # bytes; two of them, one fills while the other travels
ALIGNMENT = 256


class WeightSource(Protocol):
    """Where weights come from: bytes of one weight or table in the plan's layout."""

    def weight(self, ref: WeightRef) -> np.ndarray: ...
    def const(self, ref: ConstRef) -> np.ndarray: ...
    def release(self) -> None:
        """What was handed out is on the device now and need not stay in memory."""
        ...


class CheckpointWeights:
    """The weights of a checkpoint."""

    def __init__(self, checkpoint: Checkpoint, context: int):
        self._checkpoint, self._context = checkpoint, context

    def weight(self, ref: WeightRef) -> np.ndarray:
        return load_weight(ref, self._checkpoint, self._context)

    def const(self, ref: ConstRef) -> np.ndarray:
        return load_const(ref, self._checkpoint, self._context)

    def release(self) -> None:
        self._checkpoint.release()


def upload_weights(
    plan: Plan,
    driver: Driver,
    allocate: Callable[[int], int],
    source: WeightSource,
    stream: int,
    progress: Progress | None,
) -> dict[Pointer, int]:
    """Pointer -> device address of every weight and table, in one block of device memory."""
    refs: list[WeightRef | ConstRef] = [*plan.weights, *plan.consts]
    sizes = [_nbytes(ref, plan) for ref in refs]
    at = allocate(sum(_aligned(n) for n in sizes))
    staging = Staging(driver, stream)
    placed, read = {}, 0
    try:
        for done, (ref, nbytes) in enumerate(zip(refs, sizes)):
            raw = source.weight(ref) if isinstance(ref, WeightRef) else source.const(ref)
            assert raw.nbytes == nbytes, f"{ref.name}: {raw.nbytes} bytes, the plan says {nbytes}"
            staging.send(at, raw.reshape(-1).view(np.uint8))
            placed[ref.pointer] = at
            at += _aligned(nbytes)
            read += nbytes
            if read > RELEASE_EVERY:  # peak host memory does not grow with the model
                source.release()
                read = 0
            if progress:
                progress(done + 1, len(refs))
    finally:
        staging.finish()
    return placed


class Staging:
    """Two pinned buffers that take turns."""

    def __init__(self, driver: Driver, stream: int):
        self._driver, self._stream = driver, stream
        self._buffers = [driver.allocate_pinned(STAGING) for _ in range(2)]
        self._events = [driver.create_event() for _ in range(2)]
        self._turn = 0

    def send(self, target: int, data: np.ndarray) -> None:
        """Copy uint8 [n] to device address `target`; returns when `data` may be forgotten."""
        for start in range(0, len(data), STAGING):
            part = data[start : start + STAGING]
            buffer, event = self._buffers[self._turn], self._events[self._turn]
            self._driver.wait(event)  # an event that was never recorded counts as done
            buffer[: len(part)] = part
            self._driver.copy_in_async(target + start, buffer[: len(part)], self._stream)
            self._driver.record(event, self._stream)
            self._turn ^= 1

    def finish(self) -> None:
        """Wait for what is under way, and give the pinned memory back."""
        self._driver.synchronize(self._stream)
        while self._buffers:
            self._driver.free_pinned(self._buffers.pop())


def _nbytes(ref: WeightRef | ConstRef, plan: Plan) -> int:
    shape = [plan.context if n == "C" else n for n in ref.shape]
    row_bytes = weight_format(ref.format).row_bytes(shape[-1]) if isinstance(ref, WeightRef) else 4 * shape[-1]
    return math.prod(shape[:-1]) * row_bytes


def _aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT
