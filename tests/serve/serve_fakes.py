"""A model whose answers depend on every token of its state: a wrong slot, position or restored byte changes the text."""

from __future__ import annotations

import asyncio
import threading
import zlib
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
from fake_driver import FakeDriver

from hfc.plan import StateRef
from hfc.pointer import Pointer
from hfc.runtime.sampler import Sampling
from hfc.runtime.tokenizer import Tokenizer
from hfc.runtime.vocabulary import Vocabulary
from hfc.serve.engine import Engine
from hfc.serve.job import Finish, Job, Piece
from hfc.serve.metrics import Metrics
from hfc.serve.scheduler import Limits
from hfc.serve.sequence import Sequence
from hfc.serve.served import Served
from hfc.serve.stream import Stream

VOCAB, EOS = 260, 256
GREEDY = Sampling(temperature=0)


class Bytes:
    """A tokenizer core whose tokens are bytes; "<eos>" is a control token."""

    def encode(self, text, parse_special):
        if not parse_special:
            return list(text.encode())
        parts = text.split("<eos>")
        return [t for i, part in enumerate(parts) for t in ([EOS] if i else []) + list(part.encode())]

    def bytes_of(self, token):
        return bytes([token]) if token < 256 else b""


TOKENIZER = Tokenizer(Bytes(), VOCAB, {EOS: "<eos>"}, eos=EOS, stop_ids=frozenset({EOS}))
TEMPLATE = "{% for m in messages %}{{ m.role }}:{{ m.content }}<eos>{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"


