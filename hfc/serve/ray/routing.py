"""Which replica a request goes to: the one that has most of its beginning, unless it has too much to do."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence

MOST_NAMES = 1 << 16  # beginnings that are remembered: 30 MB


class ReadBeginnings:
    """Which replicas have read which beginnings; the least recently used go first."""

    def __init__(self, most: int = MOST_NAMES):
        self._most = most
        self._replicas: OrderedDict[bytes, set[str]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._replicas)

    def note(self, beginnings: Sequence[bytes], replica: str) -> None:
        """It reads all of them now. The longest is the first to go."""
        for name in reversed(beginnings):
            self._replicas.setdefault(name, set()).add(replica)
            self._replicas.move_to_end(name)
        while len(self._replicas) > self._most:
            self._replicas.popitem(last=False)

    def holders(self, beginnings: Sequence[bytes], replicas: Collection[str]) -> list[tuple[int, str]]:
        """(beginnings that it has, replica), those that have most first."""
        found: dict[str, int] = {}
        for count in range(len(beginnings), 0, -1):
            for replica in self._replicas.get(beginnings[count - 1], ()):
                if replica in replicas:
                    found.setdefault(replica, count)
            if len(found) == len(replicas):
                break
        return [(count, replica) for replica, count in found.items()]

    def forget(self, replica: str) -> None:
        for name, replicas in list(self._replicas.items()):
            replicas.discard(replica)
            if not replicas:
                del self._replicas[name]


def choose(holders: Sequence[tuple[int, str]], loads: Mapping[str, int], spare: int) -> str:
    """loads: requests in flight of each replica that may be asked.  spare: how many more than the least loaded one a replica may have and still
    get a request for what it knows of it."""
    least = min(loads.values())
    free = [(count, replica) for count, replica in holders if loads[replica] <= least + spare]
    if free:
        most = max(count for count, _ in free)
        best = [replica for count, replica in free if count == most]
    else:
        best = list(loads)
    lowest = min(loads[replica] for replica in best)
    return random.choice([replica for replica in best if loads[replica] == lowest])
