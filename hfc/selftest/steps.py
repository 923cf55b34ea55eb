"""The steps that a selftest runs: odd numbers of rows, several slots, positions at 0 and far in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hfc.plan import Plan
from hfc.program import Program
from hfc.step import Segment, Step

FEW = 16  # rows of a step that the decode program of a GPU takes
# Segments as (rows, share of the context that lies before them); a step takes as many as there are slots.
DECODES = (
    ((1, 0.8),),
    ((1, 0.0), (1, 0.5), (1, 0.9), (1, 0.3)),
    ((7, 0.0), (1, 0.6), (5, 0.4)),
)
PREFILLS = (
    ((83, 0.0), (1, 0.5), (65, 0.3), (20, 0.7)),
    ((FEW + 1, 0.6),),
)


DRAFTED = (  # blocks: all rows are wanted
    ((5, 0.4),),
    ((3, 0.1), (7, 0.9), (2, 0.5)),
)
DRAFTED_MANY = (((FEW - 3, 0.3), (11, 0.7)),)


def steps_of(program: Program, plan: Plan) -> list[Step]:
    """Steps for a program of the plan; on the host one program takes all."""
    if program.is_draft:
        chosen = {Program.DRAFT_DECODE: DRAFTED, Program.DRAFT_PREFILL: DRAFTED_MANY}.get(
            program, DRAFTED + DRAFTED_MANY
        )
        made = (make_step(segments, plan, seed=i) for i, segments in enumerate(chosen))
        return [replace(step, output_rows=np.arange(len(step.tokens), dtype=np.int32)) for step in made]
    chosen = {Program.DECODE: DECODES, Program.PREFILL: PREFILLS}.get(program, DECODES + PREFILLS)
    return [step for i, segments in enumerate(chosen) if (step := make_step(segments, plan, seed=i))]


def make_step(segments: tuple[tuple[int, float], ...], plan: Plan, seed: int) -> Step:
    """Slots in a mixed order; rows and positions cut to what the plan holds."""
    rng = np.random.default_rng(seed)
    slots = rng.permutation(plan.slots)[: len(segments)].tolist()
    made, row = [], 0
    for slot, (rows, share) in zip(slots, segments):
        rows = min(rows, plan.max_rows - row, plan.context)
        if rows > 0:
            made.append(Segment(slot, row, rows, min(int(share * plan.context), plan.context - rows)))
            row += rows
    tokens = rng.integers(0, plan.vocab, row).astype(np.int32)
    wanted = np.sort(rng.permutation(row)[: min(plan.max_outputs, 5)]).astype(np.int32)
    return Step(tokens, tuple(made), wanted)
