"""How deep a parse tree is, found without recursion: what walks it afterwards recurses."""

from __future__ import annotations

from typing import Any

DEEPEST = 100  # levels; written by hand a handful is much


def too_deep(tree: Any) -> Any | None:
    """The first subtree below DEEPEST levels of a Lark tree, None if all are above."""
    waiting = [(tree, 0)]
    while waiting:
        node, depth = waiting.pop()
        if depth > DEEPEST:
            return node
        waiting += [(child, depth + 1) for child in getattr(node, "children", ())]
    return None
