"""A large vocabulary is held in few pieces: its tokens' bytes in one table, what was looked up lately, and what llguidance makes of it."""

import llguidance
import llguidance.numpy
import numpy as np
import pytest

from hfc.runtime import tokenizer_library
from hfc.runtime.token_table import TokenTable
from hfc.runtime.tokenizer import Tokenizer
from hfc.runtime.vocabulary import load_vocabulary
from hfc.serve import grammar
from hfc.serve.grammar import SLICES, GrammarCompiler
from hfc.serve.workers.child import compiled, library_of


class Letters:
    def encode(self, text, parse_special):
        return [ord(c) for c in text]

    def bytes_of(self, token):
        return bytes([token]) * (token % 3)


def test_a_table_has_the_bytes_of_every_token():
    tokenizer = Tokenizer(Letters(), 200, {7: "<|im_end|>"})
    assert list(tokenizer.table) == [tokenizer.bytes_of(i) for i in range(200)] and len(tokenizer.table) == 200
    assert list(tokenizer.table)[7] == b"<|im_end|>" and tokenizer.table is tokenizer.table
    assert not len(TokenTable([]))


def test_bytes_that_were_looked_up_are_forgotten_again(smollm2_gguf, monkeypatch):
    core = load_vocabulary(smollm2_gguf).tokenizer.core
    texts = [core.bytes_of(i) for i in range(4000)]
    monkeypatch.setattr(tokenizer_library, "REMEMBERED", 100)
    core.bytes_of(4000)
    assert [core.bytes_of(i) for i in range(4000)] == texts
    assert len(core._known) <= len(core._added) + 101 and core._added.items() <= core._known.items()


@pytest.mark.parametrize("more", [0, 5])
def test_llguidance_takes_the_tokens_and_python_keeps_none(more, monkeypatch):
    made = []

    class Kept(llguidance.TokenizerWrapper):
        def __init__(self, asked):
            super().__init__(asked)
            made.append((self, asked, len(self.tokens)))

    monkeypatch.setattr(llguidance, "TokenizerWrapper", Kept)
    tokenizer = Tokenizer(Letters(), 200, {7: "<|im_end|>"}, eos=7)
    library = library_of(GrammarCompiler(tokenizer, 200 + more)._vocabulary())
    (wrapper, asked, count) = made[0]
    assert library.vocab_size == count == 200 + more and not len(wrapper.tokens) and not len(asked.tokens)
    assert not compiled(library, "regex", "aa").is_error(), "and it is not asked for them again"


def test_tokens_that_are_kept_apart_change_no_mask(smollm2_gguf):
    tokenizer = load_vocabulary(smollm2_gguf).tokenizer
    vocabulary = GrammarCompiler(tokenizer, tokenizer.vocab)._vocabulary()
    plain, sliced = library_of(vocabulary), library_of(vocabulary, SLICES)
    schema = '{"type": "object", "properties": {"a": {"type": "string", "maxLength": 40}}, "required": ["a"]}'
    for kind, asked, text in (("json_schema", schema, '{"a": "some words'), ("regex", "[a-z ]+: .{1,50}", "it: and")):
        matchers = [compiled(library, kind, asked) for library in (plain, sliced)]
        masks = [llguidance.numpy.allocate_token_bitmask(1, tokenizer.vocab) for _ in matchers]
        for token in tokenizer.encode(text, False):
            for matcher, mask in zip(matchers, masks):
                llguidance.numpy.fill_next_token_bitmask(matcher, mask)
                assert matcher.consume_token(token)
            assert np.array_equal(*masks)


def test_a_large_vocabulary_waits_for_the_first_grammar(smollm2_gguf, monkeypatch):
    monkeypatch.setattr(grammar, "READY", 1000)
    tokenizer = load_vocabulary(smollm2_gguf).tokenizer
    compiler = GrammarCompiler(tokenizer, tokenizer.vocab)
    compiler.warm()
    assert compiler._built is None
    matcher = compiler.regex("[ab]+", "")
    assert matcher.consume_token(tokenizer.encode("ab", False)[0]) and compiler._built is not None
    nursery = compiler._pool._nursery
    nursery._process.kill()
    nursery._process.wait()
    assert compiler.regex("[cd]+", ""), "a process that starts again is told of it again"
