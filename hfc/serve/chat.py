"""A chat request of any dialect as jobs: prompt, sampling, guides and the parser of the answer."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, NamedTuple

from hfc.base.dataclass import dataclass
from hfc.serve.answer import check, merged
from hfc.serve.errors import ApiError
from hfc.serve.guides import Wanted, guides_of, rules_of
from hfc.serve.job import Finish, Job, Piece, Progress
from hfc.serve.output import Delta, Output
from hfc.serve.parameters import SamplingFields, check_prompt
from hfc.serve.prompt import Encoder, Prompt, chat_prompt, single_token
from hfc.serve.reasoning import BUDGETS
from hfc.serve.reasoning import CLOSE as CLOSE_THOUGHT
from hfc.serve.sequence import Sequence as Generated
from hfc.serve.served import Served, ServerSettings
from hfc.serve.thinking import new_thought, shown_tags
from hfc.serve.tools import explained, parser_of, schemas_of, style_of
from hfc.serve.truncate import fit_messages


@dataclass(frozen=True)
class Ask:
    """What all chat dialects say. messages: as templates want them.  tools: plain dicts, as OpenAI's; a function's "strict" is
    for hfc, not for the template.

    tool_choice: "auto" | "none" | "required" | the name of a tool.  response_format: {"type": "json_schema", "schema": ...,
    "strict": whether nothing of it may go unenforced, "param": what the client calls it},
    {"type": "regex", "pattern": ...} or {"type": "lark", "grammar": ...}.  effort: "none" switches thinking off, None leaves
    it to the template.  max_tokens: -1 is no limit, None the server's usual one.  logprobs: alternatives a token, or None.  truncates: a history that is too long loses its oldest turns.
    tells_progress: of the prompt, while it is computed.  param: what the client calls the messages.  splits: thoughts are told apart from the content.  continues: a last message of the assistant's is gone on with."""

    messages: Sequence[dict[str, Any]]
    fields: SamplingFields
    tools: Sequence[dict[str, Any]] = ()
    tool_choice: str = "auto"
    parallel_tool_calls: bool = True
    response_format: Mapping[str, Any] | None = None
    max_tokens: int | None = None
    choices: int = 1
    logprobs: int | None = None
    effort: str | None = None
    thinking_budget: int | None = None
    truncates: bool = False
    param: str = "messages"
    continues: bool = True
    splits: bool = True
    tells_progress: bool = False
    template_variables: dict[str, Any] = field(default_factory=dict)

    @property
    def format(self) -> Mapping[str, Any] | None:
        """response_format, or llama.cpp's fields for the same. ApiError 400 for both."""
        other = self.fields.grammar_format()
        if self.response_format and other:
            name = "grammar" if self.fields.grammar else "json_schema"
            raise ApiError(400, f"give a format of the answer or {name}, not both", name, "invalid_value")
        return self.response_format or other

    @property
    def begun(self) -> Mapping[str, Any] | None:
        """The assistant's message that the answer goes on with."""
        last = self.messages[-1] if self.messages else {}
        return last if self.continues and last.get("role") == "assistant" and not last.get("tool_calls") else None


@dataclass(frozen=True)
class ChatPlan:
    """jobs: one for each choice; `new_output` makes the parser of one.  headers: of the response."""

    jobs: list[Job]
    new_output: Callable[[], Output]
    headers: dict[str, str] = field(default_factory=dict)


def plan_chat(served: Served, read: Callable[[], Ask], settings: ServerSettings) -> ChatPlan:
    """ApiError 400 for what cannot run. Takes as long as encoding a prompt does: not for an event loop. read: makes the question of a
    request, which takes its time where there are many messages."""
    ask = read()
    schemas = schemas_of(ask.tools)
    check_choice(ask, schemas)
    tools = shown_tools(ask)
    style = style_of(served.vocabulary.template)
    context = served.engine.limits.context
    prompt_of = _prompts(served, ask, tools, None if ask.truncates else context)
    if ask.truncates:
        check = Encoder(served, context, ask.param).check_messages
        prompt = fit_messages(ask.messages, prompt_of, context, ask.max_tokens, check)
    else:
        prompt = prompt_of(ask.messages)
    check_prompt(served, prompt.tokens, ask.param)
    shown, stops = shown_tags(served), ask.fields.stop_ids(served)
    wanted = Wanted(ask.tools, ask.tool_choice, ask.parallel_tool_calls, ask.format, style)
    rules = rules_of(served, wanted)
    budget = ask.thinking_budget if ask.thinking_budget is not None else BUDGETS.get(ask.effort or "")
    jobs = [
        Job(
            prompt.tokens,
            ask.fields.sampling(served, choice),
            served.most_tokens(ask.max_tokens),
            ask.fields.stop_texts(),
            stops,
            ask.logprobs,
            guides=(*ask.fields.guides(served), *guides_of(served, wanted, rules, prompt, budget)),
            marks=prompt.marks,
            deadline_s=ask.fields.deadline_s(settings),
            priority=ask.fields.priority(),
            penalize_prompt=ask.fields.penalizes_prompt(),
            shown=shown,
            tells_progress=ask.tells_progress,
        )
        for choice in range(ask.choices)
    ]
    thought, close_id = new_thought(served, prompt), single_token(served, CLOSE_THOUGHT)
    may_open = not prompt.is_begun
    parser = lambda: parser_of(style, schemas) if tools else None  # noqa: E731
    if not ask.splits:
        return ChatPlan(jobs, lambda: Output(False, parser(), may_open=False), rules.headers())
    return ChatPlan(jobs, lambda: Output(thought.is_open, parser(), may_open, close_id), rules.headers())


