"""Prefixes of tokens as a tree of blocks, in which what a text begins with is found without looking at every other text."""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right, insort
from collections import Counter, OrderedDict
from collections.abc import Iterator

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.runtime.near import Held, Leaving
from hfc.runtime.slots import ALIGNED
from hfc.serve.cache_files import Kept

BLOCK = ALIGNED  # tokens
ROOT = b""
SHARED = 2  # uses, from which on a snapshot is one that several texts go on from
Copy = Held | Leaving | np.ndarray  # in device memory, on its way to the host's, or u8 there


@dataclass(eq=False)
class Node:
    """tokens: i32 [1..BLOCK]; only full nodes have children.  kv, recurrent: copies in memory; kv_file, recurrent_file: those on disk.

    used: when, in uses of the cache.  hits: how often recurrent state was put back from here.  below: nodes with recurrent state whose text begins
    with this one's and is longer.  is_page: its state was kept on the way through a long text, not where a text ended or may branch off."""

    key: bytes
    parent: bytes
    tokens: np.ndarray
    kv: Copy | None = None
    recurrent: Copy | None = None
    kv_file: Kept | None = None
    recurrent_file: Kept | None = None
    used: int = 0
    hits: int = 0
    below: int = 0
    is_page: bool = False

    @property
    def copies(self) -> list[Copy]:
        return [c for c in (self.kv, self.recurrent) if c is not None]

    @property
    def has_recurrent(self) -> bool:
        return self.recurrent is not None or self.recurrent_file is not None

    @property
    def is_spare(self) -> bool:
        """Whether its recurrent state is what a text has gone on from already, and nobody else has."""
        return self.has_recurrent and self.below > 0 and self.hits < SHARED


@dataclass(frozen=True)
class Match:
    """The longest prefix that can be restored: nodes in order, and how many tokens in all (the last node may be used in part)."""

    nodes: tuple[Node, ...] = ()
    length: int = 0


class Siblings:
    """The children of a node, by their tokens."""

    def __init__(self):
        self._by_text: dict[bytes, Node] = {}
        self._order: list[bytes] = []  # of texts: those with the longest common beginning are neighbours
        self._lengths: Counter[int] = Counter()

    def __iter__(self) -> Iterator[Node]:
        return iter(list(self._by_text.values()))

    def __len__(self) -> int:
        return len(self._order)

    def add(self, node: Node) -> None:
        text = text_of(node.tokens)
        self._by_text[text] = node
        insort(self._order, text)
        self._lengths[len(text)] += 1

    def remove(self, node: Node) -> None:
        text = text_of(node.tokens)
        del self._by_text[text]
        del self._order[bisect_left(self._order, text)]
        self._lengths[len(text)] -= 1
        if not self._lengths[len(text)]:
            del self._lengths[len(text)]

    def get(self, text: bytes) -> Node | None:
        return self._by_text.get(text)

    def closest(self, text: bytes) -> list[Node]:
        """One or two, of which one begins with as much of a text as any."""
        at = bisect_left(self._order, text)
        return [self._by_text[other] for other in self._order[max(at - 1, 0) : at + 1]]

    def extending(self, text: bytes) -> Iterator[Node]:
        """Those that begin with a text and are longer."""
        for at in range(bisect_right(self._order, text), len(self._order)):
            if not self._order[at].startswith(text):
                return
            yield self._by_text[self._order[at]]

    def begun(self, text: bytes) -> Iterator[Node]:
        """Those whose whole tokens a text begins with, the longest first."""
        for length in sorted(self._lengths, reverse=True):
            if length <= len(text) and (node := self._by_text.get(text[:length])) is not None:
                yield node


