"""The prefix cache alone: what it finds again, what it throws away."""

import time

import numpy as np
import pytest
from serve_fakes import FakeModel, FakeSlots

from hfc.serve.cache_files import CacheFiles
from hfc.serve.prefix import PrefixCache
from hfc.serve.prefix_tree import BLOCK


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
    assert cache.bytes == sum(c.nbytes for n in cache._tree.nodes.values() for c in n.copies) and len(cache) == 3
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


def test_inner_state_of_a_text_goes_before_the_newest_end_of_any():
    """Six conversations of four turns whose inner state alone would fill the budget: every newest end is there."""
    kv, state = 4 * 263, 4
    model, cache = filled(recurrent=True, budget=6 * (kv + 3 * state))
    texts = [f"conversation {i} " * 5 for i in range(6)]
    for turn in range(4):
        for i, text in enumerate(texts):
            tokens = tokens_of(text)
            feed(model, tokens[:-7])
            cache.store(tokens[:-7], 0, is_page=turn % 2 == 0)
            feed(model, tokens, start=len(tokens) - 7)
            cache.store(tokens, 0)
            texts[i] += f" turn {turn} of it " * 3
    ends = [cache.match(tokens_of(text)).length for text in texts]
    assert ends == [len(text) - len(" turn 3 of it " * 3) for text in texts]
    evicted = cache.counts.evictions
    assert evicted["page"] > 0 and evicted["superseded"] > 0 and evicted["room"] == 0
    assert cache.bytes <= 6 * (kv + 3 * state)


def test_state_that_several_texts_go_on_from_stays():
    system = tokens_of("the system prompt of them all " * 4)
    model, cache = filled(recurrent=True, budget=4 * len(system) + 4 + 5 * (4 * 60 + 2 * 4))
    feed(model, system)
    cache.store(system, 0)
    for i in range(9):
        match = cache.match(np.append(system, 300))
        assert match.length == len(system), i
        cache.restore(match, 1)
        tokens = np.concatenate([system, tokens_of(f"{i} asks something else " * 2)])
        feed(model, tokens, 1, len(system))
        cache.store(tokens, 1)
    assert cache.counts.evictions["room"] > 0


def test_a_text_of_thousands_of_blocks_is_found_after_a_restart_and_goes_as_a_whole(tmp_path):
    count = 1200  # deeper than Python calls functions
    model = FakeModel(slots=2, context=count * BLOCK)
    tokens = np.random.default_rng(3).integers(0, 200, count * BLOCK).astype(np.int32)
    model.keys[0] = tokens
    files = CacheFiles(tmp_path, "model", 1 << 30)
    PrefixCache(FakeSlots(model), 1 << 30, files=files).store(tokens, 0, is_end=True)
    files.flush()
    touched = []
    for damaged in (False, True):
        files = CacheFiles(tmp_path, "model", 1 << 30)
        cache = PrefixCache(FakeSlots(model), 1 << 30, files=files)
        match = cache.match(tokens)
        assert match.length == len(tokens) - 1 and len(cache) == count
        touched.append(cache._tree._uses)
        if damaged:
            path = match.nodes[0].kv_file.path
            path.write_bytes(path.read_bytes()[:-1])
        assert cache.restore(match, 1) is not damaged
        files.flush()
    assert len(cache) == 0 and touched == [count, count], "each node was touched once at the start"


@pytest.mark.parametrize("recurrent", [False, True])
def test_the_time_of_a_lookup_does_not_grow_with_the_texts(recurrent):
    rng = np.random.default_rng(5)
    model, cache = filled(recurrent, budget=1 << 30)
    opening = tokens_of("all chats begin alike: ")
    texts = [np.concatenate([opening, rng.integers(0, 200, 80)]).astype(np.int32) for _ in range(10_000)]
    for text in texts:
        cache.store(text, 0)
    asked = [np.concatenate([text, rng.integers(0, 200, 9)]).astype(np.int32) for text in texts[::10]]
    began = time.process_time()
    found = [cache.match(tokens).length for tokens in asked]
    seconds = (time.process_time() - began) / len(asked)
    assert found == [len(text) for text in texts[::10]]
    assert seconds < 2e-3, "40 ms where every text was looked at; 0.05 ms on a quiet machine"
