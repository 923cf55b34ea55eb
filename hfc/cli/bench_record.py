"""Measurements of `hfc bench` as a record: a file to compare with later, and a text to paste."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec

from hfc import __version__
from hfc.base.diagnostics import HfcError
from hfc.base.whole_file import write_whole
from hfc.cli.measure import Measurement
from hfc.cli.table import table

FORMAT = 1


class BenchRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was measured, of what, on what. model: its name alone, no path of anybody's machine.

    choices: the options that change the speed, as given; those left out are the defaults."""

    format: int
    hfc: str
    date: str
    model: str
    choices: dict[str, str]
    device: str
    system: str
    results: list[dict[str, Any]]

    def speeds(self) -> dict[str, tuple[float, float, float]]:
        """Test -> its median, slowest and fastest repetition, tokens a second."""
        return {str(row["test"]): (float(row["tok_s"]), float(row["min"]), float(row["max"])) for row in self.results}


def record_of(model: str, choices: Mapping[str, object], results: Sequence[Measurement]) -> BenchRecord:
    given = {name: str(value) for name, value in choices.items() if value is not None}
    return BenchRecord(
        FORMAT,
        __version__,
        datetime.now(timezone.utc).isoformat(timespec="seconds"),
        Path(model).name,
        given,
        results[0].device,
        f"{platform.system()} {platform.release()} {platform.machine()}",
        [asdict(result) for result in results],
    )


def save(record: BenchRecord, path: Path) -> None:
    write_whole(path, msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n", "the record")


def load(path: Path) -> BenchRecord:
    """HfcError where the file is no record of `hfc bench --save`, or of --share."""
    text = path.read_text(encoding="utf-8", errors="replace")
    before, fence, rest = text.partition("```json\n")
    try:
        found = msgspec.json.decode(rest.partition("\n```")[0] if fence else text, type=BenchRecord)
        found.speeds()
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
        raise HfcError(
            f"{path}: no record of hfc bench: {error}", hint="hfc bench MODEL --save FILE writes one"
        ) from None
    if found.format != FORMAT:
        raise HfcError(f"{path}: a record of format {found.format}, this hfc reads {FORMAT}", hint="measure again")
    return found


def comparison(before: BenchRecord, now: BenchRecord) -> str:
    """Each test of either, with the speed of both. What differs besides the speed comes first."""
    notes = [
        f"{name}: {old} before, {new} now"
        for name, old, new in (
            ("model", before.model, now.model),
            ("device", before.device, now.device),
            ("options", before.choices, now.choices),
        )
        if old != new
    ]
    old, new = before.speeds(), now.speeds()
    rows = [(t, _number(old.get(t)), _number(new.get(t)), _change(old.get(t), new.get(t))) for t in {**old, **new}]
    return "\n".join([*notes, table(("test", f"hfc {before.hfc}, {before.date[:10]}", "now", "change"), rows)])


def shared(record: BenchRecord) -> str:
    """Markdown: a table for people, and the record itself for `--compare`."""
    rows = "\n".join(f"| {r['test']} | {r['tok_s']} | {r['min']} | {r['max']} |" for r in record.results)
    options = "".join(f", {name} {value}" for name, value in record.choices.items())
    data = msgspec.json.encode(record).decode()
    return (
        f"**{record.model}** on **{record.device}**, hfc {record.hfc}{options}; {record.system}, {record.date[:10]}\n\n"
        f"| test | tok/s | slowest | fastest |\n|---|---|---|---|\n{rows}\n\n```json\n{data}\n```\n"
    )


def _number(speed: tuple[float, float, float] | None) -> str:
    return "-" if speed is None else f"{speed[0]:g}"


def _change(old: tuple[float, float, float] | None, new: tuple[float, float, float] | None) -> str:
    """The ratio of the medians, unless slowest and fastest of the two overlap: then nothing was shown."""
    if old is None or new is None or not old[0]:
        return "-"
    ratio = f"{new[0] / old[0] - 1:+.1%}"
    return f"{ratio}, within the spread" if new[1] <= old[2] and old[1] <= new[2] else ratio
