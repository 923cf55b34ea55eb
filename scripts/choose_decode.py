"""Compares ways to multiply in decode by what `hfc predict` says of them, and writes the fastest two of each linear to the table that
compilations read (hfc/backend/skeletons/linear/choices.csv).

    python scripts/choose_decode.py MODEL,... ARCH,... [FORMAT,... [WAYS]]

A candidate's time is that of all its launches for one row, with the gaps behind them. Rows of other sizes stay as they are. WAYS: a
regular expression; only what matches it is compared, with the two of the row that is there: after a change that concerns no other.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from hfc.backend import gpu
from hfc.backend.emit import Emitted
from hfc.backend.shape import Geometry
from hfc.backend.skeletons.linear.candidates import dots, launches_as, serves
from hfc.backend.skeletons.linear.choices import TABLE, Candidate, Choice, choices, formats_of, kind_of, write_rows
from hfc.backend.skeletons.linear.region import LinearRegion
from hfc.backend.skeletons.linear.skinny import geometry as skinny
from hfc.backend.spec import Bound
from hfc.base.diagnostics import HfcError
from hfc.compiler import CompileOptions, emit_model, open_source, settings_for
from hfc.passes.settings import Settings
from hfc.plan import Bundle
from hfc.predict.launch import site_of
from hfc.predict.program import LaunchSampler, estimate
from hfc.program import Program
from hfc.target.arch import Arch, find_arch

ROOT = Path(__file__).parent.parent
CONTEXT = 100
EVERY = ".*"


def ways(arch: Arch, matching: str) -> list[Candidate]:
    every = [*dots(arch), *([Candidate("skinny")] if skinny.unit_of(arch) else [])]
    return [way for way in every if re.fullmatch(matching, str(way))]


def forced(wanted: Candidate) -> Callable[[Bound, Program, Arch], tuple[Geometry, ...]]:
    """Launches of dense linears of decode alone, in this way."""

    def steps(bound: Bound, program: Program, arch: Arch) -> tuple[Geometry, ...]:
        if program is not Program.DECODE or not isinstance(bound.region, LinearRegion) or bound.region.top:
            return ()
        if not serves(bound.region, arch, wanted) or (wanted.variant == "skinny" and skinny.cannot(bound, arch)):
            return ()
        return tuple(shape for shape in launches_as(bound, arch, wanted) if "_rows" not in shape.symbol)

    return steps


def times(emitted: Emitted, settings: Settings, wanted: Candidate) -> dict[str, float]:
    """Microseconds of each region, by its name."""
    arch = settings.arch
    plan, files = gpu.build(emitted, settings, forced(wanted))
    bundle = Bundle(
        {"name": "choose", "kind": "random", "weights": "", "context": settings.context}, {arch.name: plan}, files
    )
    found = estimate(LaunchSampler(bundle, arch.name).calls(1, CONTEXT), site_of(arch, arch.cards[0]))
    made: dict[str, float] = {}
    for timed in found.launches:
        region = next(call.bound.name for call in emitted.calls if timed.call.launch.kernel.startswith(call.bound.name))
        made[region] = made.get(region, 0.0) + (timed.time.seconds + found.gap_seconds) * 1e6
    return made


def compare(model: str, arch: str, form: str, matching: str, kept: Mapping[tuple, Choice]) -> list[Choice]:
    opened = open_source(ROOT / f"tests/data/configs/{model}.config.json", None, form)
    settings = settings_for(opened, find_arch(arch), CompileOptions(kv="asym3", ctx=4096))
    emitted = emit_model(opened, settings)
    regions = {
        call.bound.name: call.bound.region for call in emitted.calls if isinstance(call.bound.region, LinearRegion)
    }
    keys = {name: (arch, kind_of(r), formats_of(r), r.k, r.outputs) for name, r in regions.items()}
    rows = {name: kept[key] for name, key in keys.items() if key in kept and matching != EVERY}
    found = {name: {row.best: row.best_us, row.second: row.second_us} for name, row in rows.items()}
    for wanted in ways(settings.arch, matching):
        try:
            for name, us in times(emitted, settings, wanted).items():
                found.setdefault(name, {})[wanted] = round(us, 2)
                print(arch, model, name, wanted, f"{us:.2f}", flush=True)
        except HfcError as error:  # a gate that the candidate does not keep
            print(arch, model, wanted, str(error).splitlines()[0], flush=True)
    made = []
    for name, by in found.items():
        (best, best_us), (second, second_us) = sorted(by.items(), key=lambda item: item[1])[:2]
        made.append(Choice(*keys[name], best, best_us, second, second_us))
    return made


def main() -> None:
    models, archs, forms, (matching,) = (words.split(",") for words in [*sys.argv[1:], "mq4g256", EVERY][:4])
    kept = {row.key: row for row in choices()}
    for form in forms:
        for model in models:
            for arch in archs:
                kept |= {row.key: row for row in compare(model, arch, form, matching, kept)}
                write_rows(TABLE, kept.values())


main()
