#!/usr/bin/env python3
"""Writes docs/learn/streaming.json: what waves of a decode kernel do on one unit of a card, by how many there are.

The kernel is hfc's own (gate and up of Qwen 3.5 9B, mq4g256, one token); the emulator executes a thread block of it, the timing model of
`hfc predict` replays that block. docs/learn/streaming.svg and bandwidth.svg are drawn from the file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from hfc.compiler import CompileOptions, compile_model
from hfc.predict.cards import find_cards
from hfc.predict.instructions import UNITS
from hfc.predict.launch import MOST_BLOCKS, Sample, Site, site_of
from hfc.predict.program import LaunchSampler
from hfc.predict.record import is_linear, plain
from hfc.predict.replay import LINE, EventLog, machine_of, replay

ROOT = Path(__file__).parent.parent
MODEL, ARCH, CARD, FORMAT = "Qwen3.5-9B", "gfx1100", "RX 7900 XTX", "mq4g256"
SHAPE = "_k4096_n24576"
BLOCKS = (1, 2, 3, 4, 6, 8)  # resident on a unit
SHOWN = (1, 2, 4)  # of them with their events
WINDOW = 4000  # cycles of events


def main() -> None:
    config = ROOT / f"tests/data/configs/{MODEL}.config.json"
    bundle = compile_model(str(config), [ARCH], CompileOptions(kv="asym3", ctx=4096, default_format=FORMAT))
    calls = LaunchSampler(bundle, ARCH).calls(1, 100, lambda launch: is_linear(launch) and SHAPE in launch.kernel)
    sample = calls.distinct[0].sample
    site = site_of(*next(pair for pair in find_cards(ARCH) if pair[1].name == CARD))
    text = {
        "kernel": plain(sample.name),
        "arch": ARCH,
        "card": CARD,
        "waves_of_a_block": len(sample.blocks[0].waves),
        "window": WINDOW,
        "runs": [run_of(sample, site, resident) for resident in BLOCKS],
    }
    (ROOT / "docs/learn/streaming.json").write_text(json.dumps(text, separators=(",", ":")) + "\n")


def run_of(sample: Sample, site: Site, resident: int) -> dict:
    """Share of the unit's part of DRAM that is in use, and for SHOWN what each wave does: loads [wave, from, until], products [wave, cycle]."""
    line_cycles = LINE * site.units / site.bytes_per_cycle
    waves = site.arch.occupancy(sample.vgprs)
    machine, log = machine_of(site.timing, waves, line_cycles, sample.dram), EventLog(1 << 20)
    count = min(-(-sample.total // site.units), MOST_BLOCKS)
    report = replay(machine, sample.table, sample.blocks, count, resident, sample.name, log)
    found = {
        "resident": resident,
        "cycles": report.cycles,
        "dram": round(report.dram_lines * line_cycles / report.cycles, 4),
    }
    if resident in SHOWN:
        events = log.events[log.events["cycle"] < WINDOW]
        loads = events[events["unit"] == UNITS.index("LOAD")]
        math = events[events["unit"] == UNITS.index("VALU")]
        found["loads"] = np.stack([loads["wave"], loads["cycle"], loads["until"]], 1).tolist()
        found["math"] = busy(math["wave"], math["cycle"])
    return found


def busy(waves: np.ndarray, cycles: np.ndarray, gap: int = 24) -> list[list[int]]:
    """[wave, from, until]: stretches in which a wave issues vector instructions with less than `gap` cycles between them."""
    stretches = []
    for wave in np.unique(waves):
        own = np.sort(cycles[waves == wave].astype(np.int64))
        starts = np.flatnonzero(np.diff(own, prepend=-gap - 1) > gap)
        ends = [*starts[1:], len(own)]
        stretches += [[int(wave), int(own[start]), int(own[end - 1]) + 1] for start, end in zip(starts, ends)]
    return stretches


if __name__ == "__main__":
    main()
