"""Speculative text is plain text, token for token: greedy and sampled, with penalties, on hosts and devices, at every end."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from speculation_cases import Always, Guesses
from test_generate import EOS, TOKENIZER

from hfc.plan import DraftPlan as OwnDraft
from hfc.runtime.decoding.decoder import Decoder, StepResult
from hfc.runtime.decoding.state import DecodeState, Work
from hfc.runtime.generate import Generation, Request
from hfc.runtime.sampler import NOT_NUMBERS, Sampler, Sampling
from hfc.runtime.speculate.accept import row_samplers
from hfc.runtime.speculate.governor import Offer
from hfc.runtime.speculate.ngram import NgramDrafter
from hfc.runtime.speculate.speculator import Speculation
from hfc.sampling import ROW_WORDS
from hfc.step import Segment

VOCAB = 8
PROMPT = (1, 2, 3)


class Markov:
    """A model whose logits depend on the latest two tokens that it was fed, and that knows which of them are committed."""

    context, max_rows, max_outputs = 64, 16, 16

    def __init__(self, vocab=VOCAB, context=64, seed=0):
        self.vocab, self.context = vocab, context
        self.table = 2 * np.random.default_rng(seed).standard_normal((vocab, vocab, vocab)).astype(np.float32)
        self.fed = np.full(context, -1)
        self.committed = self.waiting = 0

    def forward(self, step):
        (segment,) = step.segments
        assert segment.rows == len(step.tokens) <= self.max_rows and segment.position + segment.rows <= self.context
        if segment.position == 0:
            self.committed = self.waiting = 0
        assert segment.replay <= self.waiting and segment.position == self.committed + segment.replay
        self.committed = segment.position + segment.commit * segment.rows
        self.waiting = 0 if segment.commit else segment.rows
        self.fed[segment.position : segment.position + segment.rows] = step.tokens
        at = segment.position + step.output_rows
        return self.table[self.fed[at - 1], self.fed[at]]


class Device(Markov):
    """The same model choosing tokens itself, from what samplers encode: all rows before any is accepted."""

    def next_tokens(self, step, samplers):
        logits, encoded = self.forward(step), []
        for sampler in samplers:
            encoded.append(np.zeros(ROW_WORDS, np.int32))
            sampler.encode(encoded[-1])
        return [sampler.accept(choose(x, row)) for sampler, x, row in zip(samplers, logits, encoded, strict=True)]


MASK = 99


class Guesser:
    """A plan's own draft, mixed into a model: right with a chance, from a copy of the tokens that will come."""

    def will(self, future, chance):
        self.coming, self.chance, self.rng = [*PROMPT, *future], chance, np.random.default_rng(0)
        return self

    def draft(self, step):
        (segment,) = step.segments
        assert step.guessed == 1 and (step.tokens[1:] == MASK).all() and not segment.commit
        assert step.tokens[0] == self.coming[segment.position], "the anchor is the latest token"
        right = np.array([*self.coming, *[0] * segment.rows][segment.position : segment.position + segment.rows])
        other = (right + self.rng.integers(1, self.vocab, segment.rows)) % self.vocab
        wrong = self.rng.random(segment.rows) >= self.chance
        return np.where(wrong & (np.arange(segment.rows) > 0), other, right).astype(np.int32), None


class GuessingMarkov(Guesser, Markov):
    pass


class GuessingDevice(Guesser, Device):
    def cycle(self, step, samplers):
        tokens, _ = self.draft(step)
        return tokens.tolist(), self.next_tokens(replace(step, tokens=tokens), samplers)


def choose(logits, row):
    """What the sample kernel does with an encoded row, without filters."""
    floats, x = row.view(np.float32), logits.copy()
    for token, count in row[16 : 16 + 2 * row[7]].reshape(-1, 2):
        x[token] = (x[token] / floats[4] if x[token] > 0 else x[token] * floats[4]) - count * floats[5] - floats[6]
    if np.isnan(x).any():
        return NOT_NUMBERS
    if floats[0] == 0:
        return int(np.argmax(x))
    e = np.exp((x - x.max()).astype(np.float64) / floats[0])
    return int(np.searchsorted(np.cumsum(e / e.sum())[:-1], row[8:10].view(np.uint64)[0] / 2.0**64, side="right"))


def run(model, sampling, speculation=None, max_tokens=None, stop_texts=(), prompt=PROMPT, tokenizer=TOKENIZER):
    generation = Generation(model, tokenizer, Request(prompt, sampling, max_tokens, stop_texts), speculation)
    text = "".join(generation)
    return text, generation.statistics


SAMPLINGS = {
    "greedy": Sampling(temperature=0),
    "sampled": Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=3),
    "penalties": Sampling(
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        min_p=0.0,
        repeat_penalty=1.5,
        frequency_penalty=0.5,
        presence_penalty=0.2,
        repeat_window=5,
        seed=4,
    ),
    "greedy, penalties": Sampling(temperature=0, repeat_penalty=1.8, frequency_penalty=0.3),
}


