"""`hfc run`: a prompt in, text out as it is made."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.cli import INTERRUPTED
from hfc.cli.open_model import open_model
from hfc.cli.sampling import chosen_sampling, recommended_sampling
from hfc.cli.talk.options import TalkOptions
from hfc.runtime.chat import chat_template
from hfc.runtime.generate import Generation, Request, Statistics
from hfc.runtime.guard import Guard
from hfc.runtime.sampler import Sampling
from hfc.runtime.token_ids import token_ids, vocabulary_without_text
from hfc.runtime.vocabulary import Vocabulary


@dataclass(frozen=True)
class RunOptions(TalkOptions):
    """A field for each parameter of cli/usage/run.py, where their meaning stands."""

    prompt: str | None
    file: Path | None
    tokens: str | None
    raw: bool
    special: bool
    stop: list[str] | None
    as_json: bool

    @property
    def begins_a_chat(self) -> bool:
        has_text = any(given is not None for given in (self.prompt, self.file, self.tokens))
        return not has_text and not (self.raw or self.as_json) and sys.stdin.isatty() and sys.stdout.isatty()


OPTIONS = RunOptions


def command(options: RunOptions) -> None:
    """Answer a prompt. The text goes to standard output, a summary to standard error."""
    chosen_sampling(Sampling(), **options.sampling)  # what cannot be is refused before the model is loaded
    if options.begins_a_chat:
        chat = importlib.import_module("hfc.cli.chat")  # its packages take a third of a second to import
        chat.command(options)
        return
    if options.tokens is not None:
        run_tokens(options)
        return
    prompt = read_prompt(options.prompt, options.file)
    if options.raw and (options.system is not None or options.think is not None or options.variables):
        raise HfcError("--system, --think and --var have no meaning with --raw", hint="put the text before the prompt")
    values = options.template_variables()
    opened = open_model(options.model, options.choice, with_vocabulary=True, is_brief=True)
    vocabulary = opened.vocabulary
    sampling = chosen_sampling(recommended_sampling(options.model, vocabulary), **options.sampling)
    if options.raw:
        tokens = encode_raw(vocabulary, prompt, options.special)
    else:
        tokens = encode_chat(vocabulary, prompt, options.system, options.special, **values)
    request = Request(tuple(tokens), sampling, options.max_tokens, tuple(options.stop or ()))
    generation = Generation(opened.model, vocabulary.tokenizer, request, opened.speculation)
    finish(generation, write_json(generation) if options.as_json else stream(generation))


def run_tokens(options: RunOptions) -> None:
    """Token ids in, token ids out: no tokenizer is read, so none need be there."""
    text = {"a prompt": options.prompt, "--file": options.file, "--system": options.system, "--stop": options.stop}
    for name, given in text.items():
        if given is not None:
            raise HfcError(f"{name} has no meaning with --tokens: there is no tokenizer", hint="leave it out")
    ids = token_ids(options.tokens or "")
    opened = open_model(options.model, options.choice)
    vocabulary = vocabulary_without_text(opened.model.vocab)
    sampling = chosen_sampling(Sampling(), **options.sampling)
    request = Request(ids, sampling, options.max_tokens)
    generation = Generation(opened.model, vocabulary.tokenizer, request, opened.speculation)
    finish(generation, write_json(generation) if options.as_json else write_ids(generation))


def finish(generation: Generation, interrupted: bool) -> None:
    print(summary(generation.statistics), file=sys.stderr)
    if interrupted:
        raise SystemExit(INTERRUPTED)


def read_prompt(prompt: str | None = None, file: Path | None = None) -> str:
    """The prompt as it was given, from a file, or all of standard input, less its last line end; lines may end as Windows ends them."""
    if prompt is not None and file is not None:
        raise HfcError("a prompt and --file: one of them is expected")
    if prompt is None and file is None and sys.stdin.isatty():
        raise HfcError("no prompt", hint='give one: hfc run MODEL "What is gravity?", or pipe it in')
    if prompt is None:
        text = read_text(file) if file else sys.stdin.read()
        prompt = text.replace("\r\n", "\n").removesuffix("\n")
    if not prompt.strip():
        raise HfcError("the prompt is empty", hint="give at least one word")
    return prompt


def read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise HfcError(f"{path}: not a text in UTF-8 (byte {error.start})") from error


def encode_raw(vocabulary: Vocabulary, prompt: str, special: bool = False) -> list[int]:
    return vocabulary.tokenizer.encode(prompt, parse_special=special)


def encode_chat(
    vocabulary: Vocabulary, prompt: str, system: str | None, special: bool = False, **variables: Any
) -> list[int]:
    """special: what the user typed may hold control tokens; else only the template's own text does."""
    template = chat_template(vocabulary.template, vocabulary.tokenizer)
    messages = [{"role": "system", "content": system}] if system is not None else []
    messages += [{"role": "user", "content": prompt}]
    if special:
        return vocabulary.tokenizer.encode(template.render(messages, **variables), parse_special=True, frame=False)
    guard = Guard(vocabulary.tokenizer)
    marked, mark = guard.mark(messages)
    return guard.encode(template.render(marked, **variables), mark)


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


def write_ids(generation: Generation) -> bool:
    """The answer's token ids, as --tokens takes them; True if Ctrl-C ended it."""
    interrupted = False
    try:
        for _ in generation:
            pass
    except KeyboardInterrupt:
        interrupted = True
        generation.statistics.reason = "interrupted"
    print(",".join(map(str, generation.statistics.tokens)))
    return interrupted


def write_json(generation: Generation) -> bool:
    """The whole answer as one JSON object; True if Ctrl-C ended it."""
    parts, interrupted = [], False
    try:
        parts.extend(generation)
    except KeyboardInterrupt:
        interrupted = True
        generation.statistics.reason = "interrupted"
        parts.append(generation.rest())
    s = generation.statistics
    found = {
        "text": "".join(parts), "reason": s.reason, "prompt_tokens": s.prompt_tokens, "tokens": s.tokens,
        "prefill_tok_s": round(s.prefill_tok_s, 1), "decode_tok_s": round(s.decode_tok_s, 1),
    }  # fmt: skip
    print(json.dumps(found, ensure_ascii=False))
    return interrupted


def summary(statistics: Statistics) -> str:
    drafting = f"; drafts: {statistics.drafting}" if statistics.cycles else ""
    return (
        f"[prompt {statistics.prompt_tokens} tokens, {statistics.prefill_tok_s:.1f} tok/s; "
        f"answer {len(statistics.tokens)} tokens, {statistics.decode_tok_s:.1f} tok/s{drafting}; {statistics.reason}]"
    )
