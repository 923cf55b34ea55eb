#!/usr/bin/env python3
"""Run the kernel sweep in the emulator and record for `hfc matrix` what it said.

    scripts/record_emulated.py [-o docs/matrix-results/emulated.json]

tests/isa/test_isa_sweep.py holds every weight format and every KV format, as machine code of six architectures, to the interpreter
(15 minutes on 2 cores). An architecture whose formats are all equal is one record; otherwise each pair of formats that is.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

from hfc.formats import FORMATS, KV_FORMATS

ROOT = Path(__file__).resolve().parents[1]
SWEEP = "tests/isa/test_isa_sweep.py"
WHAT = f"{SWEEP}: linears and attention against the interpreter"
FIELDS = {"test_linears": "weights", "test_attention_and_cache_writes": "kv"}  # what the middle of a test's id names


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "docs/matrix-results/emulated.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "sweep.xml"
        pytest = [sys.executable, "-m", "pytest", "-n", "auto", "-m", "long or not long", SWEEP]
        subprocess.run([*pytest, f"--junitxml={report}"], cwd=ROOT)
        found = records(outcomes(ElementTree.parse(report)))
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text(json.dumps(found, indent=1) + "\n")
    return any(record["status"] == "different" for record in found)


def outcomes(report: ElementTree.ElementTree) -> dict[tuple[str, str, str], bool]:
    """(arch, field, format) -> whether every test of it passed; skipped tests do not count."""
    found: dict[tuple[str, str, str], bool] = {}
    for case in report.iter("testcase"):
        name, _, ids = case.get("name").rstrip("]").partition("[")
        if case.find("skipped") is None:
            _, form, arch = ids.rsplit("-", 2)
            key = (arch, FIELDS[name], form)
            found[key] = found.get(key, True) and case.find("failure") is None and case.find("error") is None
    return found


def records(found: Mapping[tuple[str, str, str], bool]) -> list[dict[str, str]]:
    """What hfc/matrix/results.py reads."""
    made = []
    for arch in sorted({arch for arch, _, _ in found}):
        weights, kvs = (_formats(found, arch, field, True) for field in FIELDS.values())
        if weights >= set(FORMATS) and kvs >= set(KV_FORMATS):
            made.append({"kind": "emulated", "status": "equal", "arch": arch, "what": WHAT})
            continue
        pairs = [(w, kv) for w in sorted(weights) for kv in sorted(kvs)]
        made += [
            {"kind": "emulated", "status": "equal", "arch": arch, "weights": w, "kv": kv, "what": WHAT}
            for w, kv in pairs
        ]
        for field in FIELDS.values():
            wrong = sorted(_formats(found, arch, field, False))
            made += [
                {"kind": "emulated", "status": "different", "arch": arch, field: form, "what": WHAT} for form in wrong
            ]
    return made


def _formats(found: Mapping[tuple[str, str, str], bool], arch: str, field: str, passed: bool) -> set[str]:
    """The formats of an arch with that outcome."""
    return {form for (a, f, form), ok in found.items() if (a, f, ok) == (arch, field, passed)}


if __name__ == "__main__":
    sys.exit(main())
