"""`/v1/chat/completions`."""

from __future__ import annotations

import functools
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, BeforeValidator, Field
from starlette.responses import JSONResponse

from hfc import __version__
from hfc.runtime.chat import RESERVED
from hfc.serve.answer import (
    DONE,
    KEEP_ALIVE,
    STREAM,
    Answer,
    check,
    large_json,
    merged,
    sse,
    sse_error,
    sse_of_text,
    sse_response,
    whole,
)
from hfc.serve.body import BodyRoute
from hfc.serve.chat import Ask, ChatPlan, feed, joined, new_id, plan_chat
from hfc.serve.dialects import CHAT
from hfc.serve.errors import ApiError, documented
from hfc.serve.job import Finish, Piece, Progress
from hfc.serve.logprobs import chat_logprob
from hfc.serve.messages import AssistantMessage, Messages, template_messages
from hfc.serve.models import borrow
from hfc.serve.output import Delta, Output
from hfc.serve.parameters import MaxTokens, SamplingFields, StreamOptions, first_given
from hfc.serve.planning import planned
from hfc.serve.response_format import ResponseFormat, format_of
from hfc.serve.sequence import Sequence
from hfc.serve.served import Served, settings_of
from hfc.serve.tolerance import Tolerant
from hfc.serve.tools import AllowedChoice, NamedChoice, ToolChoice, Tools, allowed
from hfc.serve.usage import openai_usage, prompt_progress, timings

ROUTE = APIRouter(route_class=BodyRoute, tags=["chat"])
MOST_CHOICES = 16
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
UNSAID = ("auto", "default")  # other servers' words for an effort that the template chooses
MaxThought = Annotated[int, Field(ge=-1, le=1 << 30)]


class Reasoning(Tolerant, dialect=CHAT, noun="reasoning"):
    """OpenRouter's."""

    effort: Effort | None = None
    max_tokens: Annotated[int, Field(ge=0, le=1 << 30)] | None = None
    enabled: bool | None = None


class Thinking(Tolerant, dialect=CHAT, noun="thinking"):
    """Anthropic's, which others took over."""

    type: Literal["enabled", "disabled", "adaptive", "auto"]
    budget_tokens: MaxThought | None = None

    @property
    def is_on(self) -> bool | None:
        return {"enabled": True, "disabled": False}.get(self.type)


