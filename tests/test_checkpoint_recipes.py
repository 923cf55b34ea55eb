"""Recipes: what each operation does to values, and which of them keep quantized blocks as they are."""

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from hfc.base.diagnostics import HfcError
from hfc.bundles.recipes import check_recipe
from hfc.formats.checkpoint import evaluate, open_checkpoint
from hfc.formats.checkpoint.rope import FREQUENCIES, PARAMETERS, rope_table
from hfc.formats.recipe import Recipe, apply, tensor

REAL_BLOCKS = Path(__file__).parent / "data" / "formats" / "ggml_blocks.gguf"
MATRIX = np.arange(48, dtype=np.float32).reshape(8, 6)


@pytest.fixture
def checkpoint(tmp_path):
    tensors = {"matrix": MATRIX, "vector": np.arange(8, dtype=np.float16), "conv": MATRIX.reshape(8, 1, 6)}
    tensors["deep"] = MATRIX.reshape(1, 8, 1, 6)
    safetensors.numpy.save_file(tensors, tmp_path / "model.safetensors")
    with open_checkpoint(tmp_path) as opened:
        yield opened


@pytest.fixture
def blocks():
    with open_checkpoint(REAL_BLOCKS) as opened:
        yield opened


def test_tensor_is_the_stored_bytes(checkpoint, blocks):
    found = evaluate(tensor("matrix"), checkpoint, 1)
    assert (found.format, found.shape) == ("f32", (8, 6))
    assert np.shares_memory(found.raw, checkpoint.raw("matrix")), "no copy"
    assert evaluate(tensor("q4_k"), blocks, 1).format == "q4_k"


def test_half_split_turns_interleaved_pairs_into_halves(checkpoint):
    found = evaluate(apply("half_split", tensor("matrix"), heads=2), checkpoint, 1).f32()
    assert np.array_equal(found, MATRIX[[0, 2, 1, 3, 4, 6, 5, 7]])
    found = evaluate(apply("half_split", tensor("vector"), heads=1), checkpoint, 1)
    assert found.format == "f16" and found.f32().tolist() == [0, 2, 4, 6, 1, 3, 5, 7]
    with pytest.raises(HfcError, match="has no 8 heads of an even number of rows"):
        evaluate(apply("half_split", tensor("matrix"), heads=8), checkpoint, 1)


@pytest.mark.parametrize("axis", [0, 1])
def test_rows_cut_an_axis(checkpoint, axis):
    found = evaluate(apply("rows", tensor("matrix"), axis=axis, start=2, stop=5), checkpoint, 1)
    assert np.array_equal(found.f32(), MATRIX[2:5] if axis == 0 else MATRIX[:, 2:5])
    with pytest.raises(HfcError, match="rows 2:9 of axis"):
        evaluate(apply("rows", tensor("matrix"), axis=axis, start=2, stop=9), checkpoint, 1)


def test_join_puts_rows_behind_each_other(checkpoint, blocks):
    both = apply("join", tensor("matrix"), apply("rows", tensor("matrix"), axis=0, start=2, stop=5))
    check_recipe(both, "a bundle")
    assert np.array_equal(evaluate(both, checkpoint, 1).f32(), np.concatenate([MATRIX, MATRIX[2:5]]))
    twice = evaluate(apply("join", tensor("q6_k"), tensor("q6_k")), blocks, 1)
    assert twice.format == "q6_k" and np.array_equal(twice.f32(), np.tile(blocks.f32("q6_k"), (2, 1)))
    deep = evaluate(apply("join", tensor("deep"), tensor("deep")), checkpoint, 1)
    assert deep.shape == (16, 1, 6) and np.array_equal(deep.f32()[:, 0], np.tile(MATRIX, (2, 1)))
    with pytest.raises(HfcError, match="one format and rows of one shape"):
        evaluate(apply("join", tensor("matrix"), tensor("vector")), checkpoint, 1)


def test_join_columns_puts_columns_behind_each_other(checkpoint, blocks):
    both = apply("join_columns", tensor("matrix"), tensor("conv"), tensor("matrix"))
    with pytest.raises(HfcError, match="one format of blocks and as many rows"):
        evaluate(both, checkpoint, 1)
    both = apply("join_columns", tensor("matrix"), tensor("matrix"))
    check_recipe(both, "a bundle")
    assert np.array_equal(evaluate(both, checkpoint, 1).f32(), np.tile(MATRIX, (1, 2)))
    twice = evaluate(apply("join_columns", tensor("q6_k"), tensor("q6_k")), blocks, 1)
    assert twice.format == "q6_k" and np.array_equal(twice.f32(), np.tile(blocks.f32("q6_k"), (1, 2)))
    with pytest.raises(HfcError, match="one format of blocks and as many rows"):
        evaluate(apply("join_columns", tensor("q6_k"), tensor("q4_k")), blocks, 1)


