"""Steps that a GPU has before the host has seen what the step ahead of them chose: while one runs, the next one waits in the stream."""

from __future__ import annotations

from itertools import cycle

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import DeviceLost, HfcError
from hfc.runtime.driver import Driver
from hfc.step import Step

LANES = 2  # one that runs, and one that waits behind it


@dataclass
class Lane:
    """Memory of a step on its way, pinned: its input, and what it brings. event: passed when it has ended.  queued: the step, till then."""

    driver: Driver
    input: np.ndarray
    output: np.ndarray
    event: int
    queued: Queued | None = None

    @property
    def input_address(self) -> int:
        return self.input.ctypes.data

    @property
    def output_address(self) -> int:
        return self.output.ctypes.data


class Queued:
    """A step on its way, whose device chooses a token for each wanted row."""

    def __init__(self, step: Step, lane: Lane):
        self.step, self._lane = step, lane
        self._tokens: list[int] | None = None
        self._lost: DeviceLost | None = None

    def result(self) -> list[int]:
        """Its tokens. Waits for it; DeviceLost if it or a step ahead of it failed."""
        self.settle()
        if self._lost:
            raise self._lost
        return self._tokens

    def settle(self) -> None:
        """Wait for it, whatever became of it."""
        lane = self._lane
        if lane.queued is not self:
            return
        lane.queued = None
        try:
            lane.driver.make_current()
            lane.driver.wait(lane.event)
        except HfcError as error:
            self._lost = DeviceLost(f"device {lane.driver.info.name}: a step failed: {error.message}")
            return
        self._tokens = lane.output[: 4 * len(self.step.output_rows)].view(np.int32).tolist()


class Lanes:
    """Steps take turns with them. latest: the step that was queued last, if nothing else has run since."""

    def __init__(self, lanes: list[Lane]):
        self._lanes, self._turns = lanes, cycle(lanes)
        self.latest: Step | None = None

    def free(self) -> Lane:
        """The next lane; nothing is on its way in it any more."""
        lane = next(self._turns)
        if lane.queued:
            lane.queued.settle()
        return lane

    def settle(self) -> None:
        """Wait until nothing is on its way."""
        for lane in self._lanes:
            if lane.queued:
                lane.queued.settle()