class ChatRequest(SamplingFields, dialect=CHAT):
    """OpenAI's request. Beyond it: thinking_budget, chat_template_kwargs and the sampling fields."""

    model: str | None = None
    messages: Messages
    max_tokens: MaxTokens | None = None
    max_completion_tokens: MaxTokens | None = None
    n_predict: MaxTokens | None = Field(None, description="llama-server's name of max_tokens.")
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    reasoning_effort: Annotated[Effort | None, BeforeValidator(lambda v: None if v in UNSAID else v)] = None
    reasoning: Reasoning | None = None
    thinking: Thinking | None = None
    enable_thinking: bool | None = Field(None, description="vLLM's and others': the template's variable of that name.")
    reasoning_format: Literal["auto", "deepseek", "none"] | None = Field(
        None, description="llama-server's: none leaves thoughts in the content."
    )
    thinking_budget: Annotated[int, Field(ge=0, le=1 << 30)] | None = None
    thinking_budget_tokens: MaxThought | None = Field(
        None, description="llama-server's name of thinking_budget; -1: any."
    )
    reasoning_budget_tokens: MaxThought | None = Field(None, description="The same.")
    chat_template_kwargs: dict[str, Any] | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    timings_per_token: bool | None = Field(None, description="llama-server's: tell how fast the answer is written.")
    return_progress: bool | None = Field(None, description="llama-server's: tell in a stream how far the prompt is.")
    response_format: ResponseFormat | None = None
    verbose: bool | None = Field(
        None,
        description="llama-server's: tell the prompt as the template made it, and the answer before it is taken apart.",
    )

    def ask(self) -> Ask:
        """ApiError 400 where fields contradict each other."""
        most = first_given(self.max_completion_tokens, self.max_tokens, self.n_predict)
        if self.max_tokens not in (None, most):
            raise ApiError(400, "give max_completion_tokens or max_tokens, not both", "max_tokens", "invalid_value")
        if self.top_logprobs and not self.logprobs:
            raise ApiError(400, "top_logprobs needs logprobs: true", "top_logprobs", "invalid_value")
        if taken := RESERVED & set(self.chat_template_kwargs or ()):
            raise ApiError(
                400,
                f"chat_template_kwargs cannot set {', '.join(sorted(taken))}",
                "chat_template_kwargs",
                "invalid_value",
            )
        tools, choice = self._tools()
        return Ask(
            template_messages(self.messages),
            self,
            tools,
            choice,
            self.parallel_tool_calls is not False,
            format_of(self.response_format),
            max_tokens=most,
            choices=self.n or 1,
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            effort=self._effort(),
            splits=self.reasoning_format != "none",
            thinking_budget=self._thinking_budget(),
            truncates=self.truncation == "auto",
            template_variables=self.chat_template_kwargs or {},
            continues=self._continues(),
            tells_progress=bool(self.stream and self.return_progress),
        )

    def _tools(self) -> tuple[list[Mapping[str, Any]], str]:
        """What the model may call, and whether it must. ApiError 400."""
        tools, choice = [tool.model_dump(exclude_none=True) for tool in self.tools or ()], self.tool_choice
        if isinstance(choice, AllowedChoice):
            names = [named.function.name for named in choice.allowed_tools.tools]
            return allowed(tools, names), choice.allowed_tools.mode
        return tools, choice.function.name if isinstance(choice, NamedChoice) else choice or "auto"

    def _effort(self) -> str | None:
        """Of several names OpenAI's counts most."""
        reasoning, thinking = self.reasoning or Reasoning(), self.thinking or Thinking(type="auto")
        effort = first_given(self.reasoning_effort, reasoning.effort)
        is_on = first_given(self.enable_thinking, thinking.is_on, reasoning.enabled)
        if effort is None and is_on is not None:
            return "high" if is_on else "none"
        return "xhigh" if effort == "max" else effort

    def _thinking_budget(self) -> int | None:
        others = (self.thinking and self.thinking.budget_tokens, self.reasoning and self.reasoning.max_tokens)
        budget = first_given(self.thinking_budget, self.thinking_budget_tokens, self.reasoning_budget_tokens, *others)
        return None if budget == -1 else budget

    def _continues(self) -> bool:
        """As llama.cpp, an assistant's last message is gone on with; continue_final_message and add_generation_prompt are vLLM's.
        ApiError 400 for a message that cannot be."""
        is_last = isinstance(self.messages[-1], AssistantMessage)
        if self.continue_final_message and not is_last:
            raise ApiError(400, "the last message is not the assistant's", "continue_final_message", "invalid_value")
        if self.continue_final_message and self.add_generation_prompt:
            text = "an answer goes on with the last message or begins one, not both"
            raise ApiError(400, text, "continue_final_message", "invalid_value")
        if self.add_generation_prompt is False and not is_last:
            raise ApiError(400, "a chat's answer is the assistant's", "add_generation_prompt", "unsupported_parameter")
        return self.continue_final_message is not False


class ChatChoice(BaseModel):
    index: int
    message: dict[str, Any]
    logprobs: dict[str, Any] | None
    finish_reason: Literal["stop", "length", "tool_calls"]


class ChatCompletion(BaseModel):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: dict[str, Any]
    system_fingerprint: str


@ROUTE.post(
    "/v1/chat/completions",
    responses={**documented(408, 429, 500, 503), 200: {"model": ChatCompletion, "content": STREAM}},
)
async def chat_completions(request: Request, body: ChatRequest):
    served = await borrow(request, body.model)
    plan = await planned(request, body.timeout, plan_chat, served, body.ask, settings_of(request))
    sequences = served.start(plan.jobs)
    head = {
        "id": new_id("chatcmpl-"),
        "created": int(time.time()),
        "model": body.model or served.name,
        "system_fingerprint": f"hfc-{__version__}",
    }
    if body.stream:
        return sse_response(_chunks(request, served, sequences, plan, head, body), plan.headers)
    answers = await whole(request, served, sequences)

    def answer() -> dict[str, Any]:
        choices = [_choice(served, i, answer, plan.new_output(), body) for i, answer in enumerate(answers)]
        done = {**head, "object": "chat.completion", "choices": choices, "usage": openai_usage(sequences)}
        done |= _speed(body, sequences[0])
        if body.verbose:
            prompt = served.tokenizer.decode(plan.jobs[0].prompt, keep_special=True)
            done["__verbose"] = {"prompt": prompt, "content": answers[0].text}
        return done

    if body.logprobs:
        return await large_json(request, answer, plan.headers)
    return JSONResponse(answer(), headers=plan.headers)


