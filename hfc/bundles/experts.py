"""The plan for experts on the host against the plans of the cards that leave them to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from hfc.base.diagnostics import HfcError
from hfc.plan import Launch, Plan


def check_experts(plans: Mapping[str, Plan], where: str) -> None:
    """HfcError unless every launch that is the host's has a part there that takes and makes what it hands over."""
    hosts = [plan for plan in plans.values() if plan.parts]
    cards = [plan for plan in plans.values() if plan.leaves_experts]
    if len(hosts) > 1 or bool(hosts) != bool(cards):
        found = ", ".join(plan.name[:40] for plan in (*hosts, *cards))
        _refuse(f"{where}: plans {found}; a card's plan without experts and one plan that computes them are expected")
    for plan in cards:
        if plan.max_rows != hosts[0].max_rows:
            _refuse(f"{where}: max_rows is {plan.max_rows} in {plan.name} and {hosts[0].max_rows} in {hosts[0].name}")
        for launches in plan.programs.values():
            for launch in launches:
                if launch.hosted is not None:
                    _check(launch, plan, hosts[0], where)


def _check(launch: Launch, plan: Plan, host: Plan, where: str) -> None:
    if launch.hosted is None or launch.hosted >= len(host.parts):
        _refuse(f"{where}: {plan.name} wants part {launch.hosted} of {host.name}, which has {len(host.parts)}")
    part = host.parts[launch.hosted]
    theirs = [host.buffer(name).row_bytes for name in (*part.reads, part.writes)]
    own = [plan.buffer(pointer.name) for pointer in launch.pointers]
    if [buffer.row_bytes for buffer in own] != theirs or any(
        buffer.nbytes < buffer.row_bytes * plan.max_rows for buffer in own
    ):
        sizes = ", ".join(str(buffer.row_bytes) for buffer in own)
        _refuse(
            f"{where}: {plan.name} hands part {launch.hosted} rows of {sizes} bytes, it takes {', '.join(map(str, theirs))}"
        )


def _refuse(text: str) -> NoReturn:
    raise HfcError(text, hint="compile it again")