def test_stack_adds_a_first_axis(checkpoint):
    found = evaluate(apply("stack", tensor("matrix"), tensor("matrix")), checkpoint, 1)
    assert np.array_equal(found.f32(), np.stack([MATRIX, MATRIX]))
    with pytest.raises(HfcError, match="one format and shape"):
        evaluate(apply("stack", tensor("matrix"), tensor("vector")), checkpoint, 1)


def test_row_operations_keep_quantized_blocks(blocks):
    """Cutting, permuting and stacking rows of bytes is the same as doing it to their values."""
    values = blocks.f32("q6_k")
    cut = evaluate(apply("rows", tensor("q6_k"), axis=0, start=1, stop=3), blocks, 1)
    split = evaluate(apply("half_split", tensor("q6_k"), heads=1), blocks, 1)
    stacked = evaluate(apply("stack", tensor("q6_k"), tensor("q6_k")), blocks, 1)
    inner = evaluate(apply("rows", apply("stack", tensor("q6_k"), tensor("q6_k")), axis=1, start=0, stop=1), blocks, 1)
    assert {x.format for x in (cut, split, stacked, inner)} == {"q6_k"}
    assert np.array_equal(cut.f32(), values[1:3])
    assert np.array_equal(split.f32(), values[[0, 2, 1, 3]])
    assert np.array_equal(stacked.f32(), np.stack([values, values]))
    assert np.array_equal(inner.f32(), np.stack([values[:1], values[:1]]))
    with pytest.raises(HfcError, match="its elements lie in blocks"):
        evaluate(apply("rows", tensor("q6_k"), axis=1, start=0, stop=256), blocks, 1)


def test_arithmetic_makes_f32(checkpoint, blocks):
    vector = np.arange(8, dtype=np.float32)
    recipe = apply("neg", apply("exp", apply("mul", apply("add", tensor("vector"), c=1), c=0.25)))
    found = evaluate(recipe, checkpoint, 1)
    assert found.format == "f32" and np.array_equal(found.f32(), -np.exp((vector + 1) * np.float32(0.25)))
    assert evaluate(apply("add", tensor("q4_0"), c=1.0), blocks, 1).format == "f32"


def test_declared_shapes_may_add_or_drop_ones(checkpoint):
    stored = evaluate(tensor("conv"), checkpoint, 1)
    assert stored.shape == (8, 1, 6)
    assert np.array_equal(stored.with_shape((8, 6)).f32(), MATRIX)
    assert np.array_equal(evaluate(tensor("matrix"), checkpoint, 1).with_shape((8, 6, 1)).f32()[..., 0], MATRIX)
    with pytest.raises(HfcError, match=r"conv: the checkpoint has \[8, 1, 6\], the model declares \[6, 8\]"):
        stored.with_shape((6, 8), "conv")


def test_unknown_recipes_and_tensors(checkpoint):
    with pytest.raises(HfcError) as caught:
        evaluate(Recipe("half_spilt", (tensor("matrix"),)), checkpoint, 1)
    assert "did you mean 'half_split'" in str(caught.value)
    with pytest.raises(HfcError, match="unknown tensor"):
        evaluate(tensor("matrx"), checkpoint, 1)


def test_rope_table_layout(checkpoint):
    found = evaluate(apply("rope_table", rotary=4, theta=100.0), checkpoint, 3)
    assert (found.format, found.shape) == ("f32", (3, 4))
    angle = np.outer(np.arange(3), [1, 0.1])
    assert np.allclose(found.f32(), np.concatenate([np.cos(angle), np.sin(angle)], axis=1), atol=1e-7)


def test_rope_divisors_come_from_a_tensor_or_a_number(tmp_path):
    safetensors.numpy.save_file({"freqs": np.array([1, 8], np.float32)}, tmp_path / "model.safetensors")
    with open_checkpoint(tmp_path) as checkpoint:
        found = evaluate(apply("rope_table", tensor("freqs"), rotary=4, theta=100.0), checkpoint, 9).f32()
    plain = rope_table(9, 4, 100.0)
    assert np.array_equal(found[:, 0], plain[:, 0])
    assert np.allclose(found[8, 1], plain[1, 1], atol=1e-7)
    assert np.allclose(rope_table(9, 4, 100.0, divisors=8.0)[8], plain[1], atol=1e-7)
    assert np.allclose(rope_table(9, 4, 100.0, divisors=(1.0, 8.0)), found)
    with pytest.raises(HfcError, match="frequency divisors"):
        rope_table(9, 4, 100.0, divisors=(1.0, 2.0, 3.0))