def _choice(served: Served, index: int, answer: Answer, output: Output, body: ChatRequest) -> dict[str, Any]:
    feed(output, answer.pieces, answer.sequence)
    output.close()
    message = output.message
    out: dict[str, Any] = {
        "role": "assistant",
        "content": message.content or (None if message.calls else ""),
        "refusal": None,
    }
    if message.reasoning:
        out["reasoning_content"] = message.reasoning
    if message.calls:
        calls = [
            {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
            for c in message.calls
        ]
        out["tool_calls"] = calls
    logprobs = None
    if body.logprobs:
        logprobs = {
            "content": [chat_logprob(served.tokenizer, p.logprob) for p in answer.pieces if p.logprob],
            "refusal": None,
        }
    return {"index": index, "message": out, "logprobs": logprobs, "finish_reason": finish_reason(answer.finish, output)}


def _speed(body: ChatRequest, sequence: Sequence) -> dict[str, Any]:
    return {"timings": timings(sequence)} if body.timings_per_token else {}


def finish_reason(finish: Finish, output: Output) -> str:
    return "tool_calls" if finish.reason == "stop" and output.message.calls else finish.reason


async def _chunks(
    request: Request, served: Served, sequences: list[Sequence], plan: ChatPlan, head: dict[str, Any], body: ChatRequest
) -> AsyncIterator[bytes]:
    outputs = [plan.new_output() for _ in sequences]
    wants_usage = bool(body.stream_options and body.stream_options.include_usage)
    common = {**head, "object": "chat.completion.chunk", **({"usage": None} if wants_usage else {})}

    def data(
        index: int,
        delta: dict[str, Any],
        finish: str | None = None,
        logprobs: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return {**common, "choices": [choice]}

    @functools.cache
    def chunk_of(index: int, kind: str) -> Callable[[str], bytes]:
        return sse_of_text(lambda text: data(index, delta_object(Delta(kind, text))))

    def chunk(index: int, delta: Delta, logprobs: dict[str, Any] | None) -> bytes:
        if logprobs is None and not body.timings_per_token and delta.kind in ("content", "reasoning"):
            return chunk_of(index, delta.kind)(delta.text)
        return sse({**data(index, delta_object(delta), None, logprobs), **_speed(body, sequences[index])})

    for index in range(len(sequences)):
        yield sse(data(index, {"role": "assistant", "content": "", "refusal": None}))
    try:
        async for index, events in merged(served, sequences, settings_of(request).keep_alive_s):
            if index < 0:
                yield KEEP_ALIVE
                continue
            output, finish = outputs[index], events[-1] if isinstance(events[-1], Finish) else None
            for progress in (e for e in events if isinstance(e, Progress)):
                yield sse({**data(index, {}), "prompt_progress": prompt_progress(progress)})
            pieces = [e for e in events if isinstance(e, Piece)]
            deltas = feed(output, pieces, sequences[index])
            if finish is not None:
                check(finish)
                deltas += output.close()
            logprobs = None
            if body.logprobs and any(p.logprob for p in pieces):
                logprobs = {
                    "content": [chat_logprob(served.tokenizer, p.logprob) for p in pieces if p.logprob],
                    "refusal": None,
                }
                deltas = deltas or [Delta("content", "")]
            for delta in joined(deltas):
                yield chunk(index, delta, logprobs)
                logprobs = None
            if finish is not None:
                yield sse({**data(index, {}, finish_reason(finish, output)), **_speed(body, sequences[index])})
    except ApiError as error:
        yield sse_error(error, request.url.path)
        return
    if wants_usage:
        yield sse({**common, "choices": [], "usage": openai_usage(sequences), **_speed(body, sequences[0])})
    yield DONE


def delta_object(delta: Delta) -> dict[str, Any]:
    if delta.kind == "content":
        return {"content": delta.text}
    if delta.kind == "reasoning":
        return {"reasoning_content": delta.text}
    if delta.kind == "call":
        call = {
            "index": delta.index,
            "id": delta.id,
            "type": "function",
            "function": {"name": delta.name, "arguments": ""},
        }
        return {"tool_calls": [call]}
    return {"tool_calls": [{"index": delta.index, "function": {"arguments": delta.text}}]}