class Tree:
    """nodes: by key, the least recently used first."""

    def __init__(self):
        self.nodes: OrderedDict[bytes, Node] = OrderedDict()
        self._children: dict[bytes, Siblings] = {}
        self._uses = 0

    def children(self, key: bytes) -> Siblings:
        return self._children.get(key) or Siblings()

    def add(self, node: Node) -> None:
        """Nothing stands on it yet."""
        siblings = self._children.setdefault(node.parent, Siblings())
        node.below = sum(other.below + other.has_recurrent for other in siblings.extending(text_of(node.tokens)))
        self.nodes[node.key] = node
        siblings.add(node)

    def remove(self, node: Node) -> None:
        del self.nodes[node.key]
        siblings = self._children[node.parent]
        siblings.remove(node)
        if not len(siblings):
            del self._children[node.parent]

    def branch(self, node: Node) -> list[Node]:
        """A node and all that stands on it, leaves first."""
        found = [node]  # a long text is thousands of nodes deep
        for one in found:
            found += self.children(one.key)
        return found[::-1]

    def touch(self, node: Node) -> None:
        self._uses += 1
        node.used = self._uses
        self.nodes.move_to_end(node.key)

    def count_recurrent(self, node: Node, change: int) -> list[Node]:
        """Tell those that a node's text begins with that it has got (1) or lost (-1) recurrent state: which they are."""
        begun = []
        while node is not None:
            begun += [end for end in self._children[node.parent].begun(text_of(node.tokens)) if end is not node]
            if (node := self.nodes.get(node.parent)) is not None:
                begun.append(node)
        for other in begun:
            other.below += change
        return begun

    def match(self, tokens: np.ndarray, is_recurrent: bool) -> Match:
        """What can be restored for a prompt, i32 [n]; at most n - 1 tokens, as the last one's logits are wanted."""
        text = text_of(tokens[:-1])
        path, siblings = [], self._children.get(ROOT)
        while (
            siblings is not None and (node := siblings.get(text[_bytes(len(path)) : _bytes(len(path) + 1)])) is not None
        ):
            path.append(node)
            if len(node.tokens) < BLOCK:  # the prompt ends here, as a text before it did
                break
            siblings = self._children.get(node.key)
        if not is_recurrent:
            return self._with_part(path, text)
        while True:  # recurrent state stands where it was stored, and nowhere else
            for end in self.children(path[-1].key if path else ROOT).begun(text[_bytes(len(path)) :]):
                if end.has_recurrent:
                    return Match((*path, end), len(path) * BLOCK + len(end.tokens))
            if not path:
                return Match()
            node = path.pop()
            if node.has_recurrent:
                return Match((*path, node), len(path) * BLOCK + len(node.tokens))

    def _with_part(self, path: list[Node], text: bytes) -> Match:
        """Of keys and values any beginning is of use: that of the child which has most in common with what follows."""
        length = sum(len(node.tokens) for node in path)
        rest = text[4 * length : 4 * (length + BLOCK)]
        best = Match(tuple(path), length)
        for child in self.children(path[-1].key if path else ROOT).closest(rest) if rest else ():
            common = _common(text_of(child.tokens), rest)
            if length + common > best.length:
                best = Match((*path, child), length + common)
        return best


def text_of(tokens: np.ndarray) -> bytes:
    """Tokens as bytes that sort as they do."""
    return tokens.astype(">i4").tobytes()


def _common(a: bytes, b: bytes) -> int:
    """How many tokens two texts share from their start."""
    n = min(len(a), len(b)) // 4
    return common_prefix(np.frombuffer(a, np.int32, n), np.frombuffer(b, np.int32, n))


def _bytes(blocks: int) -> int:
    return 4 * BLOCK * blocks


def common_prefix(a: np.ndarray, b: np.ndarray) -> int:
    """How many tokens two sequences share from their start."""
    n = min(len(a), len(b))
    differs = np.flatnonzero(a[:n] != b[:n])
    return int(differs[0]) if len(differs) else n


def key_of(parent: bytes, tokens: np.ndarray) -> bytes:
    """A node is named by all the tokens up to its end, so equal prefixes share nodes whoever sent them."""
    return hashlib.blake2b(parent + np.ascontiguousarray(tokens, np.int32).tobytes(), digest_size=16).digest()
