"""Products of parameters in the ordinary run: of a test marked `sampled(n)` one case in n stays, the others become `long`."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable

import pytest

Shown = tuple[str, str]  # parameter, value


def sample(items: Iterable[pytest.Item]) -> None:
    """Marks what the ordinary run leaves out. Which cases stay depends on nothing but what was collected."""
    files: dict[str, dict[str, list[pytest.Item]]] = {}
    for item in items:
        if item.get_closest_marker("long") is None:
            function = item.nodeid.partition("[")[0]
            files.setdefault(function.partition("::")[0], {}).setdefault(function, []).append(item)
    for functions in files.values():
        for item in _left_out(functions):
            item.add_marker(pytest.mark.long)


def _left_out(functions: dict[str, list[pytest.Item]]) -> list[pytest.Item]:
    """Of one file. Every function keeps a case, and every architecture that stands in the file keeps one somewhere."""
    archs, left = Counter(), []
    sampled = {name: marker for name, cases in functions.items() if (marker := cases[0].get_closest_marker("sampled"))}
    for name, cases in functions.items():
        if name not in sampled:
            archs.update(_arch(case) for case in cases)
    for name, marker in sampled.items():
        kept = _spread(functions[name], -(-len(functions[name]) // marker.args[0]), archs)
        left += [case for case in functions[name] if case not in kept]
    for case in sorted(left, key=_hash):
        if not archs[_arch(case)]:
            archs[_arch(case)] += 1
            left.remove(case)
    return left


def _spread(cases: list[pytest.Item], count: int, archs: Counter) -> list[pytest.Item]:
    """`count` cases, those first whose values came up least; equals in the order of a hash of their names."""
    seen: Counter[Shown] = Counter()
    kept: list[pytest.Item] = []
    left = sorted(cases, key=_hash)
    while len(kept) < count:
        case = min(left, key=lambda case: (sum(seen[shown] for shown in _values(case)), archs[_arch(case)]))
        left.remove(case)
        kept.append(case)
        seen.update(_values(case))
        archs[_arch(case)] += 1
    return kept


def _hash(case: pytest.Item) -> int:
    return zlib.crc32(case.nodeid.encode())


def _values(case: pytest.Item) -> list[Shown]:
    return [(name, repr(value)) for name, value in case.callspec.params.items()] if hasattr(case, "callspec") else []


def _arch(case: pytest.Item) -> str | None:
    """The name of the case's architecture, if it has one."""
    found = dict(case.callspec.params).get("arch") if hasattr(case, "callspec") else None
    return getattr(found, "name", found)
