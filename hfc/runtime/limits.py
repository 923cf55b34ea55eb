"""What a plan cannot hold is refused before a device sees it: there it would be a write beyond some memory."""

from __future__ import annotations

from hfc.base.diagnostics import HfcError
from hfc.plan import Buffer, Plan
from hfc.step import Step


def check_step(step: Step, plan: Plan) -> None:
    """HfcError that names the limit."""
    if len(step.tokens) > plan.max_rows:
        hint = "run it in parts, or compile with a larger --max-rows"
        raise HfcError(f"a step of {len(step.tokens)} rows; the plan holds {plan.max_rows}", hint=hint)
    if len(step.output_rows) > plan.max_outputs:
        raise HfcError(f"{len(step.output_rows)} rows of logits asked for, the plan holds {plan.max_outputs}")
    for segment in step.segments:
        if not 0 <= segment.slot < plan.slots:
            raise HfcError(f"slot {segment.slot}; the plan has {plan.slots}", hint="compile with more --slots")
        if segment.position < 0 or segment.position + segment.rows > plan.context:
            raise HfcError(f"position {segment.position + segment.rows - 1}; the plan's context holds {plan.context}")


def tap_buffer(plan: Plan, name: str) -> Buffer:
    """Where a step leaves a tap. HfcError when the plan was compiled without it."""
    if name not in plan.taps:
        known = f"only {', '.join(plan.taps)}" if plan.taps else "nothing but logits"
        raise HfcError(f"the plan gives out {known}, not {name}", hint=f"compile it with --tap {name}")
    return plan.buffer(plan.taps[name])
