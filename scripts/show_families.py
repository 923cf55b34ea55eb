"""Measures the shipped families on devices and writes the table of docs/models.md.

usage: python scripts/show_families.py [NAME...] [--on DEVICE,...] [--launches] [--table]

DEVICE: interpret, gguf, host, an arch of the emulator (gfx1100), cuda (the GPU of this machine).  A figure is the largest relative L2
of logits against transformers in float32: of a whole prompt, token by token, and behind greedy tokens, which must be equal. It goes to
tests/data/families/NAME/shown.json, with the launches of a layer.  --launches: only count those.  --table: only write the table again from
these files.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from family_fixture import NAMES, Fixture  # noqa: E402

USUAL = "interpret,gguf,host,gfx1100,gfx906,gfx1201"
PAGE = ROOT / "docs/models.md"
START, END = "<!-- families: scripts/show_families.py -->", "<!-- end of families -->"
QUANTIZED = "q8_0"  # as every format that mixtures of experts are joined in
LAUNCHES = ("launches", "launches plain")
COLUMNS = ("interpret", "gguf", "llama.cpp", "host", "gfx1100", "gfx906", "gfx1201", "sm_90")


def show(fixture: Fixture, devices: list[str]) -> None:
    shown = recorded(fixture)
    for device in devices:
        if device == "gguf" and fixture.gguf is None:
            continue
        model = device_model(fixture, device)
        found = fixture.compare(model, fixture.gguf_reference if device == "gguf" else None)
        model.close()
        shown["sm_90" if device == "cuda" else device] = found.worst
        print(f"{fixture.name} on {device}: {found}", flush=True)
    if "llamacpp_logits" in fixture.reference:
        expected = fixture.gguf_reference["prefill_logits"]
        difference = np.linalg.norm(fixture.reference["llamacpp_logits"] - expected) / np.linalg.norm(expected)
        shown["llama.cpp"] = float(difference)
    ordered = {name: float(f"{shown[name]:.1e}") for name in COLUMNS if name in shown} | launches(fixture)
    path(fixture).write_text(json.dumps(ordered, indent=1) + "\n")


def launches(fixture: Fixture) -> dict[str, list[int]]:
    """Of a layer of each kind, for one row: with quantized and with plain weights."""
    return dict(zip(LAUNCHES, (fixture.launches(QUANTIZED), fixture.launches())))


def device_model(fixture: Fixture, device: str):
    if device in ("interpret", "gguf"):
        return fixture.interpreted(fixture.gguf if device == "gguf" else None)
    return fixture.on("sm_90" if device == "cuda" else device)


def path(fixture: Fixture) -> Path:
    return fixture.folder / "shown.json"


def recorded(fixture: Fixture) -> dict:
    return json.loads(path(fixture).read_text()) if path(fixture).exists() else {}


def table() -> str:
    """A row for each family; what was not measured is a dash."""
    lines = [
        f"| model file | launches a layer | plain weights | lines | {' | '.join(COLUMNS)} |",
        "|---" * (4 + len(COLUMNS)) + "|",
    ]
    for fixture in map(Fixture, NAMES):
        shown = recorded(fixture)
        figures = [f"{shown[name]:.0e}" if name in shown else "–" for name in COLUMNS]
        counts = [", ".join(map(str, shown.get(name, ()))) or "–" for name in LAUNCHES]
        stem = fixture.source.model.path.stem
        label = stem if stem == fixture.name else f"{stem} ({fixture.name})"
        lines.append(f"| {label} | {' | '.join(counts)} | {fixture.lines} | {' | '.join(figures)} |")
    return "\n".join(lines)


def page_with(rows: str) -> str:
    text = PAGE.read_text(encoding="utf-8")
    return re.sub(f"(?s){START}.*{END}", f"{START}\n{rows}\n{END}", text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--on", default=USUAL, metavar="DEVICE,...")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--launches", action="store_true")
    given = parser.parse_args()
    for name in () if given.table else given.names or NAMES:
        show(Fixture(name), [] if given.launches else given.on.split(","))
    PAGE.write_text(page_with(table()), encoding="utf-8")


if __name__ == "__main__":
    main()