@pytest.mark.parametrize("make", [Markov, Device])
@pytest.mark.parametrize("name", SAMPLINGS)
def test_speculative_tokens_are_plain_tokens(make, name):
    sampling, accepts = SAMPLINGS[name], 0
    for seed in range(12):
        sampling = replace(sampling, seed=seed)
        text, plain = run(make(seed=seed), sampling)
        for chance in (0.0, 0.5, 0.9, 1.0):
            drafter = lambda prompt: Guesses(prompt, plain.tokens, chance, seed)  # noqa: E731
            speculation = Speculation([drafter], governor=Always())
            found, statistics = run(make(seed=seed), sampling, speculation)
            assert (found, statistics.tokens, statistics.reason) == (text, plain.tokens, plain.reason)
            assert statistics.cycles and statistics.accepted <= statistics.drafted
            accepts += statistics.accepted
        assert statistics.accepted == statistics.drafted, "a draft that plain decoding would choose was refused"
    assert accepts > 500


@pytest.mark.parametrize("make", [GuessingMarkov, GuessingDevice])
@pytest.mark.parametrize("name", SAMPLINGS)
def test_guesses_of_the_plan_change_no_token(make, name):
    sampling, own, accepts = SAMPLINGS[name], OwnDraft("own", 6, MASK, 16, "logits", "tokens"), 0
    for seed in range(12):
        text, plain = run(Markov(seed=seed), sampling)
        for chance in (0.0, 0.7, 1.0):
            found, statistics = run(
                make(seed=seed).will(plain.tokens, chance), sampling, Speculation([], governor=Always(), own=own)
            )
            assert (found, statistics.tokens, statistics.reason) == (text, plain.tokens, plain.reason)
            accepts += statistics.accepted
            if make is GuessingDevice and "penalties" in name:
                assert not statistics.cycles, "a device counts drafts in no penalty"
            else:
                assert statistics.drafted <= 5 * statistics.cycles and statistics.drafting.startswith("own")
    assert accepts > 500 or (make is GuessingDevice and "penalties" in name)


class Timed(GuessingMarkov):
    """Tells the time by what it ran: a step of one row takes a second."""

    now = 0.0

    def __init__(self, **options):
        super().__init__(**options)
        self.observed = []

    def forward(self, step):
        self.now += 1 + 0.15 * (len(step.tokens) - 1)
        self.observed.append(step.observed)
        return super().forward(step)

    def draft(self, step):
        self.now += 0.5
        assert all(self.observed), "the draft is asked although it did not see all"
        return super().draft(step)


def test_a_draft_that_never_pays_is_given_up_and_costs_nothing_then():
    greedy, own = SAMPLINGS["greedy"], OwnDraft("own", 16, MASK, 16, "logits", "tokens")
    _, plain = run(Markov(context=400, seed=1), greedy)
    speculation, asked, seconds = Speculation([], own=own), [], []
    for _ in range(17):
        model = Timed(context=400, seed=1).will(plain.tokens, 0.0)
        generation = Generation(model, TOKENIZER, Request(PROMPT, greedy), speculation, clock=lambda: model.now)
        for _ in generation:
            pass
        assert generation.statistics.tokens == plain.tokens
        first = model.observed.index(False) if False in model.observed else len(model.observed)
        assert not any(model.observed[first:]), "who gave up goes on without"
        asked.append(first)
        seconds.append(model.now / len(plain.tokens))
    assert 0 < asked[0] < 200 and asked[2:8] == [0] * 6, "the record speaks against it"
    assert asked[8] > 0 and asked[9:16] == [0] * 7 and asked[16] > 0, "one in eight has it nevertheless"
    assert max(seconds) < 1.03 and np.mean(seconds) < 1.01


def test_a_draft_that_pays_is_asked_and_observed_to_the_end():
    greedy, own = SAMPLINGS["greedy"], OwnDraft("own", 16, MASK, 16, "logits", "tokens")
    _, plain = run(Markov(context=400, seed=1), greedy)
    model = Timed(context=400, seed=1).will(plain.tokens, 0.9)
    generation = Generation(
        model, TOKENIZER, Request(PROMPT, greedy), Speculation([], own=own), clock=lambda: model.now
    )
    for _ in generation:
        pass
    assert generation.statistics.tokens == plain.tokens and all(model.observed)
    assert model.now < 0.6 * len(plain.tokens) and generation.statistics.tau > 3


def test_without_speculation_nothing_is_taken_down_for_a_draft():
    model = Timed()
    run(model, SAMPLINGS["greedy"], max_tokens=5)
    assert model.observed and not any(model.observed)


@pytest.mark.parametrize("name", SAMPLINGS)
def test_prompt_lookup_changes_no_token(name):
    for seed in range(10):
        _, plain = run(Markov(vocab=5, seed=seed), SAMPLINGS[name], prompt=(1, 2, 1, 2, 1))
        _, found = run(
            Markov(vocab=5, seed=seed),
            SAMPLINGS[name],
            Speculation([NgramDrafter], governor=Always()),
            prompt=(1, 2, 1, 2, 1),
        )
        assert found.tokens == plain.tokens and found.cycles


