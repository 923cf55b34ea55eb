"""`hfc diff`: what two bundles differ in."""

from __future__ import annotations

from pathlib import Path

from hfc.bundles import load_bundle
from hfc.workbench.diff import differences


def command(old: Path, new: Path) -> None:
    """Say what changed from one bundle to the other. Exit code 1 if anything did."""
    lines = differences(load_bundle(old), load_bundle(new))
    if not lines:
        print(f"{old} and {new}: the same model, plans and code")
        return
    print("\n".join(lines))
    raise SystemExit(1)
