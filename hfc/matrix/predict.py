"""A plan on a card: the bound that the roofline sets to its tokens a second."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.plan import Launch, Plan, at_most_once, weight_sizes
from hfc.pointer import Pointer
from hfc.program import Program
from hfc.runtime.fit import need_of
from hfc.runtime.launcher import grid_size
from hfc.step import Step
from hfc.target.arch import Arch, CardSpec
from hfc.target.roofline import RooflineWork, least_seconds


@dataclass(frozen=True)
class SpeedBound:
    """No implementation of this plan is faster on this card. Tokens a second; None: it does not fit into the memory."""

    card: str
    decode_tok_s: float | None
    prefill_tok_s: float | None


def bounds(plan: Plan, arch: Arch, features: Mapping[str, str]) -> tuple[SpeedBound, ...]:
    """The plan on every known card: decoding at its full context, and a first prompt of max_rows tokens.

    features: kernel -> the instruction that does its products; missing: f32."""
    decode = [*works(plan, "decode", features, 1, plan.context), *works(plan, "sample", features, 1, plan.context)]
    prefill = works(plan, "prefill", features, plan.max_rows, plan.max_rows)
    need = need_of(plan).total
    made = []
    for card in arch.cards:
        fits = need <= card.memory_gb << 30
        speeds = (_speed(1, decode, arch, card), _speed(plan.max_rows, prefill, arch, card)) if fits else (None, None)
        made.append(SpeedBound(card.name, *speeds))
    return tuple(made)


def _speed(tokens: int, launches: list[RooflineWork], arch: Arch, card: CardSpec) -> float:
    return round(tokens / least_seconds(launches, arch, card), 1)


def works(plan: Plan, program: Program, features: Mapping[str, str], rows: int, end: int) -> list[RooflineWork]:
    """What each launch of `program` must do for one segment of `rows` rows that ends at context `end`; one output row.

    Launches for other numbers of rows have empty grids and are left out."""
    step = Step.single(np.zeros(rows, np.int32), position=end - rows, outputs="last")
    weights = weight_sizes(plan)
    buffers = {b.pointer: b.row_bytes for b in plan.buffers}
    seen = sum(range(end - rows + 1, end + 1))  # rows x tokens that they see
    made = []
    for launch in plan.programs[program]:
        count = 1 if any("R" in size for size in launch.grid) else rows
        moved = _moved(launch, count, end, weights, buffers)
        operations = _times(launch.flops, count, seen)
        if moved or operations or all(grid_size(size, step) for size in launch.grid):
            made.append(RooflineWork(moved, operations, features.get(launch.kernel, "")))
    return made


def _moved(launch: Launch, rows: int, end: int, weights: Mapping[Pointer, int], buffers: Mapping[Pointer, int]) -> int:
    """Bytes, with the cache read once for all rows."""
    return launch.bytes["segment"] + launch.bytes["context"] * end + at_most_once(launch, rows, weights, buffers)


def _times(amounts: Mapping[str, int], rows: int, seen: int) -> int:
    times = {"step": 1, "row": rows, "segment": 1, "context": seen}
    return sum(amount * times[kind] for kind, amount in amounts.items())
