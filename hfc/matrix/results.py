"""Recorded results: what an emulator or a card said about cells, one JSON file each in docs/matrix-results.

A file is a list of records. `kind` and `status` are required; a field that is missing or null holds for every cell:

    {"kind": "emulated" | "measured", "status": "equal" | "different" | "timed", "arch": "gfx1100", "model": "Qwen3.5-9B",
     "weights": "q4_k", "kv": "f16", "card": "RX 7900 XTX", "decode_tok_s": 93.1, "prefill_tok_s": 1800.0,
     "what": "prefill and 8 decode steps: greedy tokens equal"}
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError, unknown
from hfc.matrix.cells import Place

KINDS, STATUSES = ("emulated", "measured"), ("equal", "different", "timed")


@dataclass(frozen=True)
class MatrixRecord:
    """model None: kernels alone were tried. status: against the interpreter; "timed": speed alone, nothing was compared."""

    kind: str
    status: str
    arch: str | None = None
    model: str | None = None
    weights: str | None = None
    kv: str | None = None
    card: str | None = None
    decode_tok_s: float | None = None
    prefill_tok_s: float | None = None
    what: str = ""

    def holds_for(self, place: Place) -> bool:
        return all(getattr(self, name) in (None, getattr(place, name)) for name in ("arch", "model", "weights", "kv"))


def read_results(folder: Path) -> list[MatrixRecord]:
    """Every record of the folder's .json files; none if there is no such folder."""
    records: list[MatrixRecord] = []
    for path in sorted(folder.glob("*.json")):
        try:
            rows = json.loads(path.read_text())
        except ValueError as error:
            raise HfcError(f"{path}: cannot be read as JSON: {error}") from error
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise HfcError(f"{path}: expected a list of records", hint="see hfc/matrix/results.py")
        records += [_record(row, path) for row in rows]
    return records


def _record(row: dict, path: Path) -> MatrixRecord:
    names = [f.name for f in fields(MatrixRecord)]
    for name in row:
        if name not in names:
            raise HfcError(f"{path}: {unknown('field', name, names).message}", hint=", ".join(names))
    if row.get("kind") not in KINDS or row.get("status") not in STATUSES:
        raise HfcError(
            f"{path}: a record needs kind ({', '.join(KINDS)}) and status ({', '.join(STATUSES)}), found {row}"
        )
    return MatrixRecord(**row)


def verdict(records: Iterable[MatrixRecord], kind: str, place: Place) -> str:
    """ "" (nothing recorded), "kernels" (tried without a model), "timed", "equal", or "different" if any record says so."""
    found = [r for r in records if r.kind == kind and r.holds_for(place)]
    if any(r.status == "different" for r in found):
        return "different"
    if any(r.model and r.status == "equal" for r in found):
        return "equal"
    if any(r.status == "timed" for r in found):
        return "timed"
    return "kernels" if found else ""
