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
        elif len(want) == 1:
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
    while i < len(a) or j < len(b):
        k, m = i + 1, j + 1
        while math.prod(a[i:k]) != math.prod(b[j:m]) or k > len(a) or m > len(b):
            if math.prod(a[i:k]) < math.prod(b[j:m]) and k < len(a):
                k += 1
            elif m < len(b):
                m += 1
            else:
                k += 1
                assert k <= len(a), f"{a} and {b} differ in size"
        blocks.append((a[i:k], b[j:m]))
        i, j = k, m
    return blocks
