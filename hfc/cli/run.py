"""`hfc run`: a prompt in, text out as it is made."""

from __future__ import annotations

import sys

from hfc.base.diagnostics import HfcError
from hfc.cli import INTERRUPTED
from hfc.cli.open_model import Choice, open_model
from hfc.cli.sampling import chosen_sampling
from hfc.runtime.chat import chat_template
from hfc.runtime.generate import Generation, Request, Statistics
from hfc.runtime.guard import Guard
from hfc.runtime.sampler import Sampling
from hfc.runtime.vocabulary import Vocabulary


def command(
    model: str,
    prompt: str | None,
    raw: bool,
    special: bool,
    system: str | None,
    temperature: float | None,
    top_k: int | None,
    top_p: float | None,
    min_p: float | None,
    repeat_penalty: float | None,
    seed: int | None,
    max_tokens: int | None,
    stop: list[str] | None,
    ctx: int | None,
    kv: str | None,
    threads: int | None,
    device: str,
    draft: str,
    weights: str | None,
    trust: bool,
) -> None:
    """Answer a prompt. The text goes to standard output, a summary to standard error."""
    sampling = chosen_sampling(
        Sampling(),
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repeat_penalty=repeat_penalty,
        seed=seed,
    )
    prompt = read_prompt() if prompt is None else prompt
    if raw and system is not None:
        raise HfcError("--system has no meaning with --raw", hint="put the text in front of the prompt")
    opened = open_model(
        model, Choice(device, threads, ctx, kv, weights, draft=draft, trust=trust), with_vocabulary=True
    )
    vocabulary = opened.vocabulary
    tokens = encode_raw(vocabulary, prompt, special) if raw else encode_chat(vocabulary, prompt, system, special)
    request = Request(tuple(tokens), sampling, max_tokens, tuple(stop or ()))
    generation = Generation(opened.model, vocabulary.tokenizer, request, opened.speculation)
    interrupted = stream(generation)
    print(summary(generation.statistics), file=sys.stderr)
    if interrupted:
        raise SystemExit(INTERRUPTED)


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
