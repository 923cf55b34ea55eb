"""--stages as text: "gfx1100:0-19,gfx1030:20-31" <-> the arch and the layers of each stage of a pipeline."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hfc.base.diagnostics import HfcError

STAGE = re.compile(r"\s*([\w-]+):(\d+)(?:-(\d+))?\s*")
HINT = "every layer once, in order: --stages gfx1100:0-19,gfx1030:20-31"
Ranges = tuple[tuple[int, int], ...]


def parse_stages(text: str) -> tuple[list[str], Ranges]:
    """Archs, and (first, last) layer of each. HfcError for what is no list of stages."""
    archs, ranges = [], []
    for part in text.split(","):
        found = STAGE.fullmatch(part)
        if not found:
            raise HfcError(f"--stages: {part.strip()!r} is no stage; ARCH:FIRST-LAST is expected", hint=HINT)
        archs.append(found[1])
        ranges.append((int(found[2]), int(found[3] or found[2])))
    return archs, tuple(ranges)


def written_stages(archs: Sequence[str], ranges: Ranges) -> str:
    return ",".join(f"{arch}:{first}-{last}" for arch, (first, last) in zip(archs, ranges, strict=True))


def check_ranges(archs: Sequence[str], ranges: Ranges, layers: int) -> None:
    """HfcError unless the stages share out layers 0 to layers - 1."""
    text = written_stages(archs, ranges)
    if len(ranges) < 2:
        raise HfcError(f"--stages {text}: a pipeline has two stages or more", hint=f"--arch {archs[0]} for one device")
    if len(ranges) > layers:
        raise HfcError(f"--stages {text}: {len(ranges)} stages for a model of {layers} layers", hint=HINT)
    expected = 0
    for first, last in ranges:
        if last < first:
            raise HfcError(f"--stages {text}: layers {first}-{last} run backwards", hint=HINT)
        if first < expected:
            raise HfcError(f"--stages {text}: layer {first} is in two stages", hint=HINT)
        if first > expected:
            missing = f"layer {expected} is" if first == expected + 1 else f"layers {expected} to {first - 1} are"
            raise HfcError(f"--stages {text}: {missing} in no stage", hint=HINT)
        expected = last + 1
    if expected > layers:
        raise HfcError(f"--stages {text}: the model has layers 0 to {layers - 1}", hint=HINT)
    if expected < layers:
        raise HfcError(f"--stages {text}: layers {expected} to {layers - 1} are in no stage", hint=HINT)
