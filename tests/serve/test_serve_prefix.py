"""The prefix cache alone: what it finds again, what it throws away."""

import numpy as np
from serve_fakes import FakeModel, FakeSlots

from hfc.serve.prefix import BLOCK, PrefixCache


def filled(recurrent, budget=1 << 20):
    model = FakeModel(slots=2, context=1000, recurrent=recurrent)
    return model, PrefixCache(FakeSlots(model), budget)


def feed(model, tokens, slot=0, start=0):
    for position in range(start, len(tokens)):
        model._row(slot, position, tokens[position])


def tokens_of(text):
    return np.frombuffer(text.encode(), np.uint8).astype(np.int32)


def test_attention_alone_reuses_any_common_prefix():
    model, cache = filled(recurrent=False)
    tokens = tokens_of("a" * 100 + "b" * 50)
    feed(model, tokens)
    cache.store(tokens, 0)
    for n in (1, 63, 64, 65, 120, 149):
        assert cache.match(np.concatenate([tokens[:n], tokens_of("zz")])).length == n
    assert cache.match(tokens).length == 149, "the last token's logits are wanted"
    assert cache.match(tokens_of("zzz")).length == 0
    match = cache.match(tokens)
    cache.restore(match, 1)
    np.testing.assert_array_equal(model.keys[1, :149], tokens[:149])


def test_recurrent_state_is_reused_where_it_was_stored():
    model, cache = filled(recurrent=True)
    tokens = tokens_of("c" * 200)
    feed(model, tokens[:130])
    cache.store(tokens[:130], 0)
    memory = model.memory[0].copy()
    feed(model, tokens, start=130)
    cache.store(tokens, 0)
    assert cache.match(tokens[:180]).length == 130 and cache.match(tokens).length == 130
    assert cache.match(tokens[:130]).length == 0, "nothing at or below 129"
    assert cache.match(tokens_of("c" * 201)).length == 200
    cache.restore(cache.match(tokens), 1)
    np.testing.assert_array_equal(model.memory[1], memory)


def test_the_budget_holds_and_the_oldest_leaves_go_first():
    model, cache = filled(recurrent=False, budget=3 * BLOCK * 4)
    for letter in "abcdefgh":
        tokens = tokens_of(letter * BLOCK)
        feed(model, tokens)
        cache.store(tokens, 0)
        assert cache.bytes <= 3 * BLOCK * 4
    assert cache.bytes == sum(c.nbytes for n in cache._nodes.values() for c in n.copies) and len(cache) == 3
    assert [cache.match(tokens_of(c * 99)).length for c in "aefgh"] == [0, 0, 64, 64, 64]
    long = tokens_of("q" * 10 * BLOCK)
    feed(model, long)
    cache.store(long, 0)
    assert cache.match(long).length == 3 * BLOCK, "the beginning of a prefix outlives its end"


def test_a_growing_end_replaces_itself():
    model, cache = filled(recurrent=False)
    for n in range(1, 130):
        tokens = tokens_of("d" * n)
        feed(model, tokens)
        cache.store(tokens, 0)
    assert len(cache) == 3 and cache.match(tokens_of("d" * 200)).length == 129
