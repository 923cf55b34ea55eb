"""`hfc pull`: a model by name, from the registry or the hub, fetched and checked."""

from __future__ import annotations

from pathlib import Path

from hfc.base.diagnostics import HfcError
from hfc.base.progress import spinner
from hfc.cli.fetching import get_files, make_ready
from hfc.runtime.pull import pull
from hfc.runtime.reference import parse_reference
from hfc.runtime.registry import REGISTRY, RegistryEntry
from hfc.runtime.source import source_of, unknown_model


def command(name: str, source: str | None, no_draft: bool) -> None:
    """Fetch a model, check its hashes, quantize it where it comes in 16 bits, and print where it is."""
    entry = REGISTRY.get(name)
    if entry is not None and entry.reference is None:
        with spinner(f"looking for {name}") as say:
            path = pull(entry, source, report=say)
        print(path)
        return
    if source not in (None, "hub"):
        raise HfcError(f"--from {source}: {name} comes from the hub", hint="leave --from out")
    reference = entry.reference if entry else parse_reference(name)
    if reference is None:
        raise unknown_model(name, Path(name))
    print(source_of(make_ready(get_files(reference))).path)
    if entry is not None and entry.draft and not no_draft:
        _pull_draft(REGISTRY[entry.draft])


def _pull_draft(entry: RegistryEntry) -> None:
    """What guesses for the model: `--draft auto` finds it."""
    print(source_of(make_ready(get_files(entry.reference))).path)