def render_chat(served: Served, read: Callable[[], Ask]) -> Prompt:
    """The prompt alone, of any length: nothing runs it. Takes its time like plan_chat."""
    ask = read()
    check_choice(ask, schemas_of(ask.tools))
    return _prompts(served, ask, shown_tools(ask), None)(ask.messages)


def shown_tools(ask: Ask) -> list[dict[str, Any]]:
    """What the template sees of them."""
    return [] if ask.tool_choice == "none" else [_without_strict(tool) for tool in ask.tools]


def _prompts(
    served: Served, ask: Ask, tools: list[dict[str, Any]], most: int | None
) -> Callable[[Sequence[Mapping[str, Any]]], Prompt]:
    """How messages become a prompt of at most `most` tokens, None for any number."""
    begun, style = ask.begun, style_of(served.vocabulary.template)
    variables = dict(ask.template_variables)
    if ask.effort is not None:
        variables.setdefault("enable_thinking", ask.effort != "none")
    variables = {**served.variables, **variables}

    def prompt_of(messages: Sequence[Mapping[str, Any]]) -> Prompt:
        if begun is not None:
            messages = messages[:-1]
        told = (explained(messages, tools), None) if style == "none" else (messages, tools)
        return chat_prompt(served, *told, begun, most, ask.param, variables)

    return prompt_of


def check_choice(ask: Ask, schemas: Mapping[str, Any]) -> None:
    """ApiError 400 for a choice that the tools do not offer."""
    if ask.tool_choice in ("auto", "none"):
        return
    if not ask.tools:
        raise ApiError(400, "tool_choice needs tools", "tool_choice", "invalid_value")
    if ask.tool_choice != "required" and ask.tool_choice not in schemas:
        raise ApiError(
            400, f"tool_choice names {ask.tool_choice!r}, which is not among the tools", "tool_choice", "invalid_value"
        )
    if ask.format is not None:
        param = "response_format" if ask.response_format else "tool_choice"
        raise ApiError(400, "a forced tool call has no other format", param, "invalid_value")


def _without_strict(tool: Mapping[str, Any]) -> dict[str, Any]:
    return {**tool, "function": {k: v for k, v in tool["function"].items() if k != "strict"}}


def feed(output: Output, pieces: Sequence[Piece], sequence: Generated) -> list[Delta]:
    """Deltas of some pieces; counts the tokens of reasoning."""
    deltas = []
    for piece in pieces:
        was_reasoning = output.is_reasoning
        deltas += output.push(piece.text, piece.token)
        is_thought = was_reasoning or output.is_reasoning
        sequence.usage.reasoning += piece.token is not None and is_thought
        if piece.logprob is not None:
            output.logprobs.append((piece.logprob, is_thought))
    return deltas


def joined(deltas: list[Delta]) -> list[Delta]:
    """Neighbours of one kind as one delta: what came in one step is one event."""
    out: list[Delta] = []
    for delta in deltas:
        if out and delta.kind != "call" and (out[-1].kind, out[-1].index) == (delta.kind, delta.index):
            out[-1] = Delta(delta.kind, out[-1].text + delta.text, delta.index)
        else:
            out.append(delta)
    return out


class Came(NamedTuple):
    """What came of an answer at one time: nothing at all keeps a connection alive."""

    deltas: list[Delta]
    finish: Finish | None = None
    progress: Progress | None = None


async def stream_deltas(
    served: Served, sequence: Generated, output: Output, keep_alive_s: float
) -> AsyncIterator[Came]:
    """One answer as it comes, with its end at last. ApiError at a bad end."""
    async for index, events in merged(served, [sequence], keep_alive_s):
        if index < 0:
            yield Came([])
            continue
        finish = events[-1] if isinstance(events[-1], Finish) else None
        deltas = feed(output, [e for e in events if isinstance(e, Piece)], sequence)
        if finish is not None:
            check(finish)
            deltas += output.close()
        progress = next((e for e in reversed(events) if isinstance(e, Progress)), None)
        if deltas or finish is not None or progress is not None:
            yield Came(joined(deltas), finish, progress)


def new_id(prefix: str) -> str:
    return prefix + secrets.token_hex(12)
