"""The engine: one thread that drives a model for many clients, and starts again by itself when a step fails."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable

from hfc.base.diagnostics import DeviceLost, HfcError
from hfc.runtime.executor import Loaded
from hfc.runtime.near import NearCopies
from hfc.runtime.slots import SlotStates, slot_states, use_from_this_thread
from hfc.runtime.speculate.speculator import Speculation
from hfc.serve.cache_files import CacheFiles
from hfc.serve.job import Finish, check_job
from hfc.serve.metrics import Metrics
from hfc.serve.prefix import PrefixCache
from hfc.serve.scheduler import Limits
from hfc.serve.sequence import Phase, Sequence
from hfc.serve.stepper import Stepper
from hfc.serve.stream import Bell

LOG = logging.getLogger("hfc.serve")
IDLE_S = 0.5  # how often an idle engine looks at deadlines of what waits or is paused
MOST_FRUITLESS = 3  # failures without a step that ended well between them: starting again is of no use


class QueueFull(Exception):
    """More sequences wait than the limits allow. retry_after_s: when a slot should be free."""

    def __init__(self, retry_after_s: int):
        super().__init__("too many requests wait")
        self.retry_after_s = retry_after_s


class Closed(Exception):
    """The engine takes no more work: it drains, or its device failed."""


class Engine:
    """Runs steps while there is work. `submit`, `cancel` and `close` may be called from any thread.

    failure: why it has ended for good, None while it lives.  restarts, last_error: how often it began again after a step that
    failed, and what was wrong the last time; is_restarting: it is about to."""

    def __init__(
        self, model: Loaded, limits: Limits, cache_bytes: int, metrics: Metrics, snapshot_every: int = 512,
        states: SlotStates | None = None, device_cache_bytes: int = 0, speculation: Speculation | None = None,
        cache_files: CacheFiles | None = None,
    ):  # fmt: skip
        """cache_bytes, device_cache_bytes: of the prefix cache in host memory, and before that in a GPU's; cache_files: what of it outlives
        this process.

        speculation: None decodes plainly."""
        self.model, self.limits, self.metrics = model, limits, metrics
        self.failure: str | None = None
        self.last_error: str | None = None
        self.restarts, self.is_restarting = 0, False
        self.step_began_s: float | None = None
        self._states = states or slot_states(model)
        self._cache_bytes, self._device_cache_bytes = cache_bytes, device_cache_bytes
        self._cache_files = cache_files
        self._snapshot_every, self._speculation = snapshot_every, speculation
        self._bell = Bell()
        self._stepper = self._new_stepper(speculation)
        self._fruitless = 0
        self._inbox: deque[Sequence] = deque()
        self._alive: dict[int, Sequence] = {}  # submitted, and its reader not yet told of the end
        self._changed = threading.Condition()
        self._is_closing = False
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="hfc-engine", daemon=True)
        self._thread.start()

    # --- any thread ---

    def submit(self, sequences: list[Sequence]) -> None:
        """Queue the sequences of one request: all or none. HfcError for a job that cannot run, QueueFull, Closed."""
        for sequence in sequences:
            check_job(sequence.job, self.model.vocab, self.limits.context)
        with self._changed:
            if self._is_closing or self.failure:
                raise Closed(self.failure or "the server is shutting down")
            scheduler = self._stepper.scheduler
            waiting = len(scheduler.waiting) + len(self._inbox)
            free = self.limits.slots - len(scheduler.running)
            if waiting + len(sequences) > self.limits.queue + max(0, free):
                raise QueueFull(self.retry_after_s(waiting))
            self._inbox.extend(sequences)
            self._alive.update((s.number, s) for s in sequences)
            self._changed.notify()

    def cancel(self, sequences: Iterable[Sequence]) -> None:
        """The reader is gone: free the slots before the next step."""
        with self._changed:
            for sequence in sequences:
                sequence.is_cancelled = True
            self._changed.notify()

    def resume(self) -> None:
        """A slow reader has caught up."""
        with self._changed:
            self._changed.notify()

    def retry_after_s(self, waiting: int) -> int:
        return max(1, min(60, round(self.metrics.mean_request_s() * (waiting + 1) / self.limits.slots)))

    @property
    def cache(self) -> PrefixCache:
        return self._stepper.cache

    @property
    def active(self) -> int:
        """Sequences that wait or run."""
        scheduler = self._stepper.scheduler
        return len(self._inbox) + len(scheduler.waiting) + len(scheduler.running)

    def running(self) -> list[Sequence]:
        """Those that have a slot at this moment."""
        return list(self._stepper.scheduler.running)

    def gauges(self) -> dict[str, float]:
        """What /metrics and the page show of this moment."""
        stepper = self._stepper
        running = list(stepper.scheduler.running)
        return {
            "slots": self.limits.slots,
            "slots_busy": len(running),
            "queue": len(stepper.scheduler.waiting) + len(self._inbox),
            "queue_limit": self.limits.queue,
            "kv_tokens": stepper.slot_table.held({s.slot: s.position for s in running}),
            "kv_capacity": self.limits.slots * self.limits.context,
            "cache_bytes": stepper.cache.bytes,
            "cache_device_bytes": stepper.cache.near_bytes,
            "cache_disk_bytes": stepper.cache.disk_bytes,
            "cache_nodes": len(stepper.cache),
        }

    def stalled_s(self) -> float:
        """For how long the step that runs now has been running."""
        began = self.step_began_s
        return 0.0 if began is None else time.monotonic() - began

    def close(self, timeout_s: float = 30.0) -> None:
        """Cancel what runs and end the thread. Once or several times."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join(timeout_s)
        if not self._thread.is_alive() and not self._is_closed:
            self._is_closed = True
            self.cache.close()

    # --- the engine's thread ---

    def _run(self) -> None:
        """Step until told to close. Whatever a step raises ends here: nobody may wait for ever, and others are served again."""
        while True:
            try:
                use_from_this_thread(self.model)
                self._loop()
                self._end(Finish("cancelled", message="the server is shutting down"))
                break
            except BaseException as error:  # of any type: this thread is the service
                if not self._restarts_after(error):
                    break
        self._bell.close()

    def _loop(self) -> None:
        stepper = self._stepper
        while True:
            with self._changed:
                stepper.scheduler.waiting.extend(self._inbox)
                self._inbox.clear()
                if self._is_closing:
                    return
                if stepper.scheduler.is_idle:
                    self._alive.clear()
                    self._changed.wait()
                    continue
            stepper.drop()
            stepper.admit()
            if not self._advance(stepper):
                with self._changed:
                    if not self._inbox and not self._is_closing:
                        self._changed.wait(IDLE_S)
            if len(self._alive) > 2 * self.active:
                self._forget_ended()

    def _advance(self, stepper: Stepper) -> bool:
        self.step_began_s = time.monotonic()
        try:
            return stepper.advance()
        finally:
            self.step_began_s = None

    def _forget_ended(self) -> None:
        """Of those whose readers have been told."""
        with self._changed:
            self._alive = {number: s for number, s in self._alive.items() if s.phase is not Phase.DONE}

    def _restarts_after(self, error: BaseException) -> bool:
        """End what ran, and go on with an empty state and the same weights; False where that is of no use."""
        LOG.error("a step failed", exc_info=error)
        self.is_restarting = True
        self.last_error = error.message if isinstance(error, HfcError) else f"{type(error).__name__} in a step"
        self._fruitless = 1 if self._stepper.steps else self._fruitless + 1
        try:
            if isinstance(error, DeviceLost) or self._fruitless >= MOST_FRUITLESS:
                self._die()
                return False
            waiting = self._end(Finish("error", message=f"{self.last_error}; ask again"), spares_waiting=True)
            self._stepper.abandon()
            self._stepper.cache.close()
            self._speculation = self._speculation and self._speculation.fresh()
            stepper = self._new_stepper(self._speculation)
            stepper.scheduler.waiting.extend(waiting)
            self._stepper = stepper
            self.restarts += 1
            self.metrics.restarted()
            return True
        except BaseException as second:  # a device that cannot even be cleaned up
            LOG.error("the engine cannot start again", exc_info=second)
            self._die()
            return False
        finally:
            self.is_restarting = False

    def _die(self) -> None:
        """503: another server may answer what was asked here."""
        self.failure = self.last_error or "the engine has stopped"
        self._end(Finish("error", message=self.failure, status=503))

    def _end(self, finish: Finish, spares_waiting: bool = False) -> list[Sequence]:
        """Tell every reader; those that have no slot yet may go on waiting: which they are, in order of arrival."""
        with self._changed:
            self._inbox.clear()
            alive = [self._alive[number] for number in sorted(self._alive)]
            waiting = [s for s in alive if spares_waiting and s.phase is Phase.WAITING and s.slot is None]
            self._alive = {s.number: s for s in waiting}
        ended = [s for s in alive if s not in waiting]
        for sequence in ended:
            sequence.abort(finish)
        self._stepper.scheduler.running.clear()
        self._stepper.scheduler.waiting.clear()
        self._bell.ring(s.stream for s in ended)
        return waiting

    def _new_stepper(self, speculation: Speculation | None) -> Stepper:
        near = NearCopies(self._states, self._device_cache_bytes) if self._device_cache_bytes else None
        cache = PrefixCache(self._states, self._cache_bytes, near, self._cache_files, self.metrics.cache)
        return Stepper(self.model, self.limits, self.metrics, cache, self._snapshot_every, speculation, self._bell.ring)
