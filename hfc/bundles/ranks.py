"""The plans of a model's ranks against each other: all there, of the same sizes, and exchanging the same values in the same order."""

from __future__ import annotations

from collections.abc import Sequence

from hfc.base.diagnostics import HfcError
from hfc.bundles.stages import SHARED
from hfc.plan import Plan
from hfc.program import Program

AGAIN = "compile the ranks together"
ExchangedValue = tuple[str, str, int, int]


def check_ranks(plans: Sequence[Plan], where: str) -> None:
    """HfcError for plans that are no ranks of one model, unless none of them is one."""
    if not any(plan.rank for plan in plans):
        return
    for number, plan in enumerate(plans):
        if plan.rank is None or (plan.rank.number, plan.rank.count) != (number, len(plans)):
            found = ", ".join(other.name[:40] for other in plans)
            raise HfcError(f"{where}: plans {found}; the ranks of one model are expected, in order", hint=AGAIN)
        for fact in ("arch", *SHARED):
            mine, others = getattr(plan, fact), getattr(plans[0], fact)
            if mine != others:
                raise HfcError(f"{where}: {fact} is {mine} in {plan.name} and {others} in {plans[0].name}", hint=AGAIN)
    for program in plans[0].programs:
        expected = exchanged(plans[0], program, where)
        for plan in plans[1:]:
            if exchanged(plan, program, where) != expected:
                raise HfcError(f"{where}: {plan.name} exchanges other values than {plans[0].name}", hint=AGAIN)


def exchanged(plan: Plan, program: Program, where: str) -> list[ExchangedValue]:
    """The values that a rank reads of others, as they follow each other: name, rows, bytes of a row, how many read behind one meeting.

    HfcError where one is read of another rank than there is, or before the ranks have met for it."""
    assert plan.rank is not None
    found: list[ExchangedValue] = []
    buffers = {buffer.name: buffer for buffer in plan.buffers}
    others = {str(n) for n in range(plan.rank.count)} - {str(plan.rank.number)}
    met = False
    for launch in plan.programs.get(program, ()):
        peers = [pointer for pointer in launch.pointers if pointer.kind == "peer"]
        if launch.exchange:
            met = True
            if not peers:  # the host's: what is read stands in the launch behind it
                continue
        names = {pointer.name for pointer in peers}
        if not peers:
            continue
        if len(names) != 1 or {pointer.plane for pointer in peers} != others or not met or not names <= buffers.keys():
            raise HfcError(f"{where}: {plan.name} reads {peers[0]} of a rank that it has not met", hint=AGAIN)
        (name,) = names
        buffer = buffers[name]
        found.append((name, buffer.rows, buffer.row_bytes, len(peers)))
        met = launch.exchange
    return found
