"""Predicted speeds of a model's linears as rows of a table, which a change of kernels must not make worse."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import astuple, fields
from pathlib import Path

from hfc.base.dataclass import dataclass
from hfc.plan import Bundle, Launch
from hfc.predict.launch import Site
from hfc.predict.program import Estimate, LaunchSampler, estimate

CONTEXT, PROMPT = 100, 512
LINEAR = re.compile(r"(linear|zip|top|few|dot|mixture)\w*_k\d+_n\d+")
TOLERANCE = 0.02
PRINTED = 4  # digits


@dataclass(frozen=True)
class Speed:
    """One kind of launch: GB/s of weights in decode, TFLOP/s of useful products in prefill."""

    model: str
    arch: str
    program: str
    kernel: str
    value: float

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.model, self.arch, self.program, self.kernel


def speeds(bundle: Bundle, model: str, arch: str, program: str, site: Site, blocks: int = 2) -> list[Speed]:
    """Of every linear of one token at context 100, or of a prompt of 512 tokens."""
    tokens = 1 if program == "decode" else PROMPT
    wanted = is_linear if program == "decode" else lambda launch: is_linear(launch) and not for_outputs(launch)
    calls = LaunchSampler(bundle, arch, blocks).calls(tokens, max(tokens, CONTEXT), wanted)
    return speeds_of(estimate(calls, site), model, arch)


def is_linear(launch: Launch) -> bool:
    return bool(LINEAR.match(launch.kernel)) and not launch.kernel.endswith(
        ("_stage", "_numbers", "_rotate", "_finish", "_prepare")
    )


def for_outputs(launch: Launch) -> bool:
    """Whether it runs for the rows whose logits are wanted: one of a prompt."""
    return any("R" in size for size in launch.grid)


def speeds_of(found: Estimate, model: str, arch: str) -> list[Speed]:
    made, seen = [], Counter()
    for timed in found.launches:
        amount, unit = (timed.call.weight_bytes, 1e9) if found.program == "decode" else (timed.call.operations, 1e12)
        value = float(f"{amount / timed.time.seconds / unit:.{PRINTED}g}")
        name = plain(timed.call.launch.kernel)
        seen[name] += 1  # experts and the shared expert may have equal shapes
        made.append(Speed(model, arch, found.program, name + (f"_{seen[name]}" if seen[name] > 1 else ""), value))
    return made


def plain(kernel: str) -> str:
    """A kernel's name without the hash of its source."""
    return re.sub(r"_[0-9a-f]{8}(?=_|$)", "", kernel)


def slower(recorded: Iterable[Speed], found: Iterable[Speed]) -> list[str]:
    """What is missing, or slower than the table says by more than 2 %."""
    now = {speed.key: speed.value for speed in found}
    wrong = []
    for speed in recorded:
        value = now.get(speed.key)
        if value is None:
            wrong.append(f"{' '.join(speed.key)}: {speed.value} in the table, no such launch now")
        elif value < speed.value * (1 - TOLERANCE):
            wrong.append(f"{' '.join(speed.key)}: {value}, {speed.value} in the table")
    return wrong


def read_table(path: Path) -> list[Speed]:
    with path.open(newline="") as file:
        return [
            Speed(r["model"], r["arch"], r["program"], r["kernel"], float(r["value"])) for r in csv.DictReader(file)
        ]


def write_table(path: Path, rows: Iterable[Speed]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in fields(Speed)])
        writer.writerows(astuple(row) for row in sorted(rows, key=lambda row: row.key))
