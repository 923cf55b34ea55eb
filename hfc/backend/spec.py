"""The contract between a kernel region and a skeleton: what `bind` extracts and what a template may use.

A stem is one module `backend/kernels/<stem>.py` that exports `KERNEL = KernelSpec(...)`, with two bodies beside it:
`kernels/<stem>.hip.j2` (GPU) and `host/<stem>.c.j2` (CPU). Both see the same variables. Element expressions are scalar C
that is valid HIP and C alike; they read pointers declared in `args` and the variables named here:

    row     row of the step (0..T-1), or of the outputs (0..R-1) where `rows` is "R"
    g, j    group and element within the group: a task's vector is [groups, size]
    stat0…  reductions of this row and group, computed before the elements, in order

Functions that expressions may call are in `device/math.h` and `host/math.h` (hfc_exp, hfc_silu, …), same names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hfc.ir.graph import Op, Value


@dataclass(frozen=True)
class Arg:
    """A pointer parameter. kind: buffer | weight | state | const; `value` is the IR value behind it.

    plane: "" or, for a KV state, "k" / "v".  ctype: element type as C spells it (float, int32_t, uint8_t for blocks).
    """

    name: str
    kind: str
    ctype: str
    value: Value
    plane: str = ""
    written: bool = False


@dataclass(frozen=True)
class Stat:
    """A reduction over the `size` elements of group `g` of `row`: stat = finish(sum or max over j of `element`).

    name: the C variable.  reduce: "sum" | "max".  element: C expression in row, g, j.
    finish: C expression of the reduced value `r`, e.g. "hfc_rsqrt(r / 576.0f + 1e-05f)".
    """

    name: str
    size: int
    reduce: str
    element: str
    finish: str


@dataclass(frozen=True)
class Task:
    """A row-local vector program: for each row and group g < groups: stats, then `store` for each j < size.

    store: C statement(s) in row, g, j and the stats, e.g. "out[row * 576 + g * 64 + j] = x[...] * stat0;"
    mixed: C expression of element j of a vector of `mixed_size`, made after `stats`; every `walsh` elements of it are rotated
    (hfc/formats/rotation.py). What follows reads it as mixed[d].  late: more reductions, which come after it.
    """

    groups: int
    size: int
    stats: tuple[Stat, ...]
    store: str
    mixed: str = ""
    mixed_size: int = 0
    walsh: int = 0
    late: tuple[Stat, ...] = ()


@dataclass(frozen=True)
class Part:
    """One weight matrix [n, k] of a linear region (or [experts, n, k])."""

    weight: Arg
    format: Any  # hfc.formats.block.BlockFormat
    n: int
    store: str  # C statement in row, n and y (this part's result); empty in a zipped region


@dataclass
class Bound:
    """A region bound to a stem: everything a template may ask for. `extra` holds the stem's own parameters."""

    stem: str
    name: str  # symbol; equal content gives an equal name
    args: list[Arg]
    rows: str  # "T" | "R"
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class KernelSpec:
    """roots: op kinds that make a region this stem's.  bind: region op, its Printer -> Bound.

    Parameters of each stem (`Bound.extra`):

    linear   k, parts: [Part], zipped: bool, store (zipped only: C statement in row, n and y0, y1, … one per part),
             load (C expression of input element j, in row, j and the stats; g = 0), stats: [Stat] (one group),
             rotate (elements that are rotated together after loading, hfc/formats/rotation.py; 0: none),
             top (experts chosen per row, else 0; then `row` is the pair index, token = row / top), experts (Arg or None),
             expert_count, token_inputs (whether all choices of a token have one input)
    map      tasks: [Task]; gather: {table: Arg, format} when an expression reads a weight table row through
             `hfc_<format>_at(block, i)`
    attend   heads, kv_heads, size (head dim), capacity (tokens that a slot holds), scale, window (0: none), softcap (0: none),
             causal (False: a row sees its whole segment), first (a row at p sees no s < min(first, p)), q (C expression in row, g=head, j),
             walsh (elements of q that are rotated together, else 0), k, v: Arg (state planes), k_format, v_format, store (C statement in row, g=head, j and y)
    delta    k_heads, v_heads, dk, dv, taps, channels, tiled, u (C expression of conv input in row, j=channel), conv: Arg,
             activate (C expression of the convolution's result c), eps (L2), q_scale, decay, beta (C expressions in row, g=value head),
             window, memory: Arg (states), offsets q0, k0, v0 of q, k, v in the channels,
             stats + store (C statement in row, g=value head, j and y_of(j): the head's output vector is `y[j]`),
             journal_rows (0: none; else journal_slots, inputs_journal: Arg [slots, journal_rows, channels] and gates_journal: Arg
             [slots, journal_rows, 2, v_heads], decay e^g and beta)
    route    experts, top, normalize, logits (C expression in row, j), weights, ids: Arg
    top      size, top, x (C expression in row, j), ids: Arg, values: Arg or None
    select   top, rank, scores, candidates (C expressions in row, c), query (in row, r), before (in last, r), after (in id, r),
             tokens (in row), chosen: Arg
    conv     channels, taps, u, conv, window, store (C statement in row, j=channel and c), journal_rows, inputs_journal
    """

    stem: str
    roots: tuple[str, ...]
    bind: Callable[[Op, Any], Bound]  # the region and its body.Printer
