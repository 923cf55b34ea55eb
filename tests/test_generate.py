"""The text loop against a small model that counts: prefill chunks, positions, every way to stop, statistics."""

import numpy as np
import pytest

from hfc.base.diagnostics import HfcError
from hfc.runtime.generate import Generation, Request, StopTexts
from hfc.runtime.sampler import Sampling
from hfc.runtime.tokenizer import Tokenizer

GREEDY = Sampling(temperature=0)
EOS = 255


class Bytes:
    """A tokenizer core whose tokens are bytes."""

    def encode(self, text, parse_special):
        return list(text.encode())

    def bytes_of(self, token):
        return bytes([token])


TOKENIZER = Tokenizer(Bytes(), 256, {EOS: "<end>"}, eos=EOS, stop_ids=frozenset({EOS}))


class Script:
    """A model that answers `reply` one byte after the other and checks that its state would be right."""

    vocab = 256

    def __init__(self, prompt: str, reply: bytes, context: int = 100, max_rows: int = 4):
        self.expected = prompt.encode() + reply
        self.first = len(prompt.encode())
        self.context, self.max_rows = context, max_rows
        self.steps = []
        self.fed = 0

    def forward(self, step):
        (segment,) = step.segments
        assert segment.position == self.fed and segment.rows == len(step.tokens) <= self.max_rows
        assert bytes(step.tokens.tolist()) == self.expected[self.fed : self.fed + segment.rows]
        self.fed += segment.rows
        assert self.fed <= self.context
        self.steps.append((segment.rows, len(step.output_rows)))
        logits = np.zeros((len(step.output_rows), self.vocab), np.float32)
        if len(step.output_rows):
            assert list(step.output_rows) == [segment.rows - 1]
            logits[0, self.expected[self.fed]] = 1
        return logits


def run(prompt: str, reply: bytes, context=100, max_rows=4, **request):
    model = Script(prompt, reply, context, max_rows)
    generation = Generation(model, TOKENIZER, Request(tuple(prompt.encode()), GREEDY, **request))
    return model, list(generation), generation.statistics


def test_prefill_in_chunks_asks_for_the_last_row_only():
    model, pieces, statistics = run("0123456789", b"ok" + bytes([EOS]))
    assert model.steps == [(4, 0), (4, 0), (2, 1), (1, 1), (1, 1)]
    assert pieces == ["o", "k"] and statistics.reason == "end"
    assert statistics.tokens == [*b"ok", EOS] and statistics.prompt_tokens == 10


def test_max_tokens_feeds_no_token_in_vain():
    model, pieces, statistics = run("ab", b"cdefgh", max_tokens=3)
    assert "".join(pieces) == "cde" and statistics.reason == "max tokens"
    assert model.fed == 4, "the last token's logits are not needed"


def test_context_full_stops_cleanly():
    model, pieces, statistics = run("abc", b"defghijk", context=5)
    assert statistics.reason == "context full" and "".join(pieces) == "def" and model.fed == 5


def test_stop_text_is_cut_out_wherever_tokens_break():
    _, pieces, statistics = run("a", b"one\nUser: two", stop_texts=("\nUser:", "never"))
    assert "".join(pieces) == "one" and statistics.reason == "stop text"
    _, pieces, statistics = run("a", b"one\nUse it" + bytes([EOS]), stop_texts=("\nUser:",))
    assert "".join(pieces) == "one\nUse it" and statistics.reason == "end"


def test_held_back_text_comes_out_at_the_end():
    _, pieces, _ = run("a", b"x\nUs" + bytes([EOS]), stop_texts=("\nUser:",))
    assert pieces == ["x", "\nUs"]


def test_a_character_of_several_tokens_comes_whole():
    _, pieces, _ = run("a", "é日".encode() + bytes([EOS]))
    assert pieces == ["é", "日"]


def test_interrupted_statistics_and_text_are_there():
    model = Script("ab", b"xyz\n")
    generation = Generation(model, TOKENIZER, Request(tuple(b"ab"), GREEDY, stop_texts=("z\n\n",)))
    stream = iter(generation)
    assert [next(stream), next(stream)] == ["x", "y"]
    stream.close()
    assert generation.statistics.tokens == list(b"xy") and generation.statistics.prefill_s > 0


def test_statistics_count_decode_without_the_first_token():
    _, _, statistics = run("ab", b"cdef", max_tokens=4)
    assert statistics.decode_tok_s == pytest.approx(3 / statistics.decode_s)
    assert statistics.prefill_tok_s == pytest.approx(2 / statistics.prefill_s)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [((), "prompt is empty"), (tuple(range(101)), "101 tokens; the context holds 100"), ((1, 256), "token 256")],
)
def test_prompts_that_cannot_run_are_refused_before_anything_runs(prompt, message):
    model = Script("", b"")
    with pytest.raises(HfcError, match=message):
        Generation(model, TOKENIZER, Request(prompt, GREEDY))
    assert model.steps == []


def test_a_prompt_as_long_as_the_context_gives_one_token():
    _, pieces, statistics = run("abcde", b"fgh", context=5)
    assert pieces == ["f"] and statistics.reason == "context full"


def test_stop_texts_hold_the_longest_possible_beginning():
    gate = StopTexts(("aab",))
    assert [gate.push(c) for c in "aaab!"] == ["", "", "a", "", ""] and gate.is_closed
    gate = StopTexts(("aab", "b"))
    assert gate.push("xaaxb") == "xaax"
    gate = StopTexts(())
    assert gate.push("anything") == "anything" and gate.close() == ""
