"""What a plan cannot hold is refused before a device sees it: there it would be a write beyond some memory."""

from __future__ import annotations

from hfc.base.diagnostics import HfcError
from hfc.plan import Buffer, DraftPlan, Plan
from hfc.step import JOURNAL_ROWS, Segment, Step


def check_step(step: Step, plan: Plan) -> None:
    """HfcError that names the limit."""
    if len(step.tokens) > plan.max_rows:
        hint = "run it in parts, or compile with a larger --max-rows"
        raise HfcError(f"a step of {len(step.tokens)} rows; the plan holds {plan.max_rows}", hint=hint)
    if len(step.output_rows) > plan.max_outputs:
        raise HfcError(f"{len(step.output_rows)} rows of logits asked for, the plan holds {plan.max_outputs}")
    if len(step.segments) > plan.max_rows:
        raise HfcError(
            f"a step of {len(step.segments)} segments; the plan holds {plan.max_rows}", hint="run it in parts"
        )
    for segment in step.segments:
        if not 0 <= segment.slot < plan.slots:
            raise HfcError(f"slot {segment.slot}; the plan has {plan.slots}", hint="compile with more --slots")
        if segment.position < 0 or segment.position + segment.rows > plan.context:
            raise HfcError(f"position {segment.position + segment.rows - 1}; the plan's context holds {plan.context}")
        _check_commit(segment, plan)


def check_draft_step(step: Step, plan: Plan) -> DraftPlan:
    """The plan's draft. HfcError where there is none, or the step has more rows than its buffers."""
    if plan.draft is None:
        raise HfcError("the plan has no draft", hint="compile it with --draft")
    if len(step.tokens) > plan.draft.rows:
        raise HfcError(
            f"a draft for {len(step.tokens)} rows; the plan holds {plan.draft.rows}",
            hint="draft for fewer sequences at a time",
        )
    check_step(step, plan)
    return plan.draft


def _check_commit(segment: Segment, plan: Plan) -> None:
    """How many rows really wait in the slot's journal is not known here."""
    if segment.rows < 1 and not segment.replay:
        raise HfcError(f"slot {segment.slot}: a segment without rows; it may only commit rows of before (replay)")
    waiting = 0 if segment.commit else segment.rows
    if not waiting and not segment.replay:
        return
    limit = plan.uncommitted_rows
    if limit == 0:
        hint = f"compile with journal_rows={JOURNAL_ROWS}"
        raise HfcError(
            f"slot {segment.slot}: rows that wait to be committed; the plan keeps none of its recurrent state",
            hint=hint,
        )
    if max(waiting, segment.replay) > limit:
        raise HfcError(
            f"slot {segment.slot}: {max(waiting, segment.replay)} rows that wait to be committed; at most {limit} can"
        )
    if segment.replay > segment.position:
        raise HfcError(f"slot {segment.slot}: {segment.replay} rows to replay before position {segment.position}")


def tap_buffer(plan: Plan, name: str) -> Buffer:
    """Where a step leaves a tap. HfcError when the plan was compiled without it."""
    if name not in plan.taps:
        known = f"only {', '.join(plan.taps)}" if plan.taps else "nothing but logits"
        raise HfcError(f"the plan gives out {known}, not {name}", hint=f"compile it with --tap {name}")
    return plan.buffer(plan.taps[name])
