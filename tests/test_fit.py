"""`hfc fit`: golden numbers of official shapes, and a refusal that shows the table."""

import pytest
from test_models_configs import CONFIGS

from hfc.base.diagnostics import HfcError
from hfc.cli.fit import size_of
from hfc.compiler import CompileOptions, open_source, outline, settings_for
from hfc.runtime.fit import RESERVE, check_fit, need_of, table
from hfc.target.arch import find_arch


def need(name, ctx, kv="f16", format="q4_k", slots=1):
    source = open_source(CONFIGS / f"{name}.config.json", default_format=format)
    plan = outline(source, settings_for(source, find_arch("gfx1100"), CompileOptions(kv=kv, ctx=ctx, slots=slots)))
    return plan, need_of(plan)


# Qwen 3.5: state a slot and KV bytes a token from the model card's sizes (f32 memory, f16 keys and values).
@pytest.mark.parametrize(
    "name, per_token, memory_mib, layers",
    [("Qwen3.5-0.8B", 12 << 10, 18, 18), ("Qwen3.5-9B", 32 << 10, 48, 24), ("Qwen3.5-27B", 64 << 10, 144, 48)],
)
def test_state_of_official_shapes(name, per_token, memory_mib, layers):
    _, found = need(name, 4096)
    assert found.per_token == per_token
    windows = found.per_slot - (memory_mib << 20)
    assert 0 < windows == layers * windows // layers < found.per_slot // 10


def test_weights_of_nine_billion_at_four_and_a_half_bits():
    plan, found = need("Qwen3.5-9B", 32768)
    assert 8_953_803_264 * 4.5 / 8 < found.weights < 8_953_803_264 * 4.5 / 8 * 1.02
    assert found.total == found.weights + found.scratch + found.state + RESERVE
    assert found.state == found.per_slot + 32768 * found.per_token
    memory = 24 << 30
    fitted = found.largest_context(memory)
    rest = memory - found.weights - found.scratch - RESERVE - found.per_slot
    assert fitted * found.per_token <= rest < (fitted + 1) * found.per_token
    check_fit(plan, "card", memory)
    with pytest.raises(HfcError, match="(?s)too little free memory.*weights.*largest context"):
        check_fit(plan, "card", 4 << 30)
    assert "largest context" in table(found, memory)


def test_slots_and_formats_scale_the_state():
    one, four = need("Qwen3.5-0.8B", 4096)[1], need("Qwen3.5-0.8B", 4096, slots=4)[1]
    assert four.state == 4 * one.state and four.weights == one.weights
    assert need("Qwen3.5-0.8B", 4096, kv="f32")[1].per_token == 2 * one.per_token


def test_sizes():
    assert [size_of(t) for t in ("24G", "24", "1.5g", "512M", "16GiB")] == [
        24 << 30,
        24 << 30,
        3 << 29,
        512 << 20,
        16 << 30,
    ]
    for text in ("lots", "24000000000", "8k", "-3", "24T"):
        with pytest.raises(HfcError, match="expected a size like 24G"):
            size_of(text)


def test_the_largest_context_is_at_most_what_the_model_was_made_for():
    _, found = need("Qwen3.5-0.8B", 4096)
    text = table(found, 96 << 30, 262144)
    assert f"context that fits {found.largest_context(96 << 30):,}" in " ".join(text.split())
    assert text.splitlines()[-1].split() == ["largest", "context", "262,144", "tokens"]
    assert "made for" not in table(found, 2 << 30, 262144)
