"""Rows to aligned text columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns under their names; numbers stand to the right."""
    rows = [tuple(row) for row in rows]
    texts = [tuple(header), *(tuple(map(str, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*texts)]
    is_number = [bool(rows) and all(isinstance(row[i], (int, float)) for row in rows) for i in range(len(header))]
    lines = []
    for row in texts:
        cells = [c.rjust(w) if right else c.ljust(w) for c, w, right in zip(row, widths, is_number)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
