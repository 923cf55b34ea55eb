"""The prefix cache: token prefixes to the state that a model has after them, by content.

A node is a block of 64 tokens, or the shorter end of a stored prefix. It holds the keys and values of its own tokens and,
for models with recurrent state, that state after its last token if it was stored there. A chain of hashes names a node by
all the tokens up to its end, so equal prefixes share nodes whoever sent them.

What a node holds lies in the device's memory while there is room (the near tier), then in the host's. A host device has one
memory and no near tier.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hfc.runtime.near import Held, Leaving, NearCopies
from hfc.runtime.slots import SlotStates

BLOCK = 64  # tokens
ROOT = b""
Copy = Held | Leaving | np.ndarray  # in device memory, on its way to the host's, or u8 there


@dataclass(eq=False)
class Node:
    """tokens: i32 [1..BLOCK]; only full nodes have children."""

    key: bytes
    parent: bytes
    tokens: np.ndarray
    kv: Copy
    recurrent: Copy | None = None

    @property
    def copies(self) -> list[Copy]:
        return [c for c in (self.kv, self.recurrent) if c is not None]


@dataclass(frozen=True)
class Match:
    """The longest prefix that can be restored: nodes in order, and how many tokens in all (the last node may be used in part)."""

    nodes: tuple[Node, ...] = ()
    length: int = 0


@dataclass
class CacheCounts:
    """Since the start. hit_tokens: prompt tokens that were not computed again.  spills: nodes that moved to host memory."""

    lookups: int = 0
    hits: int = 0
    hit_tokens: int = 0
    spills: int = 0
    evictions: int = 0


class PrefixCache:
    """At most `budget_bytes` of host memory, and what `near` has; the least recently used goes first, leaves before what
    they stand on. Used by the engine's thread only."""

    def __init__(self, states: SlotStates, budget_bytes: int, near: NearCopies | None = None):
        self._states = states
        self._budget = budget_bytes
        self._near = near
        self._nodes: OrderedDict[bytes, Node] = OrderedDict()  # least recently used first
        self._in_near: OrderedDict[bytes, Node] = OrderedDict()  # those with a copy in device memory, in the same order
        self._children: dict[bytes, dict[bytes, Node]] = {}
        self.bytes = self.near_bytes = 0
        self.counts = CacheCounts()

    @property
    def is_recurrent(self) -> bool:
        return self._states.recurrent_bytes > 0

    @property
    def is_on(self) -> bool:
        """Whether it may keep anything."""
        return self._budget > 0 or self._near is not None

    def __len__(self) -> int:
        return len(self._nodes)

    def match(self, tokens: np.ndarray) -> Match:
        """What can be restored for a prompt, i32 [n]; at most n - 1 tokens, as the last one's logits are wanted."""
        limit = len(tokens) - 1
        best, path, key = Match(), [], ROOT
        while True:
            at = len(path) * BLOCK
            for child in self._children.get(key, {}).values():
                used = self._usable(child, tokens[at:limit])
                if used and at + used > best.length:
                    best = Match((*path, child), at + used)
            following = self._nodes.get(_key(key, tokens[at : at + BLOCK])) if at + BLOCK <= limit else None
            if following is None:
                return best
            path.append(following)
            key = following.key

    def restore(self, match: Match, slot: int, in_place: int = 0) -> None:
        """Copy a match into a slot that holds the first `in_place` tokens of it already."""
        self._touch(match.nodes)  # first: what is being restored must not leave the device for what is restored next
        for i, node in enumerate(match.nodes):
            start = i * BLOCK
            count = min(len(node.tokens), match.length - start)
            if start + count > in_place and self._states.kv_bytes:
                self._put_kv(node, slot, start, count)
        if self.is_recurrent:
            self._put_recurrent(match.nodes[-1], slot)
        self._evict()

    def store(self, tokens: np.ndarray, slot: int) -> None:
        """Keep the state of a slot that stands exactly after `tokens`, i32 [n]: nothing of it may wait in a journal."""
        if not self.is_on or not len(tokens):
            return
        path, key = [], ROOT
        for at in range(0, len(tokens), BLOCK):
            part = tokens[at : at + BLOCK]
            node = self._nodes.get(_key(key, part)) or self._add(key, part, slot, at)
            self._touch([node])
            path.append(node)
            key = node.key
        if self.is_recurrent and path[-1].recurrent is None:
            path[-1].recurrent = self._take(
                self._states.recurrent_bytes, lambda: self._near.take_recurrent(slot)
            ) or self._states.read_recurrent(slot)
            self._count(path[-1].recurrent, 1)
            self._place(path[-1])
        self._touch(path)
        self._evict()

    def close(self) -> None:
        """Give the near tier's memory back. The cache is of no use afterwards."""
        if self._near:
            self._near.close()

    def _usable(self, child: Node, tokens: np.ndarray) -> int:
        """How many of a node's tokens a prompt that goes on with `tokens` can use."""
        if not len(tokens) or child.tokens[0] != tokens[0]:
            return 0
        common = common_prefix(child.tokens, tokens)
        if not self.is_recurrent:
            return common
        return common if common == len(child.tokens) and child.recurrent is not None else 0

    def _add(self, parent: bytes, tokens: np.ndarray, slot: int, start: int) -> Node:
        siblings = self._children.setdefault(parent, {})
        if not self.is_recurrent:  # a longer end holds all that a shorter one does
            for old in [
                n
                for n in siblings.values()
                if len(n.tokens) < len(tokens) and common_prefix(n.tokens, tokens) == len(n.tokens)
            ]:
                self._remove(old)
            siblings = self._children.setdefault(parent, {})
        end = start + len(tokens)
        near = self._take(len(tokens) * self._states.kv_bytes, lambda: self._near.take_kv(slot, start, end))
        kv = near or self._states.read_kv(slot, start, end)
        node = Node(_key(parent, tokens), parent, np.array(tokens, np.int32), kv)
        self._nodes[node.key] = siblings[node.key] = node
        self._count(kv, 1)
        self._place(node)
        return node

    def _remove(self, node: Node) -> None:
        del self._nodes[node.key]
        self._in_near.pop(node.key, None)
        siblings = self._children[node.parent]
        del siblings[node.key]
        if not siblings:
            del self._children[node.parent]
        for copy in node.copies:
            self._count(copy, -1)
            if isinstance(copy, Held):
                self._near.free(copy)

    def _touch(self, path: Sequence[Node]) -> None:
        """Deepest first, so that a parent is always younger than its children and leaves are evicted first."""
        for node in reversed(path):
            for order in (self._nodes, self._in_near):
                if node.key in order:
                    order.move_to_end(node.key)

    def _evict(self) -> None:
        """What has a copy in host memory goes until the rest fits; what lies in device memory alone stays."""
        while self.bytes > self._budget:
            self._remove_branch(next(n for n in self._nodes.values() if not all(isinstance(c, Held) for c in n.copies)))

    def _remove_branch(self, node: Node) -> None:
        """A node and what stands on it: without it they cannot be found."""
        for child in list(self._children.get(node.key, {}).values()):
            self._remove_branch(child)
        self._remove(node)
        self.counts.evictions += 1

    # --- the two tiers ---

    def _take(self, nbytes: int, take: Callable[[], Held | None]) -> Held | None:
        """A copy in device memory, for which the least recently used ones there leave; None without a near tier.

        They leave before the last room is taken: a step does not wait for them."""
        if self._near is None or not self._near.can_hold(nbytes):
            return None
        while (held := take()) is None and self._in_near:
            self._spill(next(iter(self._in_near.values())))
        while self._near.lacks_room and self._in_near:
            self._spill(next(iter(self._in_near.values())))
        return held

    def _spill(self, node: Node) -> None:
        self.counts.spills += 1
        del self._in_near[node.key]
        node.kv, node.recurrent = self._sent(node.kv), self._sent(node.recurrent)

    def _sent(self, copy: Copy | None) -> Copy | None:
        if not isinstance(copy, Held):
            return copy
        self._count(copy, -1)
        leaving = self._near.send(copy)
        self._count(leaving, 1)
        return leaving

    def _put_kv(self, node: Node, slot: int, start: int, count: int) -> None:
        """What comes from host memory and is whole then stays near."""
        if isinstance(node.kv, Held):
            self._near.put_kv(slot, start, node.kv, len(node.tokens), count)
            return
        self._states.write_kv(slot, start, _data(node.kv), len(node.tokens), count)
        if count == len(node.tokens):
            node.kv = self._nearer(node, node.kv, lambda: self._near.take_kv(slot, start, start + count))

    def _put_recurrent(self, node: Node, slot: int) -> None:
        if isinstance(node.recurrent, Held):
            self._near.put_recurrent(slot, node.recurrent)
            return
        self._states.write_recurrent(slot, _data(node.recurrent))
        node.recurrent = self._nearer(node, node.recurrent, lambda: self._near.take_recurrent(slot))

    def _nearer(self, node: Node, copy: Leaving | np.ndarray, take: Callable[[], Held | None]) -> Copy:
        self._in_near.pop(node.key, None)  # its own other copy must not leave for this one
        held = self._take(copy.nbytes, take)
        if held is not None:
            self._count(copy, -1)
            self._count(held, 1)
        if held is not None or any(isinstance(c, Held) for c in node.copies):
            self._in_near[node.key] = node
        return copy if held is None else held

    def _place(self, node: Node) -> None:
        if any(isinstance(copy, Held) for copy in node.copies):
            self._in_near[node.key] = node

    def _count(self, copy: Copy, sign: int) -> None:
        if isinstance(copy, Held):
            self.near_bytes += sign * copy.nbytes
        else:
            self.bytes += sign * copy.nbytes


def _data(copy: Leaving | np.ndarray) -> np.ndarray:
    """u8 in host memory; waits for what is on its way."""
    return copy.data() if isinstance(copy, Leaving) else copy


def common_prefix(a: np.ndarray, b: np.ndarray) -> int:
    """How many tokens two sequences share from their start."""
    n = min(len(a), len(b))
    differs = np.flatnonzero(a[:n] != b[:n])
    return int(differs[0]) if len(differs) else n


def _key(parent: bytes, tokens: np.ndarray) -> bytes:
    return hashlib.blake2b(parent + np.ascontiguousarray(tokens, np.int32).tobytes(), digest_size=16).digest()
