"""`hfc run`: a prompt in, text out as it is made."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from hfc.base.diagnostics import HfcError
from hfc.cli import INTERRUPTED
from hfc.cli.open_model import Choice, open_model
from hfc.cli.parameters import Context, Device, Draft, KvFormat, ModelName, Threads, Weights
from hfc.runtime.chat import chat_template
from hfc.runtime.generate import Generation, Request, Statistics
from hfc.runtime.guard import Guard
from hfc.runtime.sampler import Sampling
from hfc.runtime.speculate.drafts import AUTO
from hfc.runtime.vocabulary import Vocabulary

DEFAULT = Sampling()


def command(
    model: ModelName,
    prompt: Annotated[
        str | None,
        typer.Argument(metavar="PROMPT", help="What to say; without it the prompt is read from standard input."),
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Continue the prompt as it stands, without the chat template.")
    ] = False,
    special: Annotated[
        bool, typer.Option("--special", help="Read control tokens that the prompt spells (<|im_start|>) as tokens.")
    ] = False,
    system: Annotated[str | None, typer.Option(help="The system message of the chat.")] = None,
    temperature: Annotated[float, typer.Option(help="0 always takes the likeliest token.")] = DEFAULT.temperature,
    top_k: Annotated[int, typer.Option(help="Choose among so many tokens; 0: all.")] = DEFAULT.top_k,
    top_p: Annotated[
        float, typer.Option(help="Choose among the likeliest tokens with this total; 1: all.")
    ] = DEFAULT.top_p,
    min_p: Annotated[
        float, typer.Option(help="Drop tokens less likely than this share of the likeliest; 0: none.")
    ] = DEFAULT.min_p,
    repeat_penalty: Annotated[float, typer.Option(help="Above 1, tokens of the last 64 become less likely.")] = 1.0,
    seed: Annotated[int | None, typer.Option(help="Equal seeds give equal text. [default: a fresh one]")] = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", "-n", min=1, help="Stop after so many tokens.")
    ] = None,
    stop: Annotated[list[str] | None, typer.Option(help="Stop before this text; may be given more than once.")] = None,
    ctx: Context = None,
    kv: KvFormat = None,
    threads: Threads = None,
    device: Device = "host",
    draft: Draft = AUTO,
    weights: Weights = None,
) -> None:
    """Answer a prompt. The text goes to standard output, a summary to standard error."""
    sampling = Sampling(temperature, top_k, top_p, min_p, repeat_penalty, seed=seed)
    prompt = read_prompt() if prompt is None else prompt
    if raw and system is not None:
        raise HfcError("--system has no meaning with --raw", hint="put the text in front of the prompt")
    opened = open_model(model, Choice(device, threads, ctx, kv, weights, draft=draft), with_vocabulary=True)
    vocabulary = opened.vocabulary
    tokens = encode_raw(vocabulary, prompt, special) if raw else encode_chat(vocabulary, prompt, system, special)
    request = Request(tuple(tokens), sampling, max_tokens, tuple(stop or ()))
    generation = Generation(opened.model, vocabulary.tokenizer, request, opened.speculation)
    interrupted = stream(generation)
    print(summary(generation.statistics), file=sys.stderr)
    if interrupted:
        raise typer.Exit(INTERRUPTED)


def read_prompt() -> str:
    """All of standard input, less its last line end; lines may end as Windows ends them."""
    if sys.stdin.isatty():
        raise HfcError("no prompt", hint='give one: hfc run MODEL "What is gravity?", or pipe it in')
    return sys.stdin.read().replace("\r\n", "\n").removesuffix("\n")


def encode_raw(vocabulary: Vocabulary, prompt: str, special: bool = False) -> list[int]:
    return vocabulary.tokenizer.encode(prompt, parse_special=special)


def encode_chat(vocabulary: Vocabulary, prompt: str, system: str | None, special: bool = False) -> list[int]:
    """special: what the user typed may hold control tokens; else only the template's own text does."""
    template = chat_template(vocabulary.template, vocabulary.tokenizer)
    messages = [{"role": "system", "content": system}] if system is not None else []
    messages += [{"role": "user", "content": prompt}]
    if special:
        return vocabulary.tokenizer.encode(template.render(messages), parse_special=True, frame=False)
    guard = Guard(vocabulary.tokenizer)
    marked, mark = guard.mark(messages)
    return guard.encode(template.render(marked), mark)


def stream(generation: Generation) -> bool:
    """Write pieces as they come; True if Ctrl-C ended it."""
    last, interrupted = "", False
    try:
        for piece in generation:
            last = piece
            sys.stdout.write(piece)
            sys.stdout.flush()
    except KeyboardInterrupt:
        interrupted = True
        generation.statistics.reason = "interrupted"
        sys.stdout.write(generation.rest())
    if not last.endswith("\n"):
        sys.stdout.write("\n")
    sys.stdout.flush()
    return interrupted


def summary(statistics: Statistics) -> str:
    drafting = f"; drafts: {statistics.drafting}" if statistics.cycles else ""
    return (
        f"[prompt {statistics.prompt_tokens} tokens, {statistics.prefill_tok_s:.1f} tok/s; "
        f"answer {len(statistics.tokens)} tokens, {statistics.decode_tok_s:.1f} tok/s{drafting}; {statistics.reason}]"
    )
