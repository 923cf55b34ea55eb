"""A chat request of any dialect as jobs: prompt, sampling, guides and the parser of the answer."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hfc.serve.job import Guide, Job
from hfc.serve.output import Output
from hfc.serve.parameters import SamplingFields, check_prompt
from hfc.serve.prompt import chat_prompt
from hfc.serve.reasoning import BUDGETS, opens_reasoning, thinking_budget
from hfc.serve.served import Served, Settings


@dataclass(frozen=True)
class Ask:
    """What all chat dialects say. messages: as templates want them.  tools: plain dicts.

    effort: "none" switches thinking off, None leaves it to the template.  logprobs: alternatives a token, or None."""

    messages: Sequence[dict[str, Any]]
    fields: SamplingFields
    tools: Sequence[dict[str, Any]] = ()
    tool_choice: str | dict[str, Any] = "auto"
    parallel_tool_calls: bool = True
    response_format: dict[str, Any] | None = None
    max_tokens: int | None = None
    choices: int = 1
    logprobs: int | None = None
    effort: str | None = None
    thinking_budget: int | None = None
    template_variables: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """jobs: one for each choice; `new_output` makes the parser of one."""

    jobs: list[Job]
    new_output: Callable[[], Output]


def plan_chat(served: Served, ask: Ask, settings: Settings) -> Plan:
    """ApiError 400 for what cannot run."""
    variables = dict(ask.template_variables)
    if ask.effort is not None:
        variables.setdefault("enable_thinking", ask.effort != "none")
    prompt = chat_prompt(served, ask.messages, list(ask.tools), **variables)
    check_prompt(served, prompt.tokens, "messages")
    is_open = opens_reasoning(prompt.opens)
    jobs = []
    for choice in range(ask.choices):
        jobs.append(
            Job(
                prompt.tokens,
                ask.fields.sampling(served, choice),
                ask.max_tokens,
                ask.fields.stop_texts(),
                ask.fields.stop_ids(served),
                ask.logprobs,
                guides=(*ask.fields.guides(served), *_budget(served, ask, is_open)),
                marks=prompt.marks,
                deadline_s=ask.fields.deadline_s(settings),
                penalize_prompt=ask.fields.penalizes_prompt(),
            )
        )
    return Plan(jobs, lambda: Output(is_open))


def _budget(served: Served, ask: Ask, is_open: bool) -> tuple[Guide, ...]:
    budget = ask.thinking_budget if ask.thinking_budget is not None else BUDGETS.get(ask.effort or "")
    return () if budget is None else (thinking_budget(served, budget, is_open),)


def new_id(prefix: str) -> str:
    return prefix + secrets.token_hex(12)
