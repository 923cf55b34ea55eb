"""The context where nobody names one."""

from pathlib import Path

import pytest

from hfc.cli import open_model, serve_source
from hfc.cli.context import fitted_context
from hfc.cli.serve_source import ServeChoice, plan_bytes_of
from hfc.runtime.fit import RESERVE, Need
from hfc.runtime.source import Source


def test_a_context_is_what_the_model_was_trained_for_as_far_as_memory_holds_it():
    """Scratch grows with the context, so that the first guess from a short one is too long."""
    need_at = lambda n: Need(weights=1 << 30, scratch=n * 500, per_token=1000, per_slot=0, context=n, slots=1)  # noqa: E731
    for trained, memory in (
        (131072, 8 << 30),
        (131072, (1 << 30) + RESERVE + 30_000_000),
        (2048, 2 << 30),
        (131072, 1 << 30),
    ):
        found = fitted_context(trained, memory, need_at)
        usual = min(4096, trained)
        assert usual <= found <= trained
        assert need_at(found).total <= memory or found == usual
        if usual < found < trained:
            assert need_at(found + found // 4).total > memory, "most of the memory is used"
    assert fitted_context(131072, 8 << 30, need_at) == 131072


def test_memory_of_a_plan_comes_in_steps_and_only_where_something_computes():
    assert open_model.plan_memory("host") % open_model.MEMORY_STEP == 0 < open_model.plan_memory("host")
    assert open_model.plan_memory("null:gfx1100") is None


@pytest.mark.parametrize(
    ("device", "free", "limit", "caches", "models", "expected"),
    [
        ("host", 8 << 30, 14 << 30, (1 << 30, 0), 1, 8 << 30),  # half of the host's memory
        ("host", 8 << 30, 6 << 30, (1 << 30, 0), 1, 5 << 30),  # --memory-mb bounds caches too
        ("hip", 20 << 30, 24 << 30, (1 << 30, 2 << 30), 1, 18 << 30),  # the host's cache takes nothing of a card
        ("hip", 20 << 30, 12 << 30, (1 << 30, 2 << 30), 2, 5 << 30),
        (
            "hip",
            1 << 30,
            24 << 30,
            (1 << 30, 2 << 30),
            1,
            open_model.MEMORY_STEP,
        ),  # too little is said by the plan's own table
    ],
)
def test_models_of_a_server_share_what_is_beside_its_caches(monkeypatch, device, free, limit, caches, models, expected):
    monkeypatch.setattr(serve_source, "plan_memory", lambda device: free)
    assert plan_bytes_of(device, limit, caches, models) == expected


def test_a_server_s_context_is_fitted_unless_it_is_named_or_compiled():
    words = ("host", None, None, None, None, None, (), 0, 0, 128, 64, {})
    choice = ServeChoice(*words, plan_bytes=3 << 30).of(Source("checkpoint", Path("m.gguf")))
    assert choice.fits_memory and choice.memory == 3 << 30 and choice.context is None and choice.slots == 4
    assert not ServeChoice(*words, plan_bytes=3 << 30).of(Source("bundle", Path("m.hfp"))).fits_memory


def test_the_registry_s_draft_is_taken_where_it_is_here(monkeypatch, tmp_path):
    monkeypatch.setattr(open_model, "find_local", lambda entry: tmp_path if entry.name == "qwen3.5:9b-dflash" else None)
    assert open_model.own_draft("qwen3.5:9b", "auto") == str(tmp_path)
    asked = [("qwen3.5:4b", "auto"), ("qwen3.5:9b", "off"), ("model.gguf", "auto"), ("smollm2:135m", "ngram")]
    assert [open_model.own_draft(*words) for words in asked] == ["auto", "off", "auto", "ngram"]
