"""A region that others joined: one launch may serve it whole where rows are few, its members run one by one where they are many."""

from __future__ import annotations

from collections.abc import Iterable

from hfc.ir.graph import Op, Value, region


def joined(stem: str, regions: list[Op], outputs: Iterable[Value]) -> Op:
    """One region of the bodies of `regions`, in order, that remembers where each ends."""
    stems, sizes = [op.attrs["stem"] for op in regions], [len(op.inner) for op in regions]
    ops = [inner for op in regions for inner in op.inner]
    return region(ops, list(outputs), {"stem": stem, "members": tuple(stems), "sizes": tuple(sizes)})


def members_of(op: Op) -> tuple[Op, ...]:
    """The regions that were joined into it; () for any other."""
    found, start = [], 0
    for stem, size in zip(op.attrs.get("members", ()), op.attrs.get("sizes", ())):
        ops, others = op.inner[start : start + size], op.inner[:start] + op.inner[start + size :]
        read = {v for other in others for v in other.inputs}
        made = [v for inner in ops for v in inner.outputs if v in read or v in op.outputs]
        found.append(region(ops, made, {"stem": stem}))
        start += size
    return tuple(found)


def handed_on(op: Op) -> list[Value]:
    """What one member makes for another, and nothing outside reads: it needs memory where members run one by one."""
    return [v for member in members_of(op) for v in member.outputs if v not in op.outputs]
