"""The context where nobody names one."""

from hfc.cli import open_model
from hfc.cli.context import fitted_context
from hfc.runtime.fit import RESERVE, Need


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


def test_the_registry_s_draft_is_taken_where_it_is_here(monkeypatch, tmp_path):
    monkeypatch.setattr(open_model, "find_local", lambda entry: tmp_path if entry.name == "qwen3.5:9b-dflash" else None)
    assert open_model.own_draft("qwen3.5:9b", "auto") == str(tmp_path)
    asked = [("qwen3.5:4b", "auto"), ("qwen3.5:9b", "off"), ("model.gguf", "auto"), ("smollm2:135m", "ngram")]
    assert [open_model.own_draft(*words) for words in asked] == ["auto", "off", "auto", "ngram"]
