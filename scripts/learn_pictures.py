#!/usr/bin/env python3
"""The pictures of docs/learn from the program's own tables and measurements: scripts/learn_pictures.py [FOLDER].

tests/test_site.py holds the files to what this draws. How each is drawn: scripts/pictures."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from scripts.pictures import delta_rule, drafts, matrix_units, silicon, streaming

FOLDER = Path(__file__).parent.parent / "docs/learn"
PICTURES = {
    "occupancy.svg": silicon.occupancy,
    "grids.svg": silicon.grids,
    "banks.svg": silicon.banks,
    "streams.svg": silicon.streams,
    "operands.svg": matrix_units.operands,
    "sums.svg": matrix_units.sums,
    "delta_rule.svg": delta_rule.states,
    "drafts.svg": drafts.speedups,
    "streaming.svg": streaming.timelines,
    "bandwidth.svg": streaming.bandwidth,
}


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    for name, draw in PICTURES.items():
        (folder / name).write_text(draw())
