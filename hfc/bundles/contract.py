"""What compiled code takes for granted of its plan: the sizes behind every pointer, and the numbers that became constants.

The compiler writes the contract's hash into the host library or launch tape; a plan with another one is not run by that code."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict

from hfc.formats import weight_format
from hfc.formats.tile import tile_layout
from hfc.plan import MeetingWords, Plan, WeightRef, pointer_table
from hfc.pointer import PARAMETERS, RANKS, STEP, TOKENS, Pointer
from hfc.sampling import sampling_words
from hfc.step import step_words

RANKS_BYTES = 80  # of HfcRanks in backend/ranks.h


def contract(plan: Plan) -> str:
    """A hash over everything that could make the plan's code read or write beside its memory. Names do not count: plans of
    equal sizes share their code."""
    sizes, table = pointer_sizes(plan), pointer_table(plan)
    number = {pointer: i for i, pointer in enumerate(table)}
    offsets = {b.pointer: b.offset for b in plan.buffers}  # another rank's buffer lies at the place of this one's
    offsets |= {p: offsets[Pointer.buffer(p.name)] for p in table if p.kind == "peer"}
    launches = [
        [name, launch.kernel, [number[p] for p in launch.pointers], launch.grid, launch.block, launch.lds_bytes,
         launch.product and asdict(launch.product), *(() if launch.hosted is None else [launch.hosted]), *(["exchange"] if launch.exchange else [])]
        for name, program in plan.programs.items()
        for launch in program
    ]  # fmt: skip
    facts = [
        plan.arch,
        [plan.context, plan.slots, plan.max_rows, plan.max_outputs, plan.vocab, plan.arena_bytes, plan.journal_rows],
        [[sizes[p], offsets.get(p)] for p in table],
        launches,
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def pointer_sizes(plan: Plan) -> dict[Pointer, int]:
    """Pointer -> bytes behind it on the device, of every buffer, weight, table and state of the plan, and of the step's input."""
    sizes = {
        STEP: 4 * step_words(plan.max_rows),
        PARAMETERS: 4 * sampling_words(plan.max_outputs, plan.vocab),
        TOKENS: 4 * (plan.max_outputs + plan.max_rows),
    }
    sizes |= {b.pointer: b.nbytes for b in plan.buffers}
    sizes |= {w.pointer: weight_bytes(w) for w in plan.weights}
    sizes |= {c.pointer: 4 * math.prod(plan.context if n == "C" else n for n in c.shape) for c in plan.consts}
    sizes |= peer_sizes(plan, sizes)
    for state in plan.states:
        sizes |= {pointer: nbytes * plan.slots for pointer, nbytes in state.pointers.items()}
    return sizes


def peer_sizes(plan: Plan, own: Mapping[Pointer, int]) -> dict[Pointer, int]:
    """Of values of other ranks, which are as large as this rank's own of that name; and of where they meet."""
    if plan.rank is None:
        return {}
    peers = {p for p in pointer_table(plan) if p.kind == "peer" and Pointer.buffer(p.name) in own}
    meetings = {p: 8 * MeetingWords.END for p in pointer_table(plan) if p == Pointer.meeting(p.name)}
    return {RANKS: RANKS_BYTES} | {p: own[Pointer.buffer(p.name)] for p in peers} | meetings


def weight_bytes(ref: WeightRef) -> int:
    form = weight_format(ref.format)
    if ref.layout == "tile16":
        return tile_layout(form).nbytes(ref.shape)
    return math.prod(ref.shape[:-1]) * form.row_bytes(ref.shape[-1])
