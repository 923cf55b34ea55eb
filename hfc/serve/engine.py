"""The engine: one thread that drives a model for many clients, step by step."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable

import numpy as np

from hfc.base.diagnostics import HfcError
from hfc.runtime.executor import Loaded
from hfc.runtime.generate import SamplesItself
from hfc.runtime.near import NearCopies
from hfc.runtime.slots import SlotStates, slot_states, use_from_this_thread
from hfc.runtime.speculate.speculator import Speculation
from hfc.serve.drafting import Drafting, flushed
from hfc.serve.job import Logprob
from hfc.serve.lanes import Lanes
from hfc.serve.metrics import Metrics
from hfc.serve.prefix import PrefixCache
from hfc.serve.scheduler import Limits, Scheduler, Work, make_step
from hfc.serve.sequence import Phase, Sequence
from hfc.serve.stream import Bell
from hfc.step import DECODE_ROWS, Segment

LAST_HIDDEN = "last_hidden"  # the tap that embeddings read
IDLE_S = 0.5  # how often an idle engine looks at deadlines of what waits or is paused


class QueueFull(Exception):
    """More sequences wait than the limits allow. retry_after_s: when a slot should be free."""

    def __init__(self, retry_after_s: int):
        super().__init__("too many requests wait")
        self.retry_after_s = retry_after_s


class Closed(Exception):
    """The engine takes no more work: it drains, or its device failed."""


class Engine:
    """Runs steps while there is work. `submit`, `cancel` and `close` may be called from any thread."""

    def __init__(
        self, model: Loaded, limits: Limits, cache_bytes: int, metrics: Metrics, snapshot_every: int = 512,
        states: SlotStates | None = None, device_cache_bytes: int = 0, speculation: Speculation | None = None,
    ):  # fmt: skip
        """cache_bytes, device_cache_bytes: of the prefix cache in host memory, and before that in a GPU's.

        speculation: None decodes plainly."""
        self.model, self.limits, self.metrics = model, limits, metrics
        self._on_device = isinstance(model, SamplesItself)  # who chooses; asking a protocol takes microseconds
        states = states or slot_states(model)
        self.cache = PrefixCache(
            states, cache_bytes, NearCopies(states, device_cache_bytes) if device_cache_bytes else None
        )
        self._lanes = Lanes(limits.slots, self.cache)
        self._drafting = Drafting(speculation, model, limits)
        self.failure: str | None = None
        self.step_began_s: float | None = None
        self._snapshot_every = snapshot_every
        self._scheduler = Scheduler(limits)
        self._inbox: deque[Sequence] = deque()
        self._changed = threading.Condition()
        self._is_closing = False
        self._bell = Bell()
        self._thread = threading.Thread(target=self._run, name="hfc-engine", daemon=True)
        self._thread.start()

    # --- any thread ---

    def submit(self, sequences: list[Sequence]) -> None:
        """Queue the sequences of one request: all or none. QueueFull, Closed."""
        with self._changed:
            if self._is_closing or self.failure:
                raise Closed(self.failure or "the server is shutting down")
            waiting = len(self._scheduler.waiting) + len(self._inbox)
            free = self.limits.slots - len(self._scheduler.running)
            if waiting + len(sequences) > self.limits.queue + max(0, free):
                raise QueueFull(self.retry_after_s(waiting))
            self._inbox.extend(sequences)
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
    def active(self) -> int:
        """Sequences that wait or run."""
        return len(self._inbox) + len(self._scheduler.waiting) + len(self._scheduler.running)

    def gauges(self) -> dict[str, float]:
        """What /metrics and the page show of this moment."""
        running = list(self._scheduler.running)
        return {
            "slots": self.limits.slots,
            "slots_busy": len(running),
            "queue": len(self._scheduler.waiting) + len(self._inbox),
            "queue_limit": self.limits.queue,
            "kv_tokens": self._lanes.held({s.slot: s.position for s in running}),
            "kv_capacity": self.limits.slots * self.limits.context,
            "cache_bytes": self.cache.bytes,
            "cache_device_bytes": self.cache.near_bytes,
            "cache_nodes": len(self.cache),
        }

    def stalled_s(self) -> float:
        """For how long the step that runs now has been running."""
        began = self.step_began_s
        return 0.0 if began is None else time.monotonic() - began

    def close(self, timeout_s: float = 30.0) -> None:
        """Cancel what runs and end the thread."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join(timeout_s)
        if not self._thread.is_alive():
            self.cache.close()

    # --- the engine's thread ---

    def _run(self) -> None:
        try:
            self._loop()
        finally:  # whatever happened, no reader may wait for ever
            self.failure = self.failure or (None if self._is_closing else "the engine has stopped; its log says why")
            self._end_all("cancelled" if self._is_closing else "error", self.failure or "the server is shutting down")
            self._bell.close()

    def _loop(self) -> None:
        use_from_this_thread(self.model)
        while True:
            with self._changed:
                self._take_inbox()
                if self._is_closing:
                    return
                if self._scheduler.is_idle:
                    self._changed.wait()
                    continue
            self._drop()
            self._admit()
            if not self._advance():
                with self._changed:
                    if not self._inbox and not self._is_closing:
                        self._changed.wait(IDLE_S)

    def _take_inbox(self) -> None:
        self._scheduler.waiting.extend(self._inbox)
        self._inbox.clear()

    def _drop(self) -> None:
        """End what was cancelled or is too late."""
        now, ended = time.monotonic(), []
        for sequence in [*self._scheduler.waiting, *self._scheduler.running]:
            if sequence.is_cancelled:
                sequence.finish("cancelled")
            elif sequence.job.deadline_s is not None and now > sequence.job.deadline_s:
                sequence.finish("timeout")
            if sequence.phase is Phase.DONE:
                self._release(sequence)
                ended.append(sequence.stream)
        self._bell.ring(ended)

    def _admit(self) -> None:
        while (sequence := self._scheduler.admissible()) is not None:
            slot, position = self._lanes.place(sequence, {s.slot for s in self._scheduler.running})
            sequence.usage.cached = position
            sequence.usage.timings["queue_s"] = time.monotonic() - sequence.submitted_s
            self._scheduler.admit(sequence, slot, position)
            self._drafting.begin(sequence)
            self.metrics.admitted(position, len(sequence.prompt))

    def _advance(self) -> bool:
        """A step for each group of the work; False when nobody can go on."""
        work = self._scheduler.plan()
        if not work:
            return False
        began = time.monotonic()
        self.step_began_s = began
        try:
            for group in self._groups(work):
                self._step(group)
                self._bell.ring(w.sequence.stream for w in group if w.outputs or w.sequence.phase is Phase.DONE)
        except HfcError as error:
            self.failure = error.message
            self._end_all("error", error.message)
        finally:
            self.step_began_s = None
        return True

    def _groups(self, work: list[Work]) -> list[list[Work]]:
        """What shares a step. A GPU adds in one order for at most DECODE_ROWS rows that decode and in another for prompts: apart,
        neither depends on its neighbours. So are tokens that it chooses and those that are chosen here."""
        if not self._on_device:
            return [work]
        groups = []
        for needs_logits in (True, False):
            mine = [w for w in work if w.sequence.needs_logits == needs_logits]
            decoding = [w for w in mine if w.sequence.phase is Phase.DECODE]
            groups += [decoding[at : at + DECODE_ROWS] for at in range(0, len(decoding), DECODE_ROWS)]
            groups.append([w for w in mine if w.sequence.phase is not Phase.DECODE])
        return [group for group in groups if group]

    def _step(self, work: list[Work]) -> None:
        began = time.monotonic()
        work = self._drafting.extend([part for part in work if self._limit(part)])
        if not work:
            return
        step, chosen, logits = self._drafting.run(make_step(work), work)
        row, brought = 0, []
        for part, segment in zip(work, step.segments):
            rows = slice(row, row := row + part.outputs)
            if part.sequence.phase is Phase.DECODE:
                drafts = step.tokens[segment.row + 1 : segment.row + segment.rows].tolist()
                brought.append(
                    self._accept(part, drafts, chosen and chosen[rows], logits if logits is None else logits[rows])
                )
                continue
            self._moved(part)
            if part.outputs:
                self._choose(part, chosen and chosen[row - 1], logits if logits is None else logits[rows])
            if part.sequence.job.pool:
                self._pool(part.sequence, segment)
        seconds = time.monotonic() - began
        self._drafting.settle(work, brought, seconds)
        self.metrics.stepped(seconds, len(step.tokens))

    def _limit(self, part: Work) -> bool:
        """Say what a device may choose; False where a grammar fails, which ends its sequence alone."""
        try:
            if self._on_device and part.outputs and not part.sequence.needs_logits:
                part.sequence.limit(self.model.vocab)
        except HfcError as error:
            self._fail(part.sequence, error)
            return False
        return True

    def _pool(self, sequence: Sequence, segment: Segment) -> None:
        """Take the hidden states of rows that ran: all for a mean, else the prompt's last."""
        is_end = sequence.position == len(sequence.prompt)
        count = segment.rows if sequence.job.pool == "mean" else int(is_end)
        if count:
            sequence.put_hidden(self.model.tap(LAST_HIDDEN, segment.row + segment.rows - count, count))
        if is_end:
            self._release(sequence)

    def _moved(self, part: Work) -> None:
        """The state of a prompt has advanced; keep it where another prompt may branch off."""
        sequence = part.sequence
        before, sequence.position = sequence.position, sequence.position + part.rows
        self._drafting.read(sequence, sequence.prompt[before : sequence.position])
        self.metrics.prefilled(part.rows)
        at_mark = bool(sequence.marks) and sequence.position == sequence.marks[0]
        if sequence.position == len(sequence.prompt) or at_mark:
            self._keep(sequence)
        else:
            self._keep_now_and_then(sequence, before)

    def _accept(self, part: Work, drafts: list[int], chosen: list[int] | None, logits: np.ndarray | None) -> int:
        """Take the tokens of a sequence that decodes, as far as its drafts were right: how many they are. See speculate/accept."""
        sequence, before, count = part.sequence, part.sequence.position, 0
        for draft in (*drafts, None):
            try:
                token, logprob = self._chosen(
                    sequence, chosen and chosen[count], logits if logits is None else logits[count]
                )
            except HfcError as error:  # logits that are not numbers concern this sequence alone
                self._fail(sequence, error)
                break
            count += 1
            sequence.position, sequence.waiting = before + count, count if drafts else 0
            self._drafting.read(sequence, (token,))
            self._drafting.count(sequence, len(drafts), count)
            self._take(sequence, token, logprob)
            if token != draft or sequence.phase is Phase.DONE:
                break
        if drafts and count:
            self.metrics.drafted(len(drafts), count - 1)
        if sequence.phase is not Phase.DONE:
            self._keep_now_and_then(sequence, before)
        return count

    def _keep_now_and_then(self, sequence: Sequence, before: int) -> None:
        """Recurrent state has no way back: keep some of it on the way. before: the position before the step."""
        if self.cache.is_recurrent and sequence.position // self._snapshot_every > before // self._snapshot_every:
            self._keep(sequence)

    def _keep(self, sequence: Sequence) -> None:
        """Into the cache with a slot's state, which stands exactly behind `history`."""
        if sequence.job.pool:  # a text that is embedded has no next turn
            return
        self._commit(sequence)
        self.cache.store(sequence.history, sequence.slot)

    def _commit(self, sequence: Sequence) -> None:
        """Apply what waits in the slot's journal: a slot that is read or left holds its state as a whole."""
        if sequence.waiting and self.cache.is_recurrent:
            self.model.forward(flushed(sequence))
        sequence.waiting = 0

    def _choose(self, part: Work, chosen: int | None, logits: np.ndarray | None) -> None:
        """The first token behind a prompt, chosen by the device or from f32 logits [outputs, vocab]."""
        sequence = part.sequence
        try:
            if sequence.job.prompt_logprobs:
                sequence.put_prompt_logprobs(logits, sequence.position - part.rows)
                if sequence.position < len(sequence.prompt):
                    return
            if sequence.job.max_tokens == 0:
                sequence.phase = Phase.DECODE
                sequence.finish("length")
                self._release(sequence)
                return
            token, logprob = self._chosen(sequence, chosen, logits if logits is None else logits[-1])
        except HfcError as error:
            self._fail(sequence, error)
            return
        self._drafting.read(sequence, (token,))
        self._take(sequence, token, logprob)

    def _chosen(self, sequence: Sequence, chosen: int | None, logits: np.ndarray | None) -> tuple[int, Logprob | None]:
        """The next token, as the device chose it or from f32 logits [vocab]; HfcError for logits that are not numbers."""
        return sequence.choose(logits) if chosen is None else (sequence.sampler.accept(chosen), None)

    def _fail(self, sequence: Sequence, error: HfcError) -> None:
        sequence.finish("error", message=error.message)
        self._release(sequence)

    def _take(self, sequence: Sequence, token: int, logprob: Logprob | None) -> None:
        now = time.monotonic()
        if sequence.phase is Phase.PREFILL:
            sequence.phase = Phase.DECODE
            sequence.usage.timings["first_token_s"] = now - sequence.submitted_s
            self.metrics.first_token(now - sequence.submitted_s)
        else:
            self.metrics.next_token(now - sequence.last_token_s)
        sequence.last_token_s = now
        if sequence.take(token, logprob, self.limits.context):
            self._release(sequence)

    def _release(self, sequence: Sequence) -> None:
        """Free the slot; what it holds stays there and in the cache for the next turn."""
        if sequence.slot is not None:
            if sequence.position and not self.failure:
                self._commit(sequence)
                self._keep(sequence)
            self._lanes.leave(sequence.slot, sequence.history)
            sequence.usage.timings["total_s"] = time.monotonic() - sequence.submitted_s
            self.metrics.finished(time.monotonic() - sequence.submitted_s)
        self._scheduler.remove(sequence)

    def _end_all(self, reason: str, message: str) -> None:
        with self._changed:
            self._take_inbox()
        ended = [*self._scheduler.waiting, *self._scheduler.running]
        for sequence in ended:
            sequence.finish(reason, message=message)
            self._scheduler.remove(sequence)
        self._bell.ring(s.stream for s in ended)
