"""Peer-to-peer copies between the stages of a pipeline: a value stays in its card's memory until the next stage's card copies it from
there, instead of going through the host's."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence

from hfc.base.dataclass import dataclass
from hfc.runtime.driver import Driver


@dataclass(eq=False)
class DeviceRows:
    """A value, f32 [T, width], at `address` of a card: complete once `event` has happened, kept as long as this object lives."""

    driver: Driver
    address: int
    event: int
    nbytes: int

    def copy_to(self, driver: Driver, target: int, stream: int) -> None:
        """Into memory of a card that reaches this one, in the order of its stream."""
        driver.wait_in_stream(stream, self.event)
        driver.copy_from_async(target, self.driver, self.address, self.nbytes, stream)


class Outbox:
    """Send buffers in a card's memory, one for each value on its way. sizes: most bytes of each value, by name.

    count: buffers for each name; where all are in use, `send` returns None."""

    def __init__(self, driver: Driver, allocate: Callable[[int], int], sizes: Mapping[str, int], count: int):
        self._driver = driver
        self._free = {
            name: [(allocate(nbytes), driver.create_event()) for _ in range(count)] for name, nbytes in sizes.items()
        }

    def has_room(self, name: str) -> bool:
        """Whether a value of this name can be kept."""
        return bool(self._free.get(name))

    def send(self, name: str, source: int, nbytes: int, stream: int) -> DeviceRows | None:
        """A copy, in the order of the stream; None for a value that is not kept here or finds no room."""
        free = self._free.get(name)
        if not free:
            return None
        block = free.pop()
        rows = DeviceRows(self._driver, *block, nbytes)
        weakref.finalize(rows, free.append, block)
        self._driver.copy_from_async(rows.address, self._driver, source, nbytes, stream)
        self._driver.record(rows.event, stream)
        return rows


@dataclass(frozen=True)
class Sender:
    """What peer copies need to know of a stage: its device (None: no card of this process), the values it receives and sends."""

    driver: Driver | None
    received: Sequence[str]
    sent: Sequence[str]


def kept_on_device(stages: Sequence[Sender]) -> tuple[list[list[str]], list[str]]:
    """The values that each stage may leave on its card, and a line for each pair of cards of a kind that do not reach each other."""
    kept: list[list[str]] = []
    notes: dict[str, None] = {}
    for number, stage in enumerate(stages):
        mine: list[str] = []
        for name in stage.sent if stage.driver else ():
            readers = [other.driver for other in stages[number + 1 :] if name in other.received]
            if _all_reach(stage.driver, readers, notes):
                mine.append(name)
        kept.append(mine)
    return kept, list(notes)


def _all_reach(driver: Driver | None, readers: Iterable[Driver | None], notes: dict[str, None]) -> bool:
    reached = True
    for reader in readers:
        if driver is None or type(reader) is not type(driver):
            reached = False
        elif not reader.reaches(driver):
            reached = False
            names = [f"{one.info.name} (number {one.info.index})" for one in (reader, driver)]
            notes[f"{names[0]} cannot read the memory of {names[1]}: values travel through the host"] = None
    return reached
