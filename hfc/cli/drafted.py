"""Times speculative decoding against plain decoding of the same text, by genre; or with an acceptance that is made up."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.cli.genres import GENRES
from hfc.cli.open_model import OpenModel
from hfc.runtime.chat import chat_template
from hfc.runtime.decoding.model import StepRunner
from hfc.runtime.generate import Clock, Generation, Request, Statistics, prompt_steps
from hfc.runtime.gpu import GpuModel
from hfc.runtime.host import HostModel
from hfc.runtime.sampler import Sampler, Sampling
from hfc.runtime.speculate.repetition import is_degenerate
from hfc.runtime.speculate.speculator import Speculation
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


Pair = tuple[Statistics, Statistics]  # of one prompt: decoded plainly, and with drafts


def measure_genres(opened: OpenModel, tokens: int) -> list[Drafted]:
    """Every genre; a text before does not count."""
    vocabulary = opened.vocabulary
    measure_pairs(opened, [encode(vocabulary, GENRES["code"][0])], tokens)
    is_templated = bool(vocabulary.template)
    pairs = {
        genre: measure_pairs(opened, [encode(vocabulary, p) for p in prompts], tokens)
        for genre, prompts in GENRES.items()
    }
    return [summarize(genre, found, is_templated) for genre, found in pairs.items()]


def measure_pairs(
    opened: OpenModel, prompts: Sequence[tuple[int, ...]], tokens: int, sampling: Sampling = GREEDY, clock: Clock = time.perf_counter, turn: int = 0
) -> list[Pair]:  # fmt: skip
    """So many tokens after each prompt, plainly and with drafts. Which comes first changes from prompt to prompt and with `turn`:
    the second of two equal sampled runs is some percent faster."""
    pairs = []
    for number, prompt in enumerate(prompts, turn):
        request, found = Request(prompt, sampling, tokens), {}
        for speculation in (None, opened.speculation)[:: 1 if number % 2 else -1]:
            found[speculation is None] = _run_through(opened, request, speculation, clock)
        pairs.append((found[True], found[False]))
    return pairs


def _run_through(opened: OpenModel, request: Request, speculation: Speculation | None, clock: Clock) -> Statistics:
    generation = Generation(opened.model, opened.vocabulary.tokenizer, request, speculation, clock)
    for _ in generation:
        pass
    return generation.statistics


def speeds_of(pairs: Sequence[Pair]) -> tuple[float, float]:
    """Tokens a second of decoding over all pairs: plain, and with drafts."""
    plain, drafted = (
        sum(len(p[i].tokens) - 1 for p in pairs) / max(1e-9, sum(p[i].decode_s for p in pairs)) for i in (0, 1)
    )
    return plain, drafted


def summarize(name: str, pairs: Sequence[Pair], is_templated: bool) -> Drafted:
    plain_tok_s, tok_s = speeds_of(pairs)
    drafted = [p[1] for p in pairs]
    cycles, accepted = (sum(getattr(s, field) for s in drafted) for field in ("cycles", "accepted"))
    return Drafted(
        name,
        round(tok_s, 2),
        round(plain_tok_s, 2),
        round(tok_s / plain_tok_s, 3),
        round((accepted + cycles) / cycles, 2) if cycles else None,
        sum(s.drafted for s in drafted),
        accepted,
        all(a.tokens == b.tokens for a, b in pairs),
        sum(is_degenerate(s.tokens) for s in drafted),
        len(pairs),
        is_templated,
        drafted[-1].drafting,
    )


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
    """Time cycles and plain steps after a prompt of `depth` tokens."""
    draft, most = model.plan.draft, min(model.plan.uncommitted_rows, model.max_rows, model.max_outputs)
    if not 2 <= rows <= most:
        raise HfcError(f"--draft-rows {rows}: a block of this plan has 2 to {most} rows")
    rows = min(rows, draft.block) if draft else rows
    if not 1 <= acceptance <= rows:
        raise HfcError(f"--draft-acceptance {acceptance}: a cycle of {rows} rows brings 1 to {rows} tokens")
    if depth + tokens + rows > model.context:
        raise HfcError(f"{depth} + {tokens} tokens and a block of {rows} do not fit the context of {model.context}")
    seconds, runner = [], StepRunner(model)
    for size, mean in ((rows, acceptance), (1, 1.0)):
        best = []
        for _ in range(3):
            for step in prompt_steps(_ids(0, depth, model.vocab), model.max_rows):
                model.forward(step)
            start = time.perf_counter()
            count = _cycles(runner, size, mean, tokens, depth)
            best.append((time.perf_counter() - start) / count)
        seconds.append(sorted(best)[1])
    speeds = [1 / s for s in seconds]
    name, gain = draft.name if draft else "", speeds[0] / speeds[1]
    return Synthetic(
        f"acceptance {acceptance:g}", round(speeds[0], 2), round(speeds[1], 2), round(gain, 3), acceptance, rows, name
    )


def _cycles(runner: StepRunner, rows: int, acceptance: float, tokens: int, position: int) -> int:
    """Verify steps until `tokens` tokens were brought; how many they were."""
    model, end, waiting, brought = runner.model, position + tokens, 0, 0.0
    start = position
    while position < end:
        segment = Segment(0, 0, rows, position, waiting, commit=rows == 1)
        is_guessed = rows > 1 and model.plan.draft is not None
        ids = np.array(_ids(position, rows, model.vocab), np.int32)
        _run(runner, Step(ids, (segment,), np.arange(rows, dtype=np.int32), int(is_guessed), is_guessed))
        brought += acceptance
        count = start + int(brought) - position
        waiting = count if rows > 1 else 0
        position += count
    return position - start


def _run(runner: StepRunner, step: Step) -> None:
    """A step and its choice of tokens, with the guesses of the plan's draft where it has some."""
    samplers = [Sampler(GREEDY) for _ in step.output_rows]
    _, chosen, logits = runner.run(step, lambda _: samplers)
    if chosen is None:
        for sampler, row in zip(samplers, logits):
            sampler.choose(row)


def _ids(first: int, count: int, vocab: int) -> tuple[int, ...]:
    """Token ids that jump through the vocabulary."""
    return tuple(int((first + i) * 2654435761 % (1 << 32) * vocab >> 32) for i in range(count))
