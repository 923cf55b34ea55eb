"""The near tier: copies of slots in device memory, that spill to the host's and come back, through a fake driver."""

import asyncio
import threading

import numpy as np
import pytest
from fake_driver import FakeDriver
from model_reference import MODELS
from serve_fakes import FakeGpu, ask, expected

from hfc.base.diagnostics import HfcError
from hfc.compiler import CompileOptions, compile_model
from hfc.pointer import Pointer
from hfc.runtime import executor
from hfc.runtime.executor import load
from hfc.runtime.near import Held, Leaving, NearCopies, RangeAllocator
from hfc.runtime.slots import GpuSlots
from hfc.serve.engine import Engine
from hfc.serve.metrics import Metrics
from hfc.serve.prefix import PrefixCache
from hfc.serve.prefix_tree import BLOCK
from hfc.serve.scheduler import Limits


def test_a_pool_gives_no_byte_twice_and_loses_none():
    rng, pool, held = np.random.default_rng(1), RangeAllocator(1 << 20, 64 * 256), {}
    for _ in range(3000):
        if held and rng.random() < 0.5:
            address = int(rng.choice(list(held)))
            pool.give(address, held.pop(address))
        elif (address := pool.take(nbytes := int(rng.integers(1, 3000)))) is not None:
            end = address + -(-nbytes // 256) * 256
            assert address >= 1 << 20 and end <= (1 << 20) + 64 * 256 and address % 256 == 0
            assert all(end <= a or address >= a + -(-n // 256) * 256 for a, n in held.items())
            held[address] = nbytes
    for address, nbytes in held.items():
        pool.give(address, nbytes)
    assert pool.take(64 * 256) == 1 << 20 and pool.take(1) is None


@pytest.fixture
def gpu_model(monkeypatch):
    """A real hybrid's plan on the fake driver, its states full of random bytes."""
    monkeypatch.setitem(executor.OPENERS, "cuda", lambda index: FakeDriver())
    model = load(
        compile_model(MODELS / "qwen3_5_text", ["sm_90"], CompileOptions(ctx=96, slots=3, max_rows=32)),
        "cuda",
        weights=MODELS / "qwen3_5_text",
    )
    rng = np.random.default_rng(2)
    for state in model.plan.states:
        for plane, nbytes in state.planes.items():
            pointer = Pointer.state(state.name, plane)
            model.driver.copy_in(model.address(pointer), rng.integers(0, 256, nbytes * model.slots, np.uint8))
    yield model
    model.close()


def test_slots_of_a_gpu_plan_travel_through_either_memory(gpu_model, monkeypatch):
    monkeypatch.setattr("hfc.runtime.near.STAGING", 1000)  # several pieces, the last one short
    states = GpuSlots(gpu_model)
    near = NearCopies(states, 1 << 20)
    assert states.recurrent_bytes > 0 and states.kv_bytes > 0
    kv, recurrent = states.read_kv(0, 10, 80), states.read_recurrent(0)
    others = states.read_kv(1, 0, 96), states.read_recurrent(1)
    held, snapshot = near.take_kv(0, 10, 80), near.take_recurrent(0)
    near.put_kv(2, 5, held, 70, 33)
    near.put_recurrent(2, snapshot)
    states.write_kv(0, 0, kv, 70, 33)
    np.testing.assert_array_equal(states.read_kv(2, 5, 38), states.read_kv(0, 0, 33))
    np.testing.assert_array_equal(states.read_recurrent(2), recurrent)
    np.testing.assert_array_equal(near.send(held).data(), kv)
    np.testing.assert_array_equal(near.send(snapshot).data(), recurrent)
    np.testing.assert_array_equal(others[0], states.read_kv(1, 0, 96))
    np.testing.assert_array_equal(others[1], states.read_recurrent(1))
    blocks, pinned = len(gpu_model.driver.memory), len(gpu_model.driver.pinned)
    near.close()
    near.close()
    assert (len(gpu_model.driver.memory), len(gpu_model.driver.pinned)) == (blocks - 1, pinned - 1)


def test_a_near_tier_that_does_not_fit_says_how_to_ask_for_less(gpu_model):
    with pytest.raises(HfcError, match="prefix cache") as refused:
        NearCopies(GpuSlots(gpu_model), 1 << 40)
    assert "--device-cache-mb" in refused.value.hint


def feed(model, tokens, slot):
    for position, token in enumerate(tokens):
        model._row(slot, position, int(token))


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize(
    ("near_bytes", "far_bytes"), [(1 << 20, 0), (8 * 256, 1 << 20), (8 * 256, 4 * 256), (300, 2000), (100, 1 << 20)]
)
def test_what_comes_back_is_what_was_there(recurrent, near_bytes, far_bytes):
    """Random conversations over both tiers: after every restore the slot holds exactly its prefix."""
    rng = np.random.default_rng(near_bytes + far_bytes + recurrent)
    model = FakeGpu(slots=2, context=1000, recurrent=recurrent)
    states = GpuSlots(model)
    cache = PrefixCache(states, far_bytes, NearCopies(states, near_bytes))
    texts = [rng.integers(0, 256, int(rng.integers(10, 400))).astype(np.int32) for _ in range(6)]
    texts += [np.concatenate([t[: len(t) // 2], rng.integers(0, 256, 150).astype(np.int32)]) for t in texts]
    hits = 0
    for _ in range(150):
        tokens = texts[int(rng.integers(len(texts)))]
        cut = tokens[: int(rng.integers(1, len(tokens) + 1))]
        if rng.random() < 0.4:
            feed(model, cut, 0)
            cache.store(cut, 0)
        match = cache.match(cut)
        if match.length:
            hits += 1
            feed(model, rng.integers(0, 256, 50), 1)
            cache.restore(match, 1)
            np.testing.assert_array_equal(model.keys[1, : match.length], cut[: match.length])
            if recurrent:
                feed(model, cut[: match.length], 0)
                np.testing.assert_array_equal(model.memory[1], model.memory[0])
        assert cache.bytes <= far_bytes and cache.near_bytes <= near_bytes
        copies = [c for n in cache._tree.nodes.values() for c in n.copies]
        assert cache.bytes + cache.near_bytes == sum(c.nbytes for c in copies)
    assert hits > 5 and (cache.counts.spills > 0) == (256 <= near_bytes < 1 << 20)
    assert (cache.near_bytes > 0) == (near_bytes >= 256)


def test_the_least_recently_used_spills_and_what_is_used_again_comes_back():
    model = FakeGpu(slots=2, context=1000)
    states = GpuSlots(model)
    cache = PrefixCache(states, 1 << 20, NearCopies(states, 4 * BLOCK * 4))  # a quarter stays free
    texts = [np.full(BLOCK, t, np.int32) for t in range(5)]
    for tokens in texts:
        feed(model, tokens, 0)
        cache.store(tokens, 0)
    where = [isinstance(n.kv, Leaving) for n in cache._tree.nodes.values()]
    assert where == [True, True, False, False, False] and cache.counts.spills == 2
    longer = np.append(texts[0], np.full(9, 7, np.int32))
    cache.restore(cache.match(longer), 1)
    np.testing.assert_array_equal(model.keys[1, :BLOCK], texts[0])
    assert [int(n.tokens[0]) for n in cache._tree.nodes.values() if isinstance(n.kv, Held)] == [3, 4, 0]


def test_a_copy_is_taken_while_older_ones_are_on_their_way_out(monkeypatch):
    model, may_arrive = FakeGpu(slots=2, context=1000), threading.Event()
    states = GpuSlots(model)
    cache = PrefixCache(states, 1 << 20, NearCopies(states, 8 * BLOCK * 4))
    bring, texts = model.driver.copy_out_async, [np.full(BLOCK, t, np.int32) for t in range(8)]
    monkeypatch.setattr(model.driver, "copy_out_async", lambda *arguments: may_arrive.wait(20) and bring(*arguments))
    for tokens in texts:
        feed(model, tokens, 0)
        cache.store(tokens, 0)
    assert cache.counts.spills == 2 and not any(
        n.kv.arrival.done() for n in cache._tree.nodes.values() if isinstance(n.kv, Leaving)
    )
    longer = np.append(texts[0], np.int32(9))
    threading.Timer(0.1, may_arrive.set).start()
    cache.restore(cache.match(longer), 1)  # waits for what was under way
    np.testing.assert_array_equal(model.keys[1, :BLOCK], texts[0])


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("near_bytes", [0, 2000, 1 << 16])
def test_conversations_on_a_gpu_with_too_little_of_either(recurrent, near_bytes):
    """Six conversations of four turns take turns in two slots; every answer is that of a model of its own."""

    async def main():
        model = FakeGpu(slots=2, context=600, recurrent=recurrent)
        engine = Engine(model, Limits(2, 16, 4, 600, 8), 3000, Metrics(), 32, GpuSlots(model), near_bytes)
        texts = [f"conversation {i} begins with a text of its own " * 2 for i in range(6)]
        for _ in range(4):
            answers = await asyncio.gather(*(ask(engine, text, 12) for text in texts))
            for i, (answer, _) in enumerate(answers):
                assert answer == expected(texts[i].encode(), 12, recurrent)
                texts[i] += answer + " and then?"
        for _ in range(3000):  # the engine's thread may still put away the last answer
            if (gauges := engine.gauges())["cache_bytes"] <= 3000:
                break
            await asyncio.sleep(0.01)
        assert gauges["cache_bytes"] <= 3000 and gauges["cache_device_bytes"] <= near_bytes
        assert near_bytes == 0 or gauges["cache_device_bytes"] > 0
        engine.close()
        assert len(model.driver.memory) == 1 + recurrent, "the near tier's memory is given back"

    asyncio.run(main())