class FakeModel:
    """Keys: the token of every position. Memory: a checksum of all tokens. Logits follow from both.

    `gate`, when given, is waited for before each step, so that a test decides when steps run.
    """

    def __init__(
        self, slots=3, context=256, max_rows=16, max_outputs=4, recurrent=False, gate: threading.Semaphore | None = None
    ):
        self.vocab, self.context, self.slots = VOCAB, context, slots
        self.max_rows, self.max_outputs = max_rows, max_outputs
        self.keys = np.full((slots, context), 999, np.int32)
        self.memory = np.zeros((slots, 4), np.uint8) if recurrent else None
        self.gate, self.steps, self.fail, self.is_closed = gate, [], None, False
        self.plan = SimpleNamespace(taps={"last_hidden": "h"}, library=None)
        self._hidden = np.empty((0, 4), np.float32)
        self._after: dict[int, list[np.ndarray]] = {}  # slot -> its memory after each row that waits
        self.verified = 0

    def forward(self, step):
        if self.gate is not None:
            assert self.gate.acquire(timeout=10), "no test opened the gate"
        if self.fail is not None:
            raise self.fail
        assert len(step.tokens) <= self.max_rows and len(step.output_rows) <= self.max_outputs
        assert len({s.slot for s in step.segments}) == len(step.segments)
        self.steps.append([(s.slot, s.rows, s.position) for s in step.segments])
        logits = np.zeros((len(step.tokens), self.vocab), np.float32)
        for segment in step.segments:
            self._run(segment, step.tokens, logits)
        if len(step.tokens):
            self._hidden = np.stack([[t, p, 1, -1] for t, p in zip(step.tokens, step.positions)]).astype(np.float32)
        return logits[step.output_rows]

    def _run(self, segment, tokens, logits):
        """One segment, with what it commits of the step before and what it leaves uncommitted."""
        waiting = self._after.pop(segment.slot, [])
        assert segment.replay <= len(waiting)
        if segment.replay and self.memory is not None:
            self.memory[segment.slot] = waiting[segment.replay - 1]
        before = None if self.memory is None else self.memory[segment.slot].copy()
        after = []
        for i in range(segment.rows):
            logits[segment.row + i] = self._row(segment.slot, segment.position + i, tokens[segment.row + i])
            after.append(None if self.memory is None else self.memory[segment.slot].copy())
        if not segment.commit:
            self._after[segment.slot] = after
            self.verified += 1
            if self.memory is not None:
                self.memory[segment.slot] = before

    def close(self):
        self.is_closed = True

    def tap(self, name, first, count):
        """Hidden states are (token, position, 1, -1)."""
        assert name == "last_hidden" and first + count <= len(self._hidden)
        return self._hidden[first : first + count]

    def _row(self, slot, position, token):
        assert position < self.context
        self.keys[slot, position] = token
        seen = zlib.crc32(self.keys[slot, : position + 1].tobytes())
        if self.memory is not None:
            before = self.memory[slot].tobytes() if position else bytes(4)
            self.memory[slot] = np.frombuffer(zlib.crc32(before + bytes([token % 256])).to_bytes(4, "little"), np.uint8)
            seen ^= int.from_bytes(self.memory[slot].tobytes(), "little")
        logits = np.zeros(self.vocab, np.float32)
        logits[97 + seen % 26] = 5
        logits[97 + seen // 26 % 26] += 3
        return logits


class Says(FakeModel):
    """Writes the next of some texts after each "assistant:" of its prompt, by how many of them there are."""

    def __init__(self, *texts, **options):
        super().__init__(**options)
        self.texts = [t.encode() for t in texts]

    def _row(self, slot, position, token):
        self.keys[slot, position] = token
        seen = bytes(t if t < 256 else 0 for t in self.keys[slot, : position + 1].tolist())
        text = self.texts[(seen.count(b"assistant:") - 1) % len(self.texts)]
        at = position - seen.rfind(b"assistant:") - len(b"assistant:") + 1
        logits = np.zeros(self.vocab, np.float32)
        logits[text[at] if 0 <= at < len(text) else EOS] = 9
        return logits


class Device(FakeModel):
    """Chooses tokens itself; knows greedy decoding alone."""

    def next_tokens(self, step, samplers):
        return [sampler.accept(int(np.argmax(row))) for sampler, row in zip(samplers, self.forward(step), strict=True)]


class Ahead(Device):
    """A device that goes on with what it chooses. A queued step changes the state at once, before anybody has read the one ahead of it.

    stops: positions after which it chooses EOS.  followed: steps that were begun before the one ahead of them had ended."""

    runs_ahead = True

    def __init__(self, stops=(), **options):
        super().__init__(**options)
        self.stops, self.followed, self._latest, self._on_way = stops, 0, None, []

    def queue(self, step, samplers, follows=False):
        assert len(self._on_way) <= 1
        if follows:
            before, chosen = self._latest
            assert step.follows(before) and self._on_way
            step, self.followed = replace(step, tokens=np.array(chosen, np.int32)), self.followed + 1
        chosen = [int(np.argmax(row)) for row in self.forward(step)]
        self._latest = step, chosen
        self._on_way.append(step)
        return SimpleNamespace(result=lambda: self._end(step, chosen))

    def _end(self, step, chosen):
        assert self._on_way.pop(0) is step, "steps end in their order"
        return chosen

    def _row(self, slot, position, token):
        logits = super()._row(slot, position, token)
        if position in self.stops:
            logits[EOS] = 9
        return logits


class FakeGpu(FakeModel):
    """Its state lies in a fake driver's memory, where GpuSlots finds it as on a card."""

    def __init__(self, **options):
        super().__init__(**options)
        self.driver = FakeDriver()
        states = [StateRef("kv", ("S", 1, "C", 1), {"k": 4 * self.context}, {})]
        self.keys = self._on_device(self.keys)
        if self.memory is not None:
            states.append(StateRef("m", ("S", 4), {"": 4}, {}))
            self.memory = self._on_device(self.memory)
        self.plan = SimpleNamespace(taps={}, states=tuple(states), context=self.context)

    def _on_device(self, array):
        address = self.driver.allocate(array.nbytes)
        self.driver.copy_in(address, array)
        return self.driver.memory[address][: array.nbytes].view(array.dtype).reshape(array.shape)

    def settle(self):
        """Nothing is on its way after a call."""

    def address(self, pointer):
        return {Pointer.state("kv", "k"): self.keys, Pointer.state("m"): self.memory}[pointer].ctypes.data


class FakeSlots:
    """The state of a FakeModel as bytes."""

    def __init__(self, model):
        self.model = model
        self.kv_bytes = 4
        self.recurrent_bytes = 0 if model.memory is None else 4

    def read_kv(self, slot, start, end):
        return self.model.keys[slot, start:end].copy().view(np.uint8)

    def write_kv(self, slot, start, data, positions, count):
        assert len(data) == 4 * positions
        self.model.keys[slot, start : start + count] = data.view(np.int32)[:count]

    def read_recurrent(self, slot):
        return self.model.memory[slot].copy() if self.model.memory is not None else np.empty(0, np.uint8)

    def write_recurrent(self, slot, data):
        self.model.memory[slot] = data


def expected(prompt, count, recurrent=False):
    """What a model of its own says, one token at a time."""
    model = FakeModel(1, 512, recurrent=recurrent)
    for position, token in enumerate(prompt):
        logits = model._row(0, position, token)
    out = []
    for position in range(len(prompt), len(prompt) + count):
        out.append(int(np.argmax(logits)))
        logits = model._row(0, position, out[-1])
    return bytes(out).decode()


def make_engine(model, cache_bytes=1 << 20, snapshot_every=512, metrics=None, speculation=None, **limits) -> Engine:
    sizes = dict(
        slots=model.slots, max_rows=model.max_rows, max_outputs=model.max_outputs, context=model.context, prefill_rows=8
    )
    engine = Engine(
        model,
        Limits(**{**sizes, **limits}),
        cache_bytes,
        metrics or Metrics("fake"),
        snapshot_every,
        FakeSlots(model),
        speculation=speculation,
    )
    engine.metrics.watch(engine.gauges)
    return engine


def make_served(engine, template=TEMPLATE) -> Served:
    return Served("fake", Vocabulary(TOKENIZER, template), engine, GREEDY)


def sequence_of(engine, text, count=8, **job) -> Sequence:
    stream = Stream(asyncio.get_running_loop(), engine.resume)
    defaults = dict(prompt=tuple(text.encode()), sampling=GREEDY, max_tokens=count, stop_ids=TOKENIZER.stop_ids)
    return Sequence(Job(**{**defaults, **job}), TOKENIZER, stream)


async def read_all(sequence) -> tuple[str, Finish]:
    text = ""
    while True:
        for event in await asyncio.wait_for(sequence.stream.read(), 10):
            if isinstance(event, Finish):
                return text, event
            if isinstance(event, Piece):
                text += event.text


async def ask(engine, text, count=8, **job) -> tuple[str, Sequence]:
    sequence = sequence_of(engine, text, count, **job)
    engine.submit([sequence])
    answer, finish = await read_all(sequence)
    assert finish.reason in ("stop", "length"), finish
    return answer, sequence
