"""`hfc tune`: ways to multiply in decode measured on the card that is here, and the table that compilations follow."""

from __future__ import annotations

import json
from pathlib import Path

from hfc.backend.skeletons.linear.choices import Choice, read_rows, write_rows
from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.base.knobs import own_table
from hfc.base.progress import spinner
from hfc.cli.device import announce, device_for
from hfc.cli.open_model import resolve
from hfc.cli.table import table
from hfc.compiler import CompileOptions, emit_model, open_source, settings_for
from hfc.runtime.driver import Driver
from hfc.runtime.executor import OPENERS, split_device
from hfc.target.arch import find_arch
from hfc.target.profiles import AUTO_PROFILE
from hfc.tune.compare import ROWS, Tuned, tune

CONTEXT, MAX_ROWS = 512, 64


@dataclass(frozen=True)
class TuneOptions:
    """What `hfc tune` was told: a field for each parameter of its usage, where their meaning stands (cli/usage/tune.py)."""

    model: str
    output: Path | None
    repetitions: int
    dry_run: bool
    as_json: bool
    device: str
    profile: str | None
    format: str | None
    weights: str | None


OPTIONS = TuneOptions


def command(options: TuneOptions) -> None:
    """Compare the ways to multiply of every matrix of a model, and keep what is faster."""
    target = options.output or own_table()
    if target is None and not options.dry_run:
        raise HfcError("HFC_CHOICES=off: there is no table to write", hint="--output FILE, or --dry-run")
    if target and target.exists():
        read_rows(target)  # a wrong file is refused before minutes of measuring
    source = resolve(options.model)
    if source.kind == "bundle":
        raise HfcError(
            f"{options.model} is compiled already", hint="name what it was compiled from; then compile it again"
        )
    chosen = device_for(options.device, [source], options.weights)
    kind, which = split_device(chosen.device)
    if kind not in OPENERS:
        raise HfcError(f"device {chosen.device}: hfc tune measures on a GPU", hint="hfc devices lists the cards")
    announce(chosen)
    driver = OPENERS[kind](int(which or 0))
    found = measured(options, str(source.path), driver)
    card, arch = driver.info.name, driver.info.arch
    if target and not options.dry_run:
        write_rows(target, kept_rows(target, found, arch, card))
    if options.as_json:
        print(json.dumps([as_object(tuned) for tuned in found], indent=1))
        return
    print(f"{card} ({arch}), microseconds a launch, weights from memory, medians of {options.repetitions}")
    print(table(HEADER, [line for tuned in found for line in lines(tuned)]))
    gained = sum(tuned.best is not None for tuned in found)
    print(
        f"{gained} of {len(found)} become faster" + (f": written to {target}" if target and not options.dry_run else "")
    )


def measured(options: TuneOptions, path: str, driver: Driver) -> list[Tuned]:
    opened = open_source(path, options.weights, options.format)
    wanted = CompileOptions(
        ctx=min(CONTEXT, opened.context_limit), max_rows=MAX_ROWS, profile=options.profile or AUTO_PROFILE
    )
    settings = settings_for(opened, find_arch(driver.info.arch), wanted)
    with spinner("compiling") as say:
        return list(tune(emit_model(opened, settings), settings, driver, options.repetitions, say))


def kept_rows(path: Path, found: list[Tuned], arch: str, card: str) -> list[Choice]:
    """What the table holds afterwards: rows of other regions stay, a region whose default won has none."""
    before = {row.key: row for row in (read_rows(path) if path.exists() else ())}
    for tuned in found:
        before.pop(tuned.key(arch), None)
        row = tuned.row(arch, card)
        if row:
            before[row.key] = row
    return list(before.values())


HEADER = ("matrix", "way", *(f"{rows} row{'s' * (rows > 1)}" for rows in ROWS), "gain")


def lines(tuned: Tuned) -> list[tuple]:
    """The default, what takes its place, and otherwise the fastest beside it."""
    if not tuned.timed:
        return [(tuned.title, "default", *("-" for _ in ROWS), "no candidate ran")]
    shown = tuned.best or tuned.timed[0]
    default = (tuned.title, "default", *(f"{shown.default_us[rows]:.1f}" for rows in ROWS), "")
    other = ("", str(shown.candidate), *(f"{shown.us[rows]:.1f}" for rows in ROWS), f"{100 * shown.gain:+.1f} %")
    return [default, (*other[:-1], other[-1] + ("" if tuned.best else ", not taken"))]


def as_object(tuned: Tuned) -> dict:
    return {
        "matrix": tuned.title,
        "taken": str(tuned.best.candidate) if tuned.best else None,
        "candidates": [
            {"way": str(each.candidate), "us": dict(each.us), "default_us": dict(each.default_us)}
            for each in tuned.timed
        ],
        "left_out": {str(way): why for way, why in tuned.left_out.items()},
    }
