"""A stage in a process of its own: its calls travel there, and what they give comes back."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.plan import Plan
from hfc.step import Step

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

# what is asked of the model there, and of its slots
OF_MODEL = ("receive", "hand_on", "forward", "draft", "tap")
OF_SLOTS = ("read_kv", "write_kv", "read_recurrent", "write_recurrent")
END_S = 10.0


@dataclass(frozen=True)
class Opening:
    """How the child loads its stage: `load(*arguments)` gives the model and its slots."""

    load: Callable[..., tuple[Any, Any]]
    arguments: tuple[Any, ...]


class ProcessStage:
    """A runtime.pipeline StageModel, and a SlotStates. A process that ends is started again, empty, by the call after the one that
    found it so: what ran is lost and says so, others go on."""

    def __init__(self, plan: Plan, opening: Opening):
        self.plan, self._opening = plan, opening
        self._lock = threading.Lock()  # the stage's thread, and whoever reads slots
        self._connection: Connection | None = None
        self.kv_bytes, self.recurrent_bytes = self._ask("sizes")

    def receive(self, values: Mapping[str, np.ndarray]) -> None:
        if values:
            self._ask("receive", dict(values))

    def hand_on(self, step: Step) -> dict[str, np.ndarray]:
        return self._ask("hand_on", step)

    def forward(self, step: Step) -> np.ndarray:
        return self._ask("forward", step)

    def draft(self, step: Step) -> tuple[np.ndarray, np.ndarray]:
        return self._ask("draft", step)

    def tap(self, name: str, first: int, count: int) -> np.ndarray:
        return self._ask("tap", name, first, count)

    def read_kv(self, slot: int, start: int, end: int) -> np.ndarray:
        return self._ask("read_kv", slot, start, end)

    def write_kv(self, slot: int, start: int, data: np.ndarray, positions: int, count: int) -> None:
        self._ask("write_kv", slot, start, data, positions, count)

    def read_recurrent(self, slot: int) -> np.ndarray:
        return self._ask("read_recurrent", slot)

    def write_recurrent(self, slot: int, data: np.ndarray) -> None:
        self._ask("write_recurrent", slot, data)

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def close(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is None:
                return
            connection.close()
            self._process.join(END_S)
            if self._process.is_alive():
                self._process.kill()

    def _ask(self, name: str, *arguments: Any) -> Any:
        with self._lock:
            try:
                if self._connection is None:
                    self._start()
                self._connection.send((name, arguments))
                is_well, answer = self._connection.recv()
            except (EOFError, OSError):
                raise self._ended() from None
        if not is_well:
            raise answer
        return answer

    def _start(self) -> None:
        context = importlib.import_module("multiprocessing").get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=serve_stage, args=(theirs,), name=f"hfc-stage-{self.plan.name}", daemon=True
        )
        self._process.start()
        theirs.close()
        # not with the arguments: those of a child that dies at once are waited for for ever
        self._connection.send(self._opening)

    def _ended(self) -> HfcError:
        self._process.join(END_S)
        code, self._connection = self._process.exitcode, None
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return HfcError(f"stage {self.plan.name}: its process has ended ({how}); it is started again, empty")


def serve_stage(connection: Connection) -> None:
    """Load what the first message says, and answer until the other end is closed. What goes wrong in a call is its answer."""
    opening: Opening = connection.recv()
    model, slots = None, None
    while True:
        try:
            name, arguments = connection.recv()
        except (EOFError, OSError):
            break
        try:
            if model is None:
                model, slots = opening.load(*opening.arguments)
            if name == "sizes":
                answer = (slots.kv_bytes, slots.recurrent_bytes)
            else:
                assert name in (*OF_MODEL, *OF_SLOTS), name
                answer = getattr(model if name in OF_MODEL else slots, name)(*arguments)
            connection.send((True, answer))
        except HfcError as error:
            connection.send((False, error))
    if model is not None:
        model.close()
