"""Steps of a model for many sequences: who runs, what a step brings each of them, and what is kept of their state.

What goes wrong in one sequence's own work (its guides, sampler, text, drafter) ends that sequence. Whatever else goes wrong comes
out of `advance`: the state that sequences share may then be damaged, and the engine starts again with another Stepper.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import DeviceLost
from hfc.runtime.decoding.decoder import Decoder, StepResult
from hfc.runtime.decoding.model import Begun
from hfc.runtime.decoding.state import Phase, Work, flushed
from hfc.runtime.executor import Loaded
from hfc.runtime.pipeline.model import StagedModel
from hfc.runtime.speculate.speculator import Speculation
from hfc.serve.job import Logprob
from hfc.serve.metrics import Metrics
from hfc.serve.prefix import PrefixCache
from hfc.serve.prefix_tree import BLOCK
from hfc.serve.scheduler import Limits, Scheduler
from hfc.serve.sequence import Sequence
from hfc.serve.sharing import NEAR, Sharing, same_vector
from hfc.serve.slot_table import SlotTable
from hfc.serve.stream import Stream
from hfc.step import DECODE_ROWS

LAST_HIDDEN = "last_hidden"  # the tap that embeddings read
KEPT_EVERY = 2 * BLOCK  # tokens of a prompt, after which its keys and values are copied while others decode


@dataclass(frozen=True)
class Underway:
    """A step on its way, and since when. counts: see _counts; None where steps are timed in `advance`."""

    work: list[Work]
    counts: tuple[int, int] | None
    begun: Begun
    began_s: float


def _counts(work: list[Work]) -> tuple[int, int]:
    """Sequences that decode, and rows of prompts."""
    prompts = [part.rows for part in work if part.sequence.phase is not Phase.DECODE]
    return len(work) - len(prompts), sum(prompts)


class Stepper:
    """Used by the engine's thread only. ring: wakes the readers of some streams."""

    def __init__(
        self, model: Loaded, limits: Limits, metrics: Metrics, cache: PrefixCache, snapshot_every: int,
        speculation: Speculation | None, ring: Callable[[Iterable[Stream]], None],
    ):  # fmt: skip
        self.model, self.limits, self.metrics, self.cache = model, limits, metrics, cache
        self.scheduler = Scheduler(limits)
        self.slot_table = SlotTable(limits.slots, cache)
        self._sharing = Sharing(cache, self._keep)
        self.steps, self._ended_s = 0, 0.0  # that ended well; when the latest did
        rows = min(limits.max_rows, limits.max_outputs)
        self._decoder = Decoder(model, speculation, rows, limits.context, keeps_prompts=True, own=self._own)
        self._on_device = self._decoder.on_device  # who chooses
        self._flights: deque[Underway] = deque()  # steps on their way, the oldest first
        self._snapshot_every = snapshot_every
        self._ring = ring

    def drop(self) -> None:
        """End what was cancelled or is too late."""
        now, ended, most_s = time.monotonic(), [], self.limits.max_wait_s
        busy = self._busy()
        for sequence in [*self.scheduler.waiting, *self.scheduler.running]:
            if sequence in busy:  # when its step has ended
                continue
            if sequence.is_cancelled:
                self._own(sequence, sequence.finish, "cancelled")
            elif sequence.job.deadline_s is not None and now > sequence.job.deadline_s:
                self._own(sequence, sequence.finish, "timeout")
            elif most_s is not None and sequence.slot is None and now - sequence.submitted_s > most_s:
                self._own(sequence, sequence.finish, "overloaded")
            if sequence.phase is Phase.DONE:
                ended.append(sequence.stream)
                self._release(sequence)
        self._ring(ended)

    def admit(self) -> None:
        """Give free slots to those that wait."""
        while (sequence := self.scheduler.admissible(self._sharing.is_held)) is not None:
            slot, position = self.slot_table.place(sequence, {s.slot for s in self.scheduler.running})
            sequence.usage.cached = position
            sequence.usage.timings["queue_s"] = time.monotonic() - sequence.submitted_s
            self.scheduler.admit(sequence, slot, position)
            # keys and values are of use up to any position; recurrent state is at hand already near where it was put back
            sequence.keep_marks(position + NEAR if self.cache.is_recurrent else len(sequence.prompt))
            self.metrics.admitted(position, len(sequence.prompt))
            self._own(sequence, self._decoder.begin, sequence)
            if sequence.job.tells_progress:
                self._own(sequence, sequence.put_progress)
                self._ring([sequence.stream])
            if sequence.phase is Phase.DONE:
                self._release(sequence)
                self._ring([sequence.stream])

    def advance(self) -> bool:
        """Begin a step for each group of the work, and end those that others must wait for; False when nobody can go on."""
        is_alone = self._decoder.depth == 1
        if is_alone and self._flights:
            self._go_on()
            return True
        work = self.scheduler.plan(self._busy())
        counts, began = _counts(work) if is_alone else None, time.monotonic()
        for group in self._groups(work):
            self._land(self._decoder.depth - 1)
            self._begin(group)
            if is_alone and self._flights and self._flights[0].counts:
                return True  # the next step may follow it
            if is_alone or any(part.sequence.job.pool for part in group):
                self._land(0)  # a tap is read before the next step
        if work and counts is not None:
            self.scheduler.pace.stepped(*counts, time.monotonic() - began)
        if not work and self._flights:
            self._land(len(self._flights) - 1)
            return True
        return bool(work)

    def abandon(self) -> None:
        """Wait until nothing is on its way, whatever became of it."""
        if isinstance(self.model, StagedModel):
            self.model.abandon()
        for flight in self._flights:
            with suppress(BaseException):
                flight.begun.result()
        self._flights.clear()

    def _go_on(self) -> None:
        """Have the next step of the same sequences wait on the device, if it needs nothing of the host, then end the one that runs."""
        work = self._flights[0].work
        can_follow = self._is_steady(work)
        if can_follow:
            began, work = time.monotonic(), self._decoder.extend(work)
            self._flights.append(Underway(work, _counts(work), self._decoder.lead(work, follows=True), began))
        self._land(int(can_follow))

    def _is_steady(self, work: list[Work]) -> bool:
        """Whether the next step is of the same sequences, whatever this one brings, and no state is kept in between."""
        sequences, scheduler = [part.sequence for part in work], self.scheduler
        return (
            self._decoder.can_lead(work)
            and len(sequences) == len(scheduler.running)
            and (not scheduler.waiting or len(sequences) == self.limits.slots)
            and not any(s.is_leaving or s.stream.is_full for s in sequences)
            and not (self.cache.is_recurrent and any(self._is_page(s.position, s.position + 1) for s in sequences))
        )

    def _busy(self) -> set[Sequence]:
        return {part.sequence for flight in self._flights for part in flight.work}

    def _groups(self, work: list[Work]) -> list[list[Work]]:
        """What shares a step. A GPU adds in one order for at most DECODE_ROWS rows that decode and in another for prompts: apart,
        neither depends on its neighbours. So are tokens that it chooses and those that are chosen here. The stages of a pipeline share
        the sequences out among them."""
        depth = self._decoder.depth
        groups = self._alike(work) if self._on_device else [work] if work else []
        if depth == 1:
            return groups
        most = -(-len(self.scheduler.running) // depth)
        return [group[at : at + most] for group in groups for at in range(0, len(group), most)]

    def _alike(self, work: list[Work]) -> list[list[Work]]:
        kinds: dict[tuple[bool, bool], list[Work]] = {(n, d): [] for n in (True, False) for d in (True, False)}
        for part in work:
            kinds[part.sequence.needs_logits, part.sequence.phase is Phase.DECODE].append(part)
        groups = []
        for (_, decodes), alike in kinds.items():
            most = DECODE_ROWS if decodes else len(alike) or 1
            groups += [alike[at : at + most] for at in range(0, len(alike), most)]
        return groups

    def _begin(self, work: list[Work]) -> None:
        began = time.monotonic()
        try:
            extended = self._decoder.extend([part for part in work if self._limit(part)])
            if extended:
                leads = self._decoder.depth == 1 and self._is_steady(extended)
                counts = _counts(extended) if leads or self._decoder.depth > 1 else None
                start = self._decoder.lead if leads else self._decoder.start
                self._flights.append(Underway(extended, counts, start(extended), began))
        finally:
            self._ring(part.sequence.stream for part in work if part.sequence.phase is Phase.DONE)

    def _land(self, most: int) -> None:
        """End steps, the oldest first, until at most `most` are on their way."""
        while len(self._flights) > most:
            flight = self._flights.popleft()
            try:
                self._end(flight)
            finally:
                done = [
                    w
                    for w in flight.work
                    if w.outputs or w.sequence.phase is Phase.DONE or w.sequence.job.tells_progress
                ]
                self._ring(w.sequence.stream for w in done)

    def _end(self, flight: Underway) -> None:
        work = flight.work
        step, results = self._decoder.finish(work, flight.begun)
        brought = []
        for result in results:
            sequence = result.part.sequence
            if sequence.phase is Phase.DONE:
                self._decoder.surplus(sequence)
                self._release(sequence)
            elif sequence.phase is Phase.DECODE:
                brought.append(self._decoded(result))
            else:
                self._prefilled(result)
        now = time.monotonic()
        seconds, self._ended_s = now - max(flight.began_s, self._ended_s), now
        self._decoder.settle(work, brought, seconds)
        self.metrics.stepped(seconds, len(step.tokens))
        self.steps += 1
        if flight.counts is not None:
            self.scheduler.pace.stepped(*flight.counts, seconds)

    def _limit(self, part: Work) -> bool:
        """Say what a device may choose; False where that fails, which ends the sequence."""
        sequence = part.sequence
        if self._on_device and part.outputs and sequence.is_guided and not sequence.needs_logits:
            self._own(sequence, sequence.limit, self.model.vocab)
            if sequence.phase is Phase.DONE:
                self._release(sequence)
                return False
        return True

    def _decoded(self, result: StepResult) -> int:
        """Take what a step brought a sequence that decodes: how many tokens, 0 if it failed."""
        sequence, before = result.part.sequence, result.part.sequence.position
        count = self._own(sequence, self._accept, result) or 0
        if result.drafts and count:
            self.metrics.drafted(len(result.drafts), count - 1)
        if sequence.phase is Phase.DONE:
            if sequence not in self._busy():  # else when that step has ended
                self._release(sequence)
        elif self.cache.is_recurrent:
            self._keep_now_and_then(sequence, before)
        return count

    def _prefilled(self, result: StepResult) -> None:
        """The state of a prompt has advanced: keep it where another prompt may branch off, and take the first token after it."""
        part, segment = result.part, result.segment
        sequence = part.sequence
        before, sequence.position = sequence.position, sequence.position + part.rows
        self.metrics.prefilled(part.rows)
        if sequence.job.tells_progress:
            self._own(sequence, sequence.put_progress)
        self._own(sequence, self._decoder.read, sequence, sequence.prompt[before : sequence.position])
        is_end = sequence.position == len(sequence.prompt)
        if (is_end and not self._is_kept_near(sequence)) or (sequence.marks and sequence.position == sequence.marks[0]):
            self._keep(sequence)
        elif self.cache.is_recurrent:
            self._keep_now_and_then(sequence, before)
        elif len(self.scheduler.running) > 1 and not sequence.job.pool:
            self._keep_blocks(sequence, before)
        if sequence.job.pool:
            count = segment.rows if sequence.job.pool == "mean" else int(is_end)
            if count:  # all rows for a mean, else the prompt's last
                hidden = self.model.tap(LAST_HIDDEN, segment.row + segment.rows - count, count)
                self._own(sequence, sequence.put_hidden, hidden)
                self._give_vector(sequence)
        elif part.outputs:
            self._own(sequence, self._choose, result)
        if sequence.phase is Phase.DONE:
            self._release(sequence)

    # --- one sequence's own work ---

    def _own(self, sequence: Sequence, work: Callable, *arguments):
        """The one place that catches everything: what one request makes its own work raise, a panic of a native library too, ends its
        sequence and no other. Nothing that sequences share is touched inside."""
        if sequence.phase is Phase.DONE:
            return None
        try:
            return work(*arguments)
        except DeviceLost:
            raise
        except BaseException as error:
            self.metrics.failed()
            sequence.fail(error)

    def _accept(self, result: StepResult) -> int:
        """Take the tokens of a sequence that decodes: how many they are."""
        return self._decoder.accept(result, self._accepted if result.drafts else self._take)

    def _accepted(self, result: StepResult, token: int, logprob: Logprob | None, number: int) -> None:
        """The first, second, ... token of a step with drafts: the answer may end with it."""
        usage, speculator = result.part.sequence.usage, result.part.sequence.speculator
        if number == 1:
            usage.drafting = speculator.track.reason if usage.cycles else speculator.choice.offer.kind
            usage.cycles, usage.drafted = usage.cycles + 1, usage.drafted + len(result.drafts)
        else:
            usage.accepted += 1
        self._take(result, token, logprob)

    def _choose(self, result: StepResult) -> None:
        """The first token after a prompt."""
        sequence = result.part.sequence
        if sequence.job.prompt_logprobs:
            sequence.put_prompt_logprobs(result.logits, sequence.position - result.part.rows)
            if sequence.position < len(sequence.prompt):
                return
        if sequence.job.max_tokens == 0:
            sequence.finish("length")
            return
        token, logprob = result.choose(-1)
        self._decoder.read(sequence, (token,))
        self._take(result, token, logprob)

    def _take(self, result: StepResult, token: int, logprob: Logprob | None, _number: int = 1) -> None:
        sequence, now = result.part.sequence, time.monotonic()
        if sequence.phase is Phase.PREFILL:
            sequence.phase = Phase.DECODE
            sequence.usage.timings["first_token_s"] = now - sequence.submitted_s
            self.metrics.first_token(now - sequence.submitted_s)
        else:
            self.metrics.next_token(now - sequence.last_token_s)
        sequence.last_token_s = now
        sequence.take(token, logprob, self.limits.context)

    # --- what sequences share ---

    def _keep_now_and_then(self, sequence: Sequence, before: int) -> None:
        """Recurrent state has no way back: keep some of it on the way, the farther apart the longer that is. before: the position before
        the step."""
        if self._is_page(before, sequence.position):
            self._keep(sequence, is_page=True)

    def _is_page(self, before: int, position: int) -> bool:
        every = self._snapshot_every
        while 8 * every <= position:
            every *= 2
        return position // every > before // every

    def _keep_blocks(self, sequence: Sequence, before: int) -> None:
        """Keys and values of a prompt on its way: copied all at once at its end, they hold up whoever decodes beside it, for 0.5 s after
        6,000 tokens of SmolLM2. The farther apart the longer the text: what is kept already is walked through each time."""
        every = KEPT_EVERY
        while 16 * every <= sequence.position:
            every *= 2
        if sequence.position // every > before // every and not sequence.is_damaged:
            self.cache.store(sequence.history[: sequence.position // BLOCK * BLOCK], sequence.slot)

    def _is_kept_near(self, sequence: Sequence) -> bool:
        """Whether recurrent state was kept just before the end of the prompt: nobody continues after its last token but this answer."""
        end = len(sequence.prompt)
        return self.cache.is_recurrent and any(0 < end - mark <= NEAR for mark in sequence.job.marks)

    def _give_vector(self, sequence: Sequence) -> None:
        """To those that wait to have the same text embedded."""
        if sequence.pooled is None:
            return
        same = [other for other in self.scheduler.waiting if same_vector(sequence, other) and not other.is_cancelled]
        for other in same:
            other.usage.cached = len(other.prompt)
            self.metrics.admitted(len(other.prompt), len(other.prompt))
            self._own(other, other.take_vector, sequence.pooled)
            self._release(other)
        self._ring(other.stream for other in same)

    def _keep(self, sequence: Sequence, is_page: bool = False, is_end: bool = False) -> None:
        """Into the cache with a slot's state, which stands exactly after `history`. is_page: on the way through a long text.  is_end: of
        the answer."""
        has_next = not sequence.job.pool or sequence.is_awaited  # a text that is embedded has no next turn
        if sequence.is_damaged or not has_next:
            return
        self._commit(sequence)
        self.cache.store(sequence.history, sequence.slot, is_page, is_end)

    def _commit(self, sequence: Sequence) -> None:
        """Apply what waits in the slot's journal: a slot that is read or left holds its state as a whole."""
        if sequence.waiting and self.cache.is_recurrent:
            self.model.forward(flushed(sequence))
        sequence.waiting = 0

    def _release(self, sequence: Sequence) -> None:
        """Free the slot; what it holds stays there and in the cache for the next turn."""
        if sequence.slot is not None:
            if sequence.position and not sequence.is_damaged:
                self._commit(sequence)
                self._keep(sequence, is_end=True)
            self.slot_table.leave(sequence.slot, np.empty(0, np.int32) if sequence.is_damaged else sequence.history)
            sequence.usage.timings["total_s"] = time.monotonic() - sequence.submitted_s
            self.metrics.finished(time.monotonic() - sequence.submitted_s)
        self.scheduler.remove(sequence)
