"""`hfc devices`: the cards of this machine."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from hfc.base.system import thread_count
from hfc.cli.table import table
from hfc.runtime.devices import AUTO, GIB, ROWS, Card, choose_device, find_cards


def command(as_json: bool) -> None:
    found = find_cards()
    taken = choose_device(AUTO, lambda arch: 0, lambda: found).device
    if as_json:
        cards = [{"device": c.device, **asdict(c.info), "is_taken": c.device == taken} for c in found.cards]
        print(json.dumps([*cards, {"device": "host", "is_taken": taken == "host"}], indent=1))
        return
    rows = [
        (c.device, c.info.name, c.info.arch, f"{c.info.compute_units} CUs", f"{c.info.memory_bytes / GIB:.1f} GiB", _notes(c, taken))
        for c in found.cards
    ]  # fmt: skip
    rows.append(
        (
            "host",
            "this CPU",
            "host",
            f"{thread_count()} threads",
            "-",
            "taken by auto" if taken == "host" else "",
        )
    )
    print(table(("device", "name", "arch", "units", "memory", ""), rows))
    for kind, why in found.missing.items():
        print(f"{kind}: {why}", file=sys.stderr)


def _notes(card: Card, taken: str) -> str:
    notes = ["taken by auto"] * (card.device == taken) + ["integrated"] * card.info.is_integrated
    return ", ".join(notes if card.info.arch in ROWS else [*notes, "hfc has no row for it"])
