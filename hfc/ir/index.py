"""Index arithmetic as C text: where an element of one shape lies in another shape of the same row."""

from __future__ import annotations

import math

Index = tuple[str, ...]  # one C integer expression an axis
Shape = tuple[int, ...]


def flat(index: Index, shape: Shape) -> str:
    """The row-major position: ("g", "j") in (9, 64) -> "g * 64 + j"."""
    terms = []
    for axis, expression in enumerate(index):
        stride = math.prod(shape[axis + 1 :])
        if expression != "0":
            terms.append(expression if stride == 1 else f"{group(expression)} * {stride}")
    return " + ".join(terms) or "0"


def group(expression: str) -> str:
    """Parenthesised unless it is a name or a number."""
    return expression if expression.replace("_", "").isalnum() else f"({expression})"


def reindex(index: Index, shape: Shape, target: Shape) -> Index:
    """The same element in `target`, a shape with as many elements: axes that agree keep their expression."""
    result: list[str] = []
    for have, want in _blocks(shape, target):
        taken, index = index[: len(have)], index[len(have) :]
        if have == want:
            result += taken
        elif len(want) == 1 and have:
            result.append(flat(taken, have))
        else:
            result += _unflatten(flat(taken, have), want)
    return tuple(result)


def _unflatten(position: str, shape: Shape) -> list[str]:
    parts = []
    for axis, size in enumerate(shape):
        stride = math.prod(shape[axis + 1 :])
        part = position if stride == 1 else f"{group(position)} / {stride}"
        parts.append(part if axis == 0 else f"{group(part)} % {size}")
    return parts


def _blocks(a: Shape, b: Shape) -> list[tuple[Shape, Shape]]:
    """Split both shapes into the smallest runs of axes with equal products."""
    blocks, i, j = [], 0, 0
    while i < len(a) and j < len(b):
        k, m = i + 1, j + 1
        while math.prod(a[i:k]) != math.prod(b[j:m]):
            if math.prod(a[i:k]) < math.prod(b[j:m]):
                k += 1
            else:
                m += 1
            assert k <= len(a) and m <= len(b), f"{a} and {b} differ in size"
        blocks.append((a[i:k], b[j:m]))
        i, j = k, m
    assert math.prod(a[i:]) == math.prod(b[j:]) == 1, f"{a} and {b} differ in size"
    return [*blocks, (a[i:], b[j:])]  # what is left are axes of size 1
