"""The prefix cache: token prefixes to the state that a model has after them, by content.

A node is a block of 64 tokens, or the shorter end of a stored prefix. It holds the keys and values of its own tokens and,
for models with recurrent state, that state after its last token if it was stored there.

What a node holds lies in the device's memory while there is room (the near tier), then in the host's, and on disk where a folder was named.
A host device has one memory and no near tier. When room is needed, recurrent state that its text has gone on from goes before the
newest ends of texts: first what was kept on the way through long texts, then where turns ended; then the least recently used text.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from hfc.runtime.near import NearCopies
from hfc.runtime.slots import SlotStates
from hfc.serve.cache_files import KV, CacheFiles
from hfc.serve.prefix_tiers import CacheCounts, Tiers
from hfc.serve.prefix_tree import BLOCK, ROOT, SHARED, Match, Node, Tree, key_of, text_of


class PrefixCache:
    """At most `budget_bytes` of host memory, what `near` has, and what `files` may; leaves go before what they stand on. Used by the
    engine's thread only."""

    def __init__(
        self, states: SlotStates, budget_bytes: int, near: NearCopies | None = None, files: CacheFiles | None = None,
        counts: CacheCounts | None = None,
    ):  # fmt: skip
        self._states, self._budget, self._near, self._files = states, budget_bytes, near, files
        self.counts = counts or CacheCounts()
        self._tree = Tree()
        self._tiers = Tiers(self._tree, states, near, files, self.counts)
        if files:
            self._find(files)

    @property
    def is_recurrent(self) -> bool:
        return self._states.recurrent_bytes > 0

    @property
    def is_on(self) -> bool:
        """Whether it may keep anything."""
        return self._budget > 0 or self._near is not None

    @property
    def bytes(self) -> int:
        return self._tiers.bytes

    @property
    def near_bytes(self) -> int:
        return self._tiers.near_bytes

    @property
    def disk_bytes(self) -> int:
        return self._files.bytes if self._files else 0

    def __len__(self) -> int:
        return len(self._tree.nodes)

    def match(self, tokens: np.ndarray) -> Match:
        """What can be restored for a prompt, i32 [n]; at most n - 1 tokens, as the last one's logits are wanted."""
        return self._tree.match(tokens, self.is_recurrent)

    def restore(self, match: Match, slot: int, in_place: int = 0) -> bool:
        """Copy a match into a slot that holds the first `in_place` tokens of it already. False, and the slot is as it was, where a file of
        it is damaged: that part of the cache is gone then."""
        last = match.nodes[-1]
        for node in match.nodes:
            if not self._tiers.load(node, self.is_recurrent and node is last):
                self._remove_branch(node, "damaged")
                return False
        # first: what is being restored must not leave the device for what is restored next
        self._tiers.touch(match.nodes)
        for i, node in enumerate(match.nodes):
            start = i * BLOCK
            count = min(len(node.tokens), match.length - start)
            if start + count > in_place and self._states.kv_bytes:
                self._tiers.put_kv(node, slot, start, count)
        if self.is_recurrent:
            self._tiers.put_recurrent(last, slot)
            last.hits += 1
            self._tiers.place(last)
            if self._files and last.hits == SHARED:
                self._tiers.write(match.nodes)
        self._evict()
        return True

    def store(self, tokens: np.ndarray, slot: int, is_page: bool = False, is_end: bool = False) -> None:
        """Keep the state of a slot that stands exactly after `tokens`, i32 [n]: nothing of it may wait in a journal.

        is_page: on the way through a long text.  is_end: of a turn: on disk too."""
        if not self.is_on or not len(tokens):
            return
        path, key = [], ROOT
        for at in range(0, len(tokens), BLOCK):
            part = tokens[at : at + BLOCK]
            node = self._tree.nodes.get(key_of(key, part)) or self._add(key, part, slot, at)
            self._tiers.touch([node])
            path.append(node)
            key = node.key
        if self.is_recurrent and not path[-1].has_recurrent:
            path[-1].is_page = is_page
            self._tiers.take_recurrent(path[-1], slot)
        self._tiers.touch(path)
        if is_end and self._files:
            self._tiers.write(path)
        self._evict()

    def close(self) -> None:
        """Give device memory back. The cache is of no use afterwards."""
        self._tiers.close()

    def _add(self, parent: bytes, tokens: np.ndarray, slot: int, start: int) -> Node:
        if not self.is_recurrent:  # a longer end holds all that a shorter one does
            for old in list(self._tree.children(parent).begun(text_of(tokens))):
                self._tiers.drop(old)
        node = Node(key_of(parent, tokens), parent, np.array(tokens, np.int32))
        self._tree.add(node)
        self._tiers.take_kv(node, slot, start)
        return node

    def _evict(self) -> None:
        """What has a copy in host memory goes until the rest fits; what lies in device memory alone stays."""
        tiers = self._tiers
        while tiers.bytes > self._budget:
            if spare := tiers.spare_pages or tiers.spare_turns:
                self.counts.evictions["page" if tiers.spare_pages else "superseded"] += 1
                tiers.forget_recurrent(next(iter(spare.values())))
                continue
            node = next(iter(tiers.in_host.values()))
            if not tiers.rests_on_disk(node):
                self._remove_branch(node, "room")
        while self._files and self._files.bytes > self._files.budget_bytes and tiers.on_disk:
            self._remove_files(next(iter(tiers.on_disk.values())))

    def _remove_branch(self, node: Node, cause: str) -> None:
        """A node and what stands on it: without it they cannot be found."""
        for one in self._tree.branch(node):
            self.counts.evictions[cause] += 1
            self._tiers.drop(one)

    def _remove_files(self, node: Node) -> None:
        """Of a node and of what stands on it, which could not be found without it by the next server."""
        branch = self._tree.branch(node)
        for one in branch:
            self.counts.evictions["disk"] += 1
            self._tiers.unfile(one, "kv_file")
            self._tiers.unfile(one, "recurrent_file")
        for one in branch:
            if one.kv is None and one.key in self._tree.nodes:
                for lost in self._tree.branch(one):
                    self._tiers.drop(lost)

    def _find(self, files: CacheFiles) -> None:
        """Nodes of an earlier server's files, the least recently used first; those whose beginnings are lost are removed."""
        nodes: dict[bytes, Node] = {}
        used: dict[bytes, float] = {}
        for found in files.found():
            node = nodes.setdefault(found.key, Node(found.key, found.parent, found.tokens))
            used[found.key] = max(found.used_s, used.get(found.key, 0.0))
            if found.kind == KV:
                node.kv_file = found.kept
            else:
                node.recurrent_file = found.kept
        whole = {node.key: node for node in nodes.values() if self._is_whole(node, nodes)}
        above = {node.parent: 0.0 for node in whole.values()}  # when what stands on a node was last used
        for node in whole.values():
            above[node.parent] = max(above[node.parent], used[node.key])
        ends = [node for node in whole.values() if above.get(node.key, -1.0) < used[node.key]]
        for node in sorted(ends, key=lambda n: used[n.key]):
            path = [node]
            while (parent := whole.get(path[-1].parent)) is not None:
                path.append(parent)
            if path[-1].parent == ROOT:
                self._hang_up(path[::-1])
        for node in nodes.values():
            if node.key not in self._tree.nodes:
                for file in filter(None, (node.kv_file, node.recurrent_file)):
                    files.remove(file)
        self._evict()

    def _hang_up(self, path: Iterable[Node]) -> None:
        """Nodes from the beginning of a text on into the tree, as far as they are not there."""
        for node in path:
            if node.key not in self._tree.nodes:
                self._tree.add(node)
                if node.has_recurrent:
                    self._tiers.count_recurrent(node, 1)
                self._tiers.place(node)
        self._tiers.touch(path)

    def _is_whole(self, node: Node, nodes: dict[bytes, Node]) -> bool:
        """Whether what files of an earlier server say fits a node of this model."""
        n, states, parent = len(node.tokens), self._states, nodes.get(node.parent)
        sizes = (node.kv_file, n * states.kv_bytes), (node.recurrent_file, states.recurrent_bytes)
        stands = node.parent == ROOT or (parent is not None and len(parent.tokens) == BLOCK)
        fits = node.kv_file is not None and all(file is None or file.nbytes == size for file, size in sizes)
        return 0 < n <= BLOCK and stands and fits and key_of(node.parent, node.tokens) == node.key