def test_rope_errors():
    with pytest.raises(HfcError, match="llama3 RoPE needs high_freq_factor"):
        rope_table(1, 4, 1e4, "llama3", factor=2, low_freq_factor=1, original_max_position_embeddings=64)
    with pytest.raises(HfcError, match="unknown parameter of linear RoPE 'beta_fast'"):
        rope_table(1, 4, 1e4, "linear", factor=2, beta_fast=3)
    with pytest.raises(HfcError, match="unknown RoPE scaling 'yarm'"):
        rope_table(1, 4, 1e4, "yarm")
    with pytest.raises(HfcError, match="rotary must be even"):
        rope_table(1, 5, 1e4)


SCALINGS = [
    ("linear", {"factor": 4.0}),
    (
        "llama3",
        {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
    ),
    ("yarn", {"factor": 4.0, "original_max_position_embeddings": 4096}),
    ("yarn", {"factor": 40.0, "original_max_position_embeddings": 4096, "mscale": 0.7, "mscale_all_dim": 1.0}),
    (
        "yarn",
        {"factor": 8.0, "original_max_position_embeddings": 32768, "beta_fast": 16, "beta_slow": 2, "truncate": False},
    ),
    ("yarn", {"factor": 2.0, "original_max_position_embeddings": 2048, "attention_factor": 1.5}),
]


@pytest.mark.parametrize(("kind", "scaling"), SCALINGS)
@pytest.mark.parametrize(("head", "theta"), [(64, 10000.0), (128, 500000.0), (256, 1e7)])
def test_scaled_frequencies_are_those_of_transformers(kind, scaling, head, theta):
    pytest.importorskip("torch")
    rope_utils = pytest.importorskip("transformers.modeling_rope_utils")
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        hidden_size=2 * head,
        num_attention_heads=2,
        head_dim=head,
        max_position_embeddings=32768,
        rope_parameters={"rope_type": kind, "rope_theta": theta, **scaling},
    )
    expected, factor = rope_utils.ROPE_INIT_FUNCTIONS[kind](config, "cpu")
    found, found_factor = FREQUENCIES[kind](head, theta, PARAMETERS[kind] | scaling)
    assert found_factor == pytest.approx(factor, rel=1e-12)
    # pow may differ by one unit in the last place between math libraries
    assert np.allclose(found, expected.numpy(), rtol=2e-7, atol=0)
    assert np.allclose(
        rope_table(64, head, theta, kind, **scaling)[5, : head // 2], factor * np.cos(5 * found), atol=2e-6
    )


def test_tables_are_those_of_transformers_rotary_embedding():
    torch = pytest.importorskip("torch")
    llama = pytest.importorskip("transformers.models.llama.modeling_llama")
    config = llama.LlamaConfig(
        hidden_size=128,
        num_attention_heads=2,
        head_dim=64,
        rope_parameters={"rope_type": "llama3", "rope_theta": 5e5, **SCALINGS[1][1]},
    )
    cos, sin = llama.LlamaRotaryEmbedding(config)(torch.zeros(1), torch.arange(4096)[None])
    found = rope_table(4096, 64, 5e5, "llama3", **SCALINGS[1][1])
    # equal angles, so only the last bits of cos and sin differ
    assert np.allclose(found[:, :32], cos[0, :, :32].numpy(), atol=2e-7)
    assert np.allclose(found[:, 32:], sin[0, :, :32].numpy(), atol=2e-7)


def test_position_scales_and_two_lists_of_divisors(tmp_path):
    """1 + beta ln(1 + floor((p + offset) / period)); longrope's divisors as tensors, the long ones beyond the original context."""
    scale = evaluate(apply("position_scale", beta=0.5, period=4.0, offset=1.0), None, 9).f32()
    np.testing.assert_allclose(scale[:, 0], [1 + 0.5 * np.log1p(np.floor((p + 1) / 4)) for p in range(9)], rtol=1e-6)
    lists = {"short_factor": (1.0, 1.1, 1.2, 1.3), "long_factor": (2.0, 4.0, 8.0, 16.0)}
    safetensors.numpy.save_file(
        {name: np.float32(values) for name, values in lists.items()}, tmp_path / "model.safetensors"
    )
    (tmp_path / "config.json").write_text("{}")
    checkpoint = open_checkpoint(tmp_path)
    given = {"original_max_position_embeddings": 16, "attention_factor": 1.25}
    recipe = apply(
        "rope_table", tensor("short_factor"), tensor("long_factor"), rotary=8, theta=1e4, kind="longrope", **given
    )
    for context in (16, 17):
        expected = rope_table(context, 8, 1e4, "longrope", **lists, **given)
        np.testing.assert_allclose(evaluate(recipe, checkpoint, context).f32(), expected, rtol=1e-6, atol=1e-6)
    check_recipe(recipe, "r", (17, 8))
    with pytest.raises(HfcError, match="original_max_position_embeddings"):
        check_recipe(apply("rope_table", tensor("a"), tensor("b"), rotary=8, theta=1e4), "r")
    with pytest.raises(HfcError, match="a period above 0"):
        check_recipe(apply("position_scale", beta=0.5, period=0.0, offset=0.0), "r")
