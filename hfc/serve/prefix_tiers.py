"""Where the copies of a prefix cache's nodes lie: in device memory, in the host's, on disk; what each holds, in order of use."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import field

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.runtime.near import Held, Leaving, NearCopies
from hfc.runtime.slots import SlotStates
from hfc.serve.cache_files import KV, RECURRENT, CacheFiles, Kept
from hfc.serve.prefix_tree import BLOCK, Copy, Node, Tree

CAUSES = ("page", "superseded", "room", "disk", "damaged")  # of what was evicted


@dataclass
class CacheCounts:
    """Since the start. hit_tokens: prompt tokens that were not computed again.  spills: nodes that moved to host memory.  loads: copies
    that came back from disk.  evictions: what is gone, by cause: recurrent state on the way through a text, that of a text which went on,
    room in memory, room on disk, a damaged file."""

    lookups: int = 0
    hits: int = 0
    hit_tokens: int = 0
    spills: int = 0
    loads: int = 0
    evictions: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CAUSES, 0))


class Tiers:
    """tree: of the nodes.  bytes, near_bytes: in host and in device memory.  in_near, in_host, on_disk: nodes with a copy there, the least
    recently used first.  spare_pages, spare_turns: those whose recurrent state in host memory may go first."""

    def __init__(
        self, tree: Tree, states: SlotStates, near: NearCopies | None, files: CacheFiles | None, counts: CacheCounts
    ):
        self._tree, self._states, self._near, self._files, self._counts = tree, states, near, files, counts
        self.in_near: OrderedDict[bytes, Node] = OrderedDict()
        self.in_host: OrderedDict[bytes, Node] = OrderedDict()
        self.on_disk: OrderedDict[bytes, Node] = OrderedDict()
        self.spare_pages: OrderedDict[bytes, Node] = OrderedDict()
        self.spare_turns: OrderedDict[bytes, Node] = OrderedDict()
        self.bytes = self.near_bytes = 0

    def take_kv(self, node: Node, slot: int, start: int) -> None:
        """Copy a new node's keys and values out of a slot."""
        end = start + len(node.tokens)
        nbytes = len(node.tokens) * self._states.kv_bytes
        near = self._take(nbytes, lambda: self._near.take_kv(slot, start, end))
        node.kv = near or self._states.read_kv(slot, start, end)
        self._count(node.kv, 1)
        self.place(node)

    def take_recurrent(self, node: Node, slot: int) -> None:
        near = self._take(self._states.recurrent_bytes, lambda: self._near.take_recurrent(slot))
        node.recurrent = near or self._states.read_recurrent(slot)
        self._count(node.recurrent, 1)
        self.count_recurrent(node, 1)
        self.place(node)

    def forget_recurrent(self, node: Node) -> None:
        """Wherever it lies. Without it the short end of a text is of no use: the full block beside it has these keys and values too."""
        if len(node.tokens) < BLOCK:
            self.drop(node)
            return
        self.free(node.recurrent)
        if node.recurrent_file:
            self._files.remove(node.recurrent_file)
        node.recurrent = node.recurrent_file = None
        self.count_recurrent(node, -1)
        self.place(node)

    def drop(self, node: Node) -> None:
        """With all copies. Nothing may stand on it any more."""
        if node.has_recurrent:
            self.count_recurrent(node, -1)
        self._tree.remove(node)
        for copy in node.copies:
            self.free(copy)
        for file in filter(None, (node.kv_file, node.recurrent_file)):
            self._files.remove(file)
        node.kv = node.recurrent = node.kv_file = node.recurrent_file = None
        self.place(node)

    def count_recurrent(self, node: Node, change: int) -> None:
        """A node has got (1) or lost (-1) recurrent state: what stands above it may be spare now, or not any more."""
        for above in self._tree.count_recurrent(node, change):
            self.place(above)

    def close(self) -> None:
        """Give device memory back, when what is to outlive the server is on disk."""
        if self._files:
            for node in list(self.in_near.values()):
                self._spill(node)
            self._files.flush()
        if self._near:
            self._near.close()

    def free(self, copy: Copy | None) -> None:
        if copy is None:
            return
        self._count(copy, -1)
        if isinstance(copy, Held):
            self._near.free(copy)

    def touch(self, path: Iterable[Node]) -> None:
        """Deepest first, so that a parent is always younger than its children and leaves are evicted first."""
        for node in reversed(list(path)):
            self._tree.touch(node)
            for order in (self.in_near, self.in_host, self.on_disk):
                if node.key in order:
                    order.move_to_end(node.key)

    def place(self, node: Node) -> None:
        """Into the orders that a node belongs to by now, and out of the others."""
        spare = node.is_spare and _is_in_host(node.recurrent)
        for order, belongs in (
            (self.in_near, any(isinstance(c, Held) for c in node.copies)),
            (self.in_host, any(map(_is_in_host, node.copies))),
            (self.on_disk, bool(node.kv_file or node.recurrent_file)),
            (self.spare_pages, spare and node.is_page),
            (self.spare_turns, spare and not node.is_page),
        ):
            if not belongs:
                order.pop(node.key, None)
            elif node.key not in order:
                order[node.key] = node

    # --- disk ---

    def rests_on_disk(self, node: Node) -> bool:
        """Give up a node's copies in host memory if all are on disk, too."""
        is_kv_here, is_recurrent_here = _is_in_host(node.kv), _is_in_host(node.recurrent)
        files = [node.kv_file] * is_kv_here + [node.recurrent_file] * is_recurrent_here
        if any(file is None or file.has_failed for file in files):
            return False
        if is_kv_here:
            self.free(node.kv)
            node.kv = None
        if is_recurrent_here:
            self.free(node.recurrent)
            node.recurrent = None
        self.place(node)
        return True

    def unfile(self, node: Node, which: str) -> None:
        """Remove a node's file; recurrent state that lay there alone is gone."""
        had, file = node.has_recurrent, getattr(node, which)
        if file is None:
            return
        self._files.remove(file)
        setattr(node, which, None)
        if had and not node.has_recurrent:
            self.count_recurrent(node, -1)
        self.place(node)

    def write(self, path: Iterable[Node]) -> None:
        """Begin to write what is not on disk yet. Recurrent state that its text has gone on from is not: a newer end is on its way."""
        for node in path:
            node.kv_file = self._filed(node, KV, node.kv, node.kv_file)
            if not node.is_spare:
                node.recurrent_file = self._filed(node, RECURRENT, node.recurrent, node.recurrent_file)
            elif node.recurrent_file:
                self.unfile(node, "recurrent_file")
            self.place(node)

    def _filed(self, node: Node, kind: str, copy: Copy | None, file: Kept | None) -> Kept | None:
        """The file of a copy; what lies in device memory is written when it leaves that."""
        if copy is None or isinstance(copy, Held) or (file and not file.has_failed):
            return file
        return self._files.write(node.key, node.parent, node.tokens, kind, copy)

    def load(self, node: Node, with_recurrent: bool) -> bool:
        """Bring what a restore needs into memory; False for a damaged file."""
        if node.kv is None:
            node.kv = self._read(node.kv_file)
            if node.kv is None:
                return False
        if with_recurrent and node.recurrent is None:
            node.recurrent = self._read(node.recurrent_file)
            if node.recurrent is None:
                return False
        self.place(node)
        return True

    def _read(self, file: Kept) -> np.ndarray | None:
        data = self._files.read(file)
        if data is None:
            return None
        self._count(data, 1)
        self._files.touch(file)
        self._counts.loads += 1
        return data

    # --- the two memories ---

    def _take(self, nbytes: int, take: Callable[[], Held | None]) -> Held | None:
        """A copy in device memory, for which the least recently used ones there leave; None without a near tier.

        They leave before the last room is taken: a step does not wait for them."""
        if self._near is None or not self._near.can_hold(nbytes):
            return None
        while (held := take()) is None and self.in_near:
            self._spill(next(iter(self.in_near.values())))
        while self._near.lacks_room and self.in_near:
            self._spill(next(iter(self.in_near.values())))
        return held

    def _spill(self, node: Node) -> None:
        self._counts.spills += 1
        node.kv, node.recurrent = self._sent(node.kv), self._sent(node.recurrent)
        self.place(node)
        if self._files:
            self.write([node])

    def _sent(self, copy: Copy | None) -> Copy | None:
        if not isinstance(copy, Held):
            return copy
        self._count(copy, -1)
        leaving = self._near.send(copy)
        self._count(leaving, 1)
        return leaving

    def put_kv(self, node: Node, slot: int, start: int, count: int) -> None:
        """What comes from host memory and is whole then stays near."""
        if isinstance(node.kv, Held):
            self._near.put_kv(slot, start, node.kv, len(node.tokens), count)
            return
        self._states.write_kv(slot, start, _data(node.kv), len(node.tokens), count)
        if count == len(node.tokens):
            node.kv = self._nearer(node, node.kv, lambda: self._near.take_kv(slot, start, start + count))
            self.place(node)

    def put_recurrent(self, node: Node, slot: int) -> None:
        if isinstance(node.recurrent, Held):
            self._near.put_recurrent(slot, node.recurrent)
            return
        self._states.write_recurrent(slot, _data(node.recurrent))
        node.recurrent = self._nearer(node, node.recurrent, lambda: self._near.take_recurrent(slot))

    def _nearer(self, node: Node, copy: Leaving | np.ndarray, take: Callable[[], Held | None]) -> Copy:
        self.in_near.pop(node.key, None)  # its own other copy must not leave for this one
        held = self._take(copy.nbytes, take)
        if held is not None:
            self._count(copy, -1)
            self._count(held, 1)
        return copy if held is None else held

    def _count(self, copy: Copy, sign: int) -> None:
        if isinstance(copy, Held):
            self.near_bytes += sign * copy.nbytes
        else:
            self.bytes += sign * copy.nbytes


def _is_in_host(copy: Copy | None) -> bool:
    return copy is not None and not isinstance(copy, Held)


def _data(copy: Leaving | np.ndarray) -> np.ndarray:
    """u8 in host memory; waits for what is on its way."""
    return copy.data() if isinstance(copy, Leaving) else copy
