"""A conversation on one slot: the next prompt is computed from where it differs, and its bits are those of a fresh one."""

import numpy as np
import pytest
from model_reference import MODELS
from serve.serve_fakes import GREEDY, TOKENIZER

from hfc.compiler import CompileOptions, compile_model
from hfc.runtime.executor import load
from hfc.runtime.generate import Generation, Request
from hfc.runtime.kept import KeptPrompt, shared_tokens
from hfc.runtime.slots import slot_states

CONTEXT, ANSWER = 192, 9


class Logits:
    """A model that keeps the last logits of each step that wanted some, and counts the rows of prompts."""

    def __init__(self, model):
        self._model = model
        self.vocab, self.context, self.max_rows = model.vocab, model.context, model.max_rows
        self.logits, self.rows = [], 0

    def forward(self, step):
        self.rows += len(step.tokens) if step.prompts else 0
        found = self._model.forward(step)
        if len(found):
            self.logits.append(found[-1].copy())
        return found


@pytest.fixture(scope="module", params=["llama", "gemma3_text", "qwen3_5_text", "qwen3_5_moe_text"])
def opened(request):
    return load(compile_model(MODELS / request.param, ["host"], CompileOptions(ctx=CONTEXT, max_rows=32)), "host", 2)


def answer(model, prompt, kept=None, boundary=0):
    """(tokens, logits of the prompt's end and of every token, rows of prompts that were computed)."""
    seen = Logits(model)
    generation = Generation(seen, TOKENIZER, Request(prompt, GREEDY, ANSWER, boundary=boundary), kept=kept)
    list(generation)
    return generation.statistics, seen


@pytest.mark.sampled(2)
def test_each_turn_has_the_bits_of_a_fresh_prompt(opened):
    draw = np.random.default_rng(3)
    new = lambda n: tuple(draw.integers(2, min(opened.vocab, 250), n).tolist())  # noqa: E731
    kept, said, turns = KeptPrompt(slot_states(opened)), new(40), []
    for length in (0, 5, 37):
        said += new(length)
        turns.append((said + new(2), len(said)))  # what asks for an answer is no part of the next prompt
        said += new(ANSWER)
    turns.append(turns[-1])  # the same again
    turns.append((turns[0][0][:30] + new(8), 34))  # an earlier message was changed
    rows = []
    for prompt, boundary in turns:
        statistics, warm = answer(opened, prompt, kept, boundary)
        expected, cold = answer(opened, prompt)
        kept = _again(opened, kept, prompt, boundary)  # the fresh prompt has used the slot
        assert statistics.tokens == expected.tokens
        assert [a.tobytes() for a in warm.logits] == [b.tobytes() for b in cold.logits]
        assert warm.rows == len(prompt) - statistics.kept_tokens and cold.rows == len(prompt)
        rows.append(statistics.kept_tokens)
    assert rows[:3] == [0, 40, 40 + ANSWER + 5]
    assert rows[3] >= turns[3][1] and rows[4] == (0 if kept.needs_snapshots else 30)


def _again(model, kept, prompt, boundary):
    """What a slot holds after this turn, put there anew."""
    fresh = KeptPrompt(slot_states(model))
    answer(model, prompt, fresh, boundary)
    return fresh


def test_a_prompt_that_broke_off_is_not_taken_for_held(opened):
    kept, prompt = KeptPrompt(slot_states(opened)), tuple(range(2, 90))
    answer(opened, prompt, kept, 40)
    other = tuple(range(100, 20, -1))

    class Breaks(Logits):
        def forward(self, step):
            if self.rows:
                raise KeyboardInterrupt
            return super().forward(step)

    with pytest.raises(KeyboardInterrupt):
        list(Generation(Breaks(opened), TOKENIZER, Request(other, GREEDY, ANSWER), kept=kept))
    statistics, warm = answer(opened, prompt, kept, 40)
    assert statistics.kept_tokens == 0
    _, cold = answer(opened, prompt)
    assert warm.logits[0].tobytes() == cold.logits[0].tobytes()


def test_how_much_two_texts_share():
    assert shared_tokens((1, 2, 3), (1, 2, 4, 5)) == 2
    assert shared_tokens((1, 2), (1, 2, 3)) == 2
    assert shared_tokens((), (1,)) == 0 == shared_tokens((2,), (1,))
