"""The prefix cache on disk: it outlives the server, stays within its bounds, and a damaged file or a full disk costs time alone."""

import asyncio
import errno
import json
import logging
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from model_reference import MODELS
from serve_fakes import FakeGpu, FakeModel, FakeSlots, ask, expected

from hfc.base.diagnostics import HfcError
from hfc.cli.serve_cache import cache_folder_of, cache_of
from hfc.compiler import CompileOptions, open_source, outline, settings_for
from hfc.runtime.slots import GpuSlots
from hfc.serve import cache_files
from hfc.serve.cache_files import CacheFiles
from hfc.serve.engine import Engine
from hfc.serve.metrics import Metrics
from hfc.serve.prefix import PrefixCache
from hfc.serve.scheduler import Limits
from hfc.target.arch import find_arch


def run(coroutine):
    asyncio.run(asyncio.wait_for(coroutine, 60))


def engine_on(folder, recurrent, memory=1 << 20, disk=1 << 20, model_key="model"):
    model = FakeModel(slots=2, context=600, max_rows=64, recurrent=recurrent)
    files = CacheFiles(folder, model_key, disk) if folder else None
    return Engine(model, Limits(2, 64, 4, 600), memory, Metrics(), 64, FakeSlots(model), cache_files=files), model


def restarted(tmp_path, recurrent, between=lambda folder: None, **options):
    """Six conversations of two turns, a restart, the third turn: (tokens that were cached, answers) of that."""
    texts = [f"conversation {i} begins with a text of its own " * 3 for i in range(6)]

    async def turns(count):
        engine, _ = engine_on(tmp_path, recurrent, **options)
        for _ in range(count):
            answers = [await ask(engine, text, 12) for text in texts]
            for i, (answer, _) in enumerate(answers):
                assert answer == expected(texts[i].encode(), 12, recurrent)
                texts[i] += answer + " and then?"
        engine.close()  # the engine's thread may still put away the last answer
        bounds = engine.gauges()
        return [s.usage.cached for _, s in answers], bounds, engine.metrics.cache

    asyncio.run(turns(2))
    between(tmp_path / "model")
    return asyncio.run(turns(1))


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("memory", [3000, 1 << 20])
def test_conversations_outlive_the_server_and_the_memory(tmp_path, recurrent, memory):
    cached, gauges, counts = restarted(tmp_path, recurrent, memory=memory)
    assert min(cached) > 150, "all but the newest words"
    assert gauges["cache_bytes"] <= memory and gauges["cache_disk_bytes"] > 6 * 4 * 150 and counts.loads > 0


def test_a_damaged_file_is_dropped_and_its_answer_is_a_cold_one(tmp_path, caplog):
    def damage(folder):
        files = sorted(folder.iterdir())
        for i, path in enumerate(files):
            data = bytearray(path.read_bytes())
            if i % 3 == 0:
                data[-3] ^= 64
            elif i % 3 == 1:
                del data[-2:]
            path.write_bytes(data)
        (folder / "notes.txt").write_text("of somebody else")
        (folder / "00.kv").write_bytes(b"{}\n")

    cached, _, _ = restarted(tmp_path, True, damage)  # whose answers are those of models of their own
    assert min(cached) == 0
    assert not (tmp_path / "model" / "00.kv").exists()
    assert "checksum" in caplog.text


def test_the_disk_has_a_bound(tmp_path):
    cached, gauges, counts = restarted(tmp_path, False, memory=2000, disk=3000)
    assert gauges["cache_disk_bytes"] <= 3000 and counts.evictions["disk"] > 0 and max(cached) >= 64
    assert sum(p.stat().st_size for p in (tmp_path / "model").iterdir()) < 3000 + 30 * 500


def test_a_full_disk_is_said_once_and_the_cache_goes_on_in_memory(tmp_path, monkeypatch, caplog):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache_files, "json", SimpleNamespace(dumps=full, loads=json.loads))
    with caplog.at_level(logging.WARNING):
        cached, gauges, _ = restarted(tmp_path, True)
    assert sum("the disk is full" in r.message for r in caplog.records) == 2, "once for each of two servers"
    assert gauges["cache_bytes"] > 0 and cached == [0] * 6 and not list((tmp_path / "model").iterdir())


def test_state_of_another_model_is_left_alone_and_said(tmp_path, caplog):
    async def main(key):
        engine, _ = engine_on(tmp_path, False, model_key=key)
        _, sequence = await ask(engine, "the same words for both of these models " * 4, 3)
        engine.close()
        return sequence.usage.cached

    assert asyncio.run(main("one")) == 0
    assert asyncio.run(main("two")) == 0 and "1 folders of other models" in caplog.text
    assert asyncio.run(main("one")) > 100


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HfcError, match="--cache-dir"):
        CacheFiles(tmp_path / "file", "model", 1 << 20)


def test_files_of_another_shape_are_removed(tmp_path):
    model = FakeModel(slots=1, context=300, recurrent=True)
    files = CacheFiles(tmp_path, "model", 1 << 20)
    cache = PrefixCache(FakeSlots(model), 1 << 20, files=files)
    cache.store(np.arange(130, dtype=np.int32), 0, is_end=True)
    cache.close()
    states = FakeSlots(model)
    states.kv_bytes = 8
    again = CacheFiles(tmp_path, "model", 1 << 20)
    assert len(PrefixCache(states, 1 << 20, files=again)) == 0
    again.flush()
    assert not list((tmp_path / "model").iterdir())


def test_what_lies_in_device_memory_is_written_when_the_server_ends(tmp_path):
    async def main():
        model = FakeGpu(slots=2, context=600, max_rows=64, recurrent=True)
        files = CacheFiles(tmp_path, "model", 1 << 20)
        engine = Engine(
            model, Limits(2, 64, 4, 600), 1 << 20, Metrics(), 512, GpuSlots(model), 1 << 16, cache_files=files
        )
        text = "a conversation on a card " * 6
        answer, sequence = await ask(engine, text, 8)
        assert answer == expected(text.encode(), 8, True)
        engine.close()
        return text + answer, sequence.usage.cached

    text, _ = asyncio.run(main())
    engine, _ = engine_on(tmp_path, True)

    async def second():
        return await ask(engine, text + " more", 4)

    answer, sequence = asyncio.run(second())
    engine.close()
    assert answer == expected((text + " more").encode(), 4, True) and sequence.usage.cached == len(text) - 1


def test_the_folder_belongs_to_a_model_its_weights_and_its_kv_format(tmp_path):
    weights = shutil.copytree(MODELS / "llama", tmp_path / "weights")
    opened = open_source(weights)

    def place(kv="f16", ctx=64):
        plan = outline(opened, settings_for(opened, find_arch("host"), CompileOptions(kv=kv, ctx=ctx)))
        return cache_folder_of(tmp_path / "cache", None).of(plan, str(weights)).folder

    usual = place()
    assert usual.parent == tmp_path / "cache" and place(ctx=96) == usual, "a context is no other state"
    assert place(kv="q8") != usual
    file = weights / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert place() != usual


def test_a_cache_in_memory_takes_a_share_of_what_is_free(monkeypatch):
    monkeypatch.setattr("hfc.cli.serve_cache.free_memory_bytes", lambda: 80 << 30)
    assert (cache_of(None), cache_of(0), cache_of(7)) == (10 << 30, 0, 7 << 20)
    monkeypatch.setattr("hfc.cli.serve_cache.free_memory_bytes", lambda: 1 << 30)
    assert cache_of(None) == 1 << 30
