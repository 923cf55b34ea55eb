"""What `hfc bench` runs: prompts and decoding, as steps of a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.runtime.decoding.model import Model
from hfc.step import Segment, Step


@dataclass(frozen=True)
class Workload:
    """A prompt of `prompt` tokens in slot 0, or `decode` tokens one at a time in each of `batch` slots that hold `depth`
    tokens already."""

    prompt: int = 0
    decode: int = 0
    depth: int = 0
    batch: int = 1

    @property
    def name(self) -> str:
        """ "pp512", "tg128", "tg128 d16384 b4" """
        if self.prompt:
            return f"pp{self.prompt}"
        return f"tg{self.decode}" + f" d{self.depth}" * (self.depth > 0) + f" b{self.batch}" * (self.batch > 1)

    @property
    def tokens(self) -> int:
        """Tokens that the timed part takes in or makes."""
        return self.prompt or self.decode * self.batch

    @property
    def context(self) -> int:
        """Positions that a slot must hold."""
        return self.prompt or self.depth + self.decode

    def prepare(self, max_rows: int, vocab: int) -> Iterator[Step]:
        """What must have run before the timed part: the tokens that the slots hold already."""
        for slot in range(self.batch if self.decode else 0):
            yield from _prompt(self.depth, max_rows, vocab, slot, wants_logits=False)

    def steps(self, max_rows: int, vocab: int) -> Iterator[Step]:
        """The timed part; it may be repeated without preparing again."""
        if self.prompt:
            yield from _prompt(self.prompt, max_rows, vocab, slot=0, wants_logits=True)
        rows = np.arange(self.batch, dtype=np.int32)
        for position in range(self.depth, self.depth + self.decode):
            segments = tuple(Segment(slot, slot, 1, position) for slot in range(self.batch))
            yield Step(_ids(position + 131 * rows, vocab), segments, rows)


def _prompt(count: int, max_rows: int, vocab: int, slot: int, wants_logits: bool) -> Iterator[Step]:
    """`count` tokens from position 0, in chunks; the logits of the last, if they are wanted."""
    for start in range(0, count, max_rows):
        rows = min(max_rows, count - start)
        wanted = [rows - 1] if wants_logits and start + rows == count else []
        ids = _ids(np.arange(start, start + rows), vocab)
        yield Step(ids, (Segment(slot, 0, rows, start),), np.array(wanted, np.int32), prompts=True)


def _ids(numbers: np.ndarray, vocab: int) -> np.ndarray:
    """Token ids i32 that jump through the vocabulary: equal numbers give equal ids."""
    return (numbers.astype(np.int64) * 2654435761 % (1 << 32) * vocab >> 32).astype(np.int32)


def workloads(
    prompts: Sequence[int], decodes: Sequence[int], depths: Sequence[int], batches: Sequence[int]
) -> list[Workload]:
    """Every prompt; every decode at every depth in every batch."""
    return [Workload(prompt=n) for n in prompts] + [
        Workload(decode=n, depth=depth, batch=batch) for n in decodes for depth in depths for batch in batches
    ]


def check_workload(workload: Workload, model: Model) -> None:
    """HfcError when the model's plan is too small for it."""
    if workload.context > model.context:
        hint = f"use --ctx {workload.context} or more, where the model has it; a bundle is to be compiled again"
        raise HfcError(f"{workload.name} does not fit the context of {model.context} tokens", hint=hint)
    limits = {"slots": model.slots, "rows a step": model.max_rows, "rows of logits": model.max_outputs}
    for what, limit in limits.items():
        if workload.batch > limit:
            hint = f"compile with --slots {workload.batch}" if what == "slots" else None
            raise HfcError(f"{workload.name} needs {workload.batch} {what}, the plan has {limit}", hint=hint)
