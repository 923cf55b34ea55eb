"""`hfc show`: what is known of a model."""

from __future__ import annotations

from pathlib import Path

from hfc.base.diagnostics import HfcError
from hfc.cli.list import download_text, size_text
from hfc.cli.table import table
from hfc.runtime.library import FetchedModel, records
from hfc.runtime.reference import parse_reference
from hfc.runtime.registry import REGISTRY, RegistryEntry, find_local
from hfc.runtime.source import is_path, is_ready, source_of, unknown_model

NOT_PINNED = (
    "no: the newest revision when fetched, its files checked against the hub's hashes; {repository}@COMMIT fixes one"
)


def command(name: str) -> None:
    """Print a table of facts."""
    entry = REGISTRY.get(name)
    reference = entry.reference if entry else parse_reference(name)
    record = next((r for r in records() if reference is not None and r.name == str(reference)), None)
    if entry is None and record is None and is_path(name):
        raise HfcError(
            f"{name} is a file or folder, not a name", hint=f"hfc inspect {name}; of a bundle: hfc explain {name}"
        )
    if entry is None and record is None:
        raise unknown_model(name, Path(name))
    print(table(("what", "value"), [*(_of_entry(entry) if entry else ()), *(_of_record(record) if record else ())]))


def _of_entry(entry: RegistryEntry) -> list[tuple[str, str]]:
    rows = [("name", entry.name), ("model", entry.summary), ("license", entry.license or "see its repository")]
    if entry.family:
        rows.append(("model file", f"{entry.family}.hfm"))
    if entry.reference:
        rows += [("repository", str(entry.reference)), ("download", download_text(entry))]
        rows += (
            [] if entry.reference.revision else [("pinned", NOT_PINNED.format(repository=entry.reference.repository))]
        )
    if entry.hub:
        rows += [("repository", entry.hub.repository), ("pinned", f"revision {entry.hub.revision}")]
        rows += [("file", entry.file), ("sha256", entry.sha256)]
        rows += [("size", size_text(entry.size_bytes)), ("path", str(find_local(entry) or "not here yet"))]
    if entry.parameters:
        billions = entry.parameters / 1e9
        rows.append(("parameters", f"{billions:.1f} billion" if billions >= 1 else f"{billions * 1000:.0f} million"))
    rows.append(("sampling", _pairs(entry.sampling) or "as its own files say"))
    return [*rows, ("draft", entry.draft)] if entry.draft else rows


def _of_record(record: FetchedModel) -> list[tuple[str, str]]:
    rows = [("repository", record.repository), ("revision", record.revision), ("fetched", size_text(record.size_bytes))]
    rows += [(Path(path).name, f"{size_text(size)} {digest[:16]}") for path, size, _, digest in record.files]
    state = "" if is_ready(record) else ", to be quantized first"
    return [*rows, ("path", f"{source_of(record).path}{state}")]


def _pairs(values) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
