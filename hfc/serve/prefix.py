"""The prefix cache: token prefixes to the state that a model has after them, in host memory, by content.

A node is a block of 64 tokens, or the shorter end of a stored prefix. It holds the keys and values of its own tokens and,
for models with recurrent state, that state after its last token if it was stored there. A chain of hashes names a node by
all the tokens up to its end, so equal prefixes share nodes whoever sent them.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hfc.runtime.slots import SlotStates

BLOCK = 64  # tokens
ROOT = b""


@dataclass(eq=False)
class Node:
    """tokens: i32 [1..BLOCK]; only full nodes have children."""

    key: bytes
    parent: bytes
    tokens: np.ndarray
    kv: np.ndarray
    recurrent: np.ndarray | None = None

    @property
    def bytes(self) -> int:
        return self.tokens.nbytes + self.kv.nbytes + (0 if self.recurrent is None else self.recurrent.nbytes)


@dataclass(frozen=True)
class Match:
    """The longest prefix that can be restored: nodes in order, and how many tokens in all (the last node may be used in part)."""

    nodes: tuple[Node, ...] = ()
    length: int = 0


@dataclass
class CacheCounts:
    """Since the start. hit_tokens: prompt tokens that were not computed again."""

    lookups: int = 0
    hits: int = 0
    hit_tokens: int = 0
    evictions: int = 0


class PrefixCache:
    """At most `budget_bytes`; the least recently used leaf goes first. Used by the engine's thread only."""

    def __init__(self, states: SlotStates, budget_bytes: int):
        self._states = states
        self._budget = budget_bytes
        self._nodes: OrderedDict[bytes, Node] = OrderedDict()  # least recently used first
        self._children: dict[bytes, dict[bytes, Node]] = {}
        self.bytes = 0
        self.counts = CacheCounts()

    @property
    def is_recurrent(self) -> bool:
        return self._states.recurrent_bytes > 0

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
        for i, node in enumerate(match.nodes):
            start = i * BLOCK
            count = min(len(node.tokens), match.length - start)
            if start + count > in_place and self._states.kv_bytes:
                self._states.write_kv(slot, start, node.kv, len(node.tokens), count)
        if self.is_recurrent:
            self._states.write_recurrent(slot, match.nodes[-1].recurrent)
        self._touch(match.nodes)

    def store(self, tokens: np.ndarray, slot: int) -> None:
        """Keep the state of a slot that stands exactly after `tokens`, i32 [n]."""
        if self._budget <= 0 or not len(tokens):
            return
        path, key = [], ROOT
        for at in range(0, len(tokens), BLOCK):
            part = tokens[at : at + BLOCK]
            node = self._nodes.get(_key(key, part)) or self._add(key, part, slot, at)
            path.append(node)
            key = node.key
        if self.is_recurrent and path[-1].recurrent is None:
            path[-1].recurrent = self._states.read_recurrent(slot)
            self.bytes += path[-1].recurrent.nbytes
        self._touch(path)
        self._evict()

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
            for old in [n for n in siblings.values() if len(n.tokens) < len(tokens) and common_prefix(n.tokens, tokens) == len(n.tokens)]:
                self._remove(old)
            siblings = self._children.setdefault(parent, {})
        kv = self._states.read_kv(slot, start, start + len(tokens))
        node = Node(_key(parent, tokens), parent, np.array(tokens, np.int32), kv)
        self._nodes[node.key] = siblings[node.key] = node
        self.bytes += node.bytes
        return node

    def _remove(self, node: Node) -> None:
        del self._nodes[node.key]
        siblings = self._children[node.parent]
        del siblings[node.key]
        if not siblings:
            del self._children[node.parent]
        self.bytes -= node.bytes

    def _touch(self, path: Sequence[Node]) -> None:
        """Deepest first, so that a parent is always younger than its children and leaves are evicted first."""
        for node in reversed(path):
            if node.key in self._nodes:
                self._nodes.move_to_end(node.key)

    def _evict(self) -> None:
        while self.bytes > self._budget and self._nodes:
            self._remove(next(iter(self._nodes.values())))
            self.counts.evictions += 1


def common_prefix(a: np.ndarray, b: np.ndarray) -> int:
    """How many tokens two sequences share from their start."""
    n = min(len(a), len(b))
    differs = np.flatnonzero(a[:n] != b[:n])
    return int(differs[0]) if len(differs) else n


def _key(parent: bytes, tokens: np.ndarray) -> bytes:
    return hashlib.blake2b(parent + np.ascontiguousarray(tokens, np.int32).tobytes(), digest_size=16).digest()
