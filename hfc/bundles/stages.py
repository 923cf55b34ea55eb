"""The plans of a pipeline against each other: its stages in order, all of the same sizes, each handed what it waits for."""

from __future__ import annotations

from collections.abc import Sequence

from hfc.base.diagnostics import HfcError
from hfc.plan import Plan

SHARED = ("context", "slots", "max_rows", "max_outputs", "vocab", "journal_rows", "profile")
AGAIN = "compile the stages together"


def check_stages(plans: Sequence[Plan], where: str) -> None:
    """HfcError for plans that are no pipeline, unless none of them is a stage."""
    if not any(plan.stage for plan in plans):
        return
    for plan in plans:
        if plan.stage is None:
            raise HfcError(f"{where}: the plan for {plan.name} is a whole model's, beside stages", hint=AGAIN)
    ranges = plans[0].stage.ranges
    if [plan.stage.number for plan in plans] != list(range(len(ranges))):
        found = ", ".join(plan.name for plan in plans)
        raise HfcError(f"{where}: stages {found}; {len(ranges)} are expected, in order", hint=AGAIN)
    sent: dict[str, int] = {}
    for plan in plans:
        _check_shared(plan, plans[0], where)
        for name in plan.stage.received:
            if sent.get(name) != plan.buffer(name).row_bytes:
                raise HfcError(
                    f"{where}: stage {plan.name} waits for {name[:40]!r}, which no stage before it sends", hint=AGAIN
                )
        sent |= {name: plan.buffer(name).row_bytes for name in plan.stage.sent}


def _check_shared(plan: Plan, first: Plan, where: str) -> None:
    if plan.stage.ranges != first.stage.ranges:
        raise HfcError(f"{where}: stage {plan.name} was cut otherwise than {first.name}", hint=AGAIN)
    for fact in SHARED:
        mine, others = getattr(plan, fact), getattr(first, fact)
        if mine != others:
            raise HfcError(f"{where}: {fact} is {mine} in stage {plan.name} and {others} in {first.name}", hint=AGAIN)
