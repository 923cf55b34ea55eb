"""What a slot holds of the last prompt, for the next prompt of a conversation: only what differs is computed.

Of the last turn only the prompt counts, not the answer: its rows were decoded, which may add in another order than rows of prompts
do. So a kept prefix gives the bits of a fresh one, whatever the device. Keys and values stand at their positions; recurrent state is
one for all positions, and is copied where the next prompt will branch off.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.runtime.slots import SlotStates

SNAPSHOTS = 2  # where the last prompt and the one before it ended: /regen and a changed last message need no more


@dataclass(frozen=True)
class Snapshot:
    """Recurrent state after `length` tokens of the kept prompt."""

    length: int
    state: np.ndarray


class KeptPrompt:
    """Of one slot, which nobody else may use."""

    def __init__(self, states: SlotStates, slot: int = 0):
        self._states, self._slot = states, slot
        self._tokens: tuple[int, ...] = ()
        self._snapshots: list[Snapshot] = []  # shortest first

    @property
    def needs_snapshots(self) -> bool:
        return self._states.recurrent_bytes > 0

    def restore(self, prompt: Sequence[int]) -> int:
        """Make the slot stand after as many tokens of a prompt as it can, all but the last at most; how many those are."""
        common = min(shared_tokens(self._tokens, prompt), len(prompt) - 1)
        self._snapshots = [s for s in self._snapshots if s.length <= common]
        if self.needs_snapshots:
            common = self._snapshots[-1].length if self._snapshots else 0
        self._tokens = tuple(prompt[:common])
        if self.needs_snapshots and self._snapshots:
            self._states.write_recurrent(self._slot, self._snapshots[-1].state)
        return common

    def snapshot(self, prompt: Sequence[int], length: int) -> None:
        """Copy the recurrent state of the slot, which stands exactly after `length` tokens of a prompt."""
        self._tokens = tuple(prompt[:length])
        taken = Snapshot(length, self._states.read_recurrent(self._slot))
        self._snapshots = [*(s for s in self._snapshots if s.length < length), taken][-SNAPSHOTS:]

    def forget(self) -> None:
        """A step has failed: what the slot holds is not known."""
        self._tokens, self._snapshots = (), []

    def note(self, prompt: Sequence[int]) -> None:
        """The slot has been through a whole prompt."""
        self._tokens = tuple(prompt)


def shared_tokens(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two texts share from their start."""
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
