"""Times speculative decoding against plain decoding of the same text, by genre; or with an acceptance that is made up."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hfc.base.diagnostics import HfcError
from hfc.cli.genres import GENRES
from hfc.cli.open_model import OpenModel
from hfc.runtime.chat import chat_template
from hfc.runtime.generate import Clock, Generation, Request, RunsCycles, SamplesItself, Statistics, prompt_steps
from hfc.runtime.gpu import GpuModel
from hfc.runtime.host import HostModel
from hfc.runtime.sampler import Sampler, Sampling
from hfc.runtime.speculate.repetition import is_degenerate
from hfc.runtime.vocabulary import Vocabulary
from hfc.step import Segment, Step

GREEDY = Sampling(temperature=0)


@dataclass(frozen=True)
class Drafted:
    """Speculative against plain decoding of a genre's prompts, greedy. tok_s: of both, over all its prompts.

    tau: mean tokens of a verify step; None where none ran.  is_equal: both gave the same tokens.  loops: prompts whose text
    degenerated into repetition, of `prompts`: speed on loops says nothing.  is_templated: the prompts were those of a chat.
    """

    test: str
    tok_s: float
    plain_tok_s: float
    speedup: float
    tau: float | None
    drafted: int
    accepted: int
    is_equal: bool
    loops: int
    prompts: int
    is_templated: bool
    reason: str


def measure_genres(opened: OpenModel, tokens: int) -> list[Drafted]:
    """Every genre; a text before does not count."""
    vocabulary = opened.vocabulary
    warm = encode(vocabulary, GENRES["code"][0])
    _pair(opened, warm, tokens, GREEDY, time.perf_counter)
    return [measure_prompts(opened, genre, [encode(vocabulary, p) for p in prompts], tokens) for genre, prompts in GENRES.items()]


def measure_prompts(opened: OpenModel, name: str, prompts: Sequence[tuple[int, ...]], tokens: int, sampling: Sampling = GREEDY, clock: Clock = time.perf_counter) -> Drafted:
    """Speculation of `opened` against plain decoding of so many tokens behind each prompt."""
    pairs = [_pair(opened, prompt, tokens, sampling, clock) for prompt in prompts]
    plain, drafted = ([p[i] for p in pairs] for i in (0, 1))
    speeds = [sum(len(s.tokens) - 1 for s in part) / max(1e-9, sum(s.decode_s for s in part)) for part in (drafted, plain)]
    cycles, accepted = (sum(getattr(s, name) for s in drafted) for name in ("cycles", "accepted"))
    return Drafted(
        name,
        *(round(speed, 2) for speed in speeds),
        round(speeds[0] / speeds[1], 3),
        round((accepted + cycles) / cycles, 2) if cycles else None,
        sum(s.drafted for s in drafted),
        accepted,
        all(a.tokens == b.tokens for a, b in pairs),
        sum(is_degenerate(s.tokens) for s in drafted),
        len(prompts),
        bool(opened.vocabulary.template),
        drafted[-1].drafting,
    )


def _pair(opened: OpenModel, prompt: tuple[int, ...], tokens: int, sampling: Sampling, clock: Clock) -> tuple[Statistics, Statistics]:
    """Plain and speculative generation of one prompt, one after the other."""
    found = []
    for speculation in (None, opened.speculation):
        generation = Generation(opened.model, opened.vocabulary.tokenizer, Request(prompt, sampling, tokens), speculation, clock)
        for _ in generation:
            pass
        found.append(generation.statistics)
    return found[0], found[1]


def encode(vocabulary: Vocabulary, prompt: tuple[str, str]) -> tuple[int, ...]:
    """As a chat where the model has a template, else as text to go on with."""
    if not vocabulary.template:
        return tuple(vocabulary.tokenizer.encode(prompt[1]))
    text = chat_template(vocabulary.template, vocabulary.tokenizer).render([{"role": "user", "content": prompt[0]}])
    return tuple(vocabulary.tokenizer.encode(text, parse_special=True, frame=False))


@dataclass(frozen=True)
class Synthetic:
    """Cycles of `rows` rows of which `acceptance` tokens count on average, whatever the model says: for random weights.

    draft: whose guesses are part of the cycle; "" verifies tokens that cost nothing, as prompt lookup does."""

    test: str
    tok_s: float
    plain_tok_s: float
    speedup: float
    acceptance: float
    rows: int
    draft: str


def measure_synthetic(model: HostModel | GpuModel, acceptance: float, rows: int, tokens: int, depth: int) -> Synthetic:
    """Time cycles and plain steps behind a prompt of `depth` tokens."""
    draft, most = model.plan.draft, min(model.plan.uncommitted_rows, model.max_rows, model.max_outputs)
    if not 2 <= rows <= most:
        raise HfcError(f"--draft-rows {rows}: a block of this plan has 2 to {most} rows")
    rows = min(rows, draft.block) if draft else rows
    if not 1 <= acceptance <= rows:
        raise HfcError(f"--draft-acceptance {acceptance}: a cycle of {rows} rows brings 1 to {rows} tokens")
    if depth + tokens + rows > model.context:
        raise HfcError(f"{depth} + {tokens} tokens and a block of {rows} do not fit the context of {model.context}")
    seconds = []
    for size, mean in ((rows, acceptance), (1, 1.0)):
        best = []
        for _ in range(3):
            for step in prompt_steps(_ids(0, depth, model.vocab), model.max_rows):
                model.forward(step)
            start = time.perf_counter()
            count = _cycles(model, size, mean, tokens, depth)
            best.append((time.perf_counter() - start) / count)
        seconds.append(sorted(best)[1])
    speeds = [1 / s for s in seconds]
    name, gain = draft.name if draft else "", speeds[0] / speeds[1]
    return Synthetic(f"acceptance {acceptance:g}", round(speeds[0], 2), round(speeds[1], 2), round(gain, 3), acceptance, rows, name)


def _cycles(model: HostModel | GpuModel, rows: int, acceptance: float, tokens: int, position: int) -> int:
    """Verify steps until `tokens` tokens were brought; how many they were."""
    end, waiting, brought = position + tokens, 0, 0.0
    start = position
    while position < end:
        segment = Segment(0, 0, rows, position, waiting, commit=rows == 1)
        is_guessed = rows > 1 and model.plan.draft is not None
        ids = np.array(_ids(position, rows, model.vocab), np.int32)
        _run(model, Step(ids, (segment,), np.arange(rows, dtype=np.int32), int(is_guessed), is_guessed))
        brought += acceptance
        count = start + int(brought) - position
        waiting = count if rows > 1 else 0
        position += count
    return position - start


def _run(model: HostModel | GpuModel, step: Step) -> None:
    """A step and its choice of tokens, with the guesses of the plan's draft where it has some."""
    samplers = [Sampler(GREEDY) for _ in step.output_rows]
    if step.guessed and isinstance(model, RunsCycles):
        model.cycle(step, samplers)
    elif isinstance(model, SamplesItself):
        model.next_tokens(step, samplers)
    else:
        tokens = model.draft(step)[0] if step.guessed else step.tokens
        for sampler, row in zip(samplers, model.forward(replace(step, tokens=tokens))):
            sampler.choose(row)


def _ids(first: int, count: int, vocab: int) -> tuple[int, ...]:
    """Token ids that jump through the vocabulary."""
    return tuple(int((first + i) * 2654435761 % (1 << 32) * vocab >> 32) for i in range(count))
