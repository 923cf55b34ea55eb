"""`hfc rm`: models off this machine."""

from __future__ import annotations

from hfc.base.diagnostics import HfcError
from hfc.cli.list import size_text
from hfc.runtime.library import FetchedModel, records, remove, unused
from hfc.runtime.registry import REGISTRY, cached_path, find_local, names_here


def command(names: list[str] | None, unused_too: bool, dry_run: bool) -> None:
    """Remove models and what nothing needs."""
    if not names and not unused_too:
        raise HfcError("there is nothing to remove", hint="name a model of `hfc list`, or give --unused")
    for name in names or ():
        _remove(name, dry_run)
    if unused_too:
        found = list(unused())
        total = sum(path.stat().st_size for path in found)
        for path in found:
            print(path) if dry_run else path.unlink(missing_ok=True)
        print(f"{'would remove' if dry_run else 'removed'} {len(found)} unused files, {size_text(total)}")


def _remove(name: str, dry_run: bool) -> None:
    entry = REGISTRY.get(name)
    if entry is not None and entry.reference is None and cached_path(entry).is_file():
        print(f"{'would remove' if dry_run else 'removed'} {cached_path(entry)}")
        if not dry_run:
            cached_path(entry).unlink()
        return
    record = _record(str(entry.reference) if entry and entry.reference else name, name)
    if dry_run:
        print(f"would remove {record.name}, {size_text(record.size_bytes)}")
        return
    print(f"removed {record.name}, {size_text(remove(record))}")


def _record(reference: str, name: str) -> FetchedModel:
    found = next((record for record in records() if record.name == reference), None)
    if found is not None:
        return found
    entry = REGISTRY.get(name)
    if entry is not None and entry.wheel is not None and (path := find_local(entry)):
        raise HfcError(f"{name} belongs to an installed package: {path}", hint=f"pip uninstall {entry.wheel.package}")
    raise HfcError(f"{name} is not on this machine", hint="here are: " + (", ".join(names_here()) or "none"))