def test_blocks_end_where_the_request_does():
    greedy = SAMPLINGS["greedy"]
    _, plain = run(Markov(), greedy)
    assert plain.reason == "context full"
    for limit in range(1, 40):
        model = Markov()
        _, found = run(model, greedy, Speculation([lambda p: Guesses(p, plain.tokens, 1.0)], governor=Always()), limit)
        assert found.tokens == plain.tokens[:limit] and found.reason == "max tokens"
        assert model.committed + model.waiting == len(PROMPT) + limit - 1, "the last token's logits are not needed"


def test_a_stop_inside_a_block_drops_what_follows():
    greedy, text = SAMPLINGS["greedy"], Markov(seed=2)
    _, plain = run(text, greedy)
    for at in range(1, 20):
        stop = plain.tokens[at]
        first = plain.tokens.index(stop)
        tokenizer = replace(TOKENIZER, stop_ids=frozenset({EOS, stop}))
        _, found = run(
            Markov(seed=2),
            greedy,
            Speculation([lambda p: Guesses(p, plain.tokens, 1.0)], governor=Always()),
            tokenizer=tokenizer,
        )
        assert found.tokens == plain.tokens[: first + 1] and found.reason == "end"
    stop_text = bytes(plain.tokens[5:7]).decode()
    expected = run(Markov(seed=2), greedy, stop_texts=(stop_text,))
    found = run(
        Markov(seed=2),
        greedy,
        Speculation([lambda p: Guesses(p, plain.tokens, 1.0)], governor=Always()),
        stop_texts=(stop_text,),
    )
    assert found[0] == expected[0] and found[1].tokens == expected[1].tokens and found[1].reason == "stop text"


def test_sampled_text_keeps_its_distribution():
    """Chi-square over pairs of tokens: 3,000 texts drawn plainly and 3,000 drawn with drafts that are often wrong."""
    counts = []
    for speculation in (
        None,
        Speculation(
            [lambda p: Guesses(p, np.random.default_rng(1).integers(0, 4, 50), 0.8, vocab=4)], governor=Always()
        ),
    ):
        model, seen = Markov(vocab=4, context=8), Counter()
        for seed in range(3000):
            offset = 0 if speculation is None else 10**6  # other random bits: equal text would prove nothing
            sampling = Sampling(temperature=0.9, top_k=0, top_p=1.0, min_p=0.0, seed=offset + seed)
            _, statistics = run(model, sampling, speculation)
            seen[tuple(statistics.tokens[2:4])] += 1
        counts.append(seen)
    cells = sorted(set(counts[0]) | set(counts[1]))
    plain, drafted = (np.array([c[cell] for cell in cells], float) for c in counts)
    chi_square = ((plain - drafted) ** 2 / (plain + drafted)).sum()
    freedom = len(cells) - 1
    # mean and standard deviation of chi-square
    assert len(cells) == 16 and chi_square < freedom + 4 * np.sqrt(2 * freedom), chi_square


@pytest.mark.parametrize(
    "chosen, drafts, expected",
    [((5, 6, 7, 8), [5, 9, 7], [5, 6]), ((5, 6), [5], [5, 6]), ((5,), [], [5])],
)
def test_accepting_reads_no_further_than_needed(chosen, drafts, expected):
    """A sampler remembers what it accepts: nothing behind the first difference may reach it."""
    sequence, told = DecodeState(PROMPT, Sampler(SAMPLINGS["greedy"])), []
    sequence.sampler.accept = lambda token: told.append(token) or token
    segment = Segment(0, 0, len(chosen), len(PROMPT))
    result = StepResult(Work(sequence, len(chosen), len(chosen)), segment, drafts, list(chosen), None, None, None)
    taken = []
    count = Decoder(Device(), None, 16, 64).accept(result, lambda _result, token, _told, _number: taken.append(token))
    assert taken == told == expected and count == len(expected)
    assert sequence.position == count and sequence.waiting == (count if drafts else 0)


def test_a_row_is_encoded_as_if_its_drafts_were_chosen():
    sampling = SAMPLINGS["penalties"]
    plain, ahead = Sampler(sampling, [1, 2, 3, 4]), Sampler(sampling, [1, 2, 3, 4])
    drafts = (5, 1, 5, 6)
    for i, rows in enumerate(row_samplers(ahead, drafts)):
        expected, found = np.zeros(ROW_WORDS, np.int32), np.zeros(ROW_WORDS, np.int32)
        plain.encode(expected)
        rows.encode(found)
        np.testing.assert_array_equal(found, expected)
        plain.accept(drafts[i] if i < len(drafts) else 0)


def test_statistics_say_what_drafting_did():
    _, statistics = run(Markov(), SAMPLINGS["greedy"], Speculation([NgramDrafter], governor=Always()))
    assert statistics.tau == pytest.approx((statistics.accepted + statistics.cycles) / statistics.cycles)
    assert "ngram" in statistics.drafting and "tokens a cycle" in statistics.drafting
    _, statistics = run(Markov(), SAMPLINGS["greedy"])
    assert statistics.tau is None and statistics.drafting == ""
    assert Offer("x", 3).cost_kind == "step" and Offer("x", 3, in_cycle=True).cost_kind == "x"
