"""Graph building: mistakes in a model file or a checkpoint are one error at the line that shows them."""

from types import SimpleNamespace

import pytest

from hfc.base.diagnostics import HfcError
from hfc.frontend.build import build_graph
from hfc.frontend.model import ModelFile, builtin_folder
from hfc.frontend.parse import parse
from hfc.ir.text import parse_graph, print_graph
from hfc.ir.verify import verify

TEXT = """
model tiny {
  config hf { layers = n vocab = v hidden = h context = 64 heads = 2 head = 8 }
  config gguf "tiny" { layers = n vocab = shape("e")[0] hidden = h context = 64 heads = 2 head = 8 }
  weights
    embed  [vocab, hidden]  "embed" | "e"
    bias   [hidden]         "bias" or null | null
  weights layer i where i % 2 == 0
    up     [4 * hidden, hidden]  "up.weight" | "up"
    down   [hidden, 4 * hidden]  "down.weight" | "down"
  weights layer i where i % 2 == 1
    q, k, v  [heads * head, hidden]  "q", "k", "v" | "q", "k", "v"
    o      [hidden, heads * head]  "o" | "o"
  layer mlp(x, i) { return linear(silu(linear(x, up)), down) }
  layer mixer(x, i) {
    state kv = kv_cache(heads, head)
    a, b, c = reshape(linear(x, q), [heads, head]), reshape(linear(x, k), [heads, head]), reshape(linear(x, v), [heads, head])
    return linear(flatten(attention(a, b, c, kv, scale = 0.25)), o)
  }
  graph(tokens) {
    x = gather(embed, tokens)
    for i in layers { x = x + (mlp(x, i) if i % 2 == 0 else mixer(x, i)) }
    return linear(x, embed)
  }
}
"""
CONFIG = {"n": 2, "v": 50, "h": 16}
TENSORS = {
    "embed": (50, 16), "bias": (16,), "layers.0.up.weight": (64, 16), "layers.0.down.weight": (16, 64), "layers.1.q": (16, 16),
    "layers.1.k": (16, 16), "layers.1.v": (16, 16), "layers.1.o": (16, 16),
}  # fmt: skip


class Inventory:
    """A checkpoint without data."""

    def __init__(self, tensors: dict, prefix: str = "model.", formats: dict | None = None):
        self.tensors = {prefix + name: shape for name, shape in tensors.items()}
        self.formats = {prefix + name: format for name, format in (formats or {}).items()}

    def names(self):
        return self.tensors

    def info(self, name):
        return SimpleNamespace(shape=self.tensors[name], format=self.formats.get(name, "bf16"))


def build(old: str = "", new: str = "", **arguments):
    assert old in TEXT
    model = ModelFile(parse(TEXT.replace(old, new, 1) if old else TEXT, "tiny.hfm"), builtin_folder())
    return build_graph(model, CONFIG, "hf", **arguments)


def error(old: str, new: str, **arguments) -> str:
    with pytest.raises(HfcError) as caught:
        build(old, new, **arguments)
    message = str(caught.value)
    assert message.startswith("tiny.hfm:") and "\n  " in message, message
    return message


def test_attention_that_is_not_causal():
    (op,) = build("scale = 0.25", "scale = 0.25, causal = false").ops_of("attend")
    assert op.attrs["causal"] is False and build().ops_of("attend")[0].attrs["causal"] is True


def test_the_graph_prints_parses_back_and_verifies():
    graph = build("scale = 0.25", "scale = 0.25, causal = false")
    verify(graph)
    assert print_graph(parse_graph(print_graph(graph))) == print_graph(graph)
    assert [op.attrs["name"] for op in graph.ops_of("state")] == ["layers.1.kv"]
    assert str(graph.outputs[0].type) == "f32[T, 50]"
    assert [str(v.type) for v in graph.inputs] == ["i32[T]"]


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("linear(x, up)", "linear(x, upp)", "unknown name 'upp'"),
        ("linear(x, up)", "linear(x, upp)", "did you mean 'up'?"),
        ("silu(", "sillu(", "unknown function or op 'sillu'"),
        ("silu(", "sillu(", "did you mean 'silu'?"),
        ("linear(silu(linear(x, up)), down)", "linear(x, down)", "linear: x is f32[T, 16], w is bf16[16, 64]; x.shape[-1] must equal w.shape[1] (16 != 64)"),
        ("[heads, head]), reshape(linear(x, k)", "[heads, 9]), reshape(linear(x, k)", "reshape: f32[T, 16] has 16 elements a row, [2, 9] has 18"),
        ("scale = 0.25", "scal = 0.25", "unknown argument of attention 'scal'"),
        ("scale = 0.25", "window = 4", "attention takes (q, k, v, kv, scale, window, softcap, causal, first, sinks, slopes); scale is missing"),
        ("scale = 0.25", 'scale = "0.25"', 'attend: scale must be a number, found "0.25"'),
        ("attention(a, b, c, kv,", "attention(a, b, c, x,", "attention: kv must be a state"),
        ("silu(linear(x, up))", "silu(linear(x, up), 3)", "silu takes (x), got 2 values"),
        ("silu(linear(x, up))", "silu(linear(x, 3))", "linear: w must be a tensor, found 3"),
        ("silu(linear(x, up))", "silu(linear(x))", "linear: takes x, w; got 1 of them"),
        ("x = x + (mlp", "x = x + q + (mlp", "layer 0 has no weight q"),
        ("return linear(x, embed)", "return linear(x, up)", "up is a weight of layer i, and no i is known here"),
        ("return linear(x, embed)", "return [x]", "the graph must return one tensor"),
        ("return linear(x, embed)", "", "graph ends without `return`"),
        ("layer mlp(x, i) { return", "layer mlp(x, i) { hidden = 3 return", "'hidden' is already a setting"),
        ("layer mlp(x, i) { return", "layer mlp(x, i) { down = 3 return", "'down' is already a weight"),
        ("mlp(x, i) if", "mlp(x) if", "mlp takes (x, i)"),
        ("mlp(x, i) if", "mlp(mlp, i) if", "unknown name 'mlp'"),
        ("return linear(silu", "return mlp(x, i) + linear(silu", "mlp calls itself without end"),
        ("a, b, c = ", "a, b = ", "2 names on the left, 3 values on the right"),
        ("kv_cache(heads, head)", "kv_cache(heads)", "a state is f32[sizes] or kv_cache(heads, head)"),
        ("kv_cache(heads, head)", "f16[heads, head]", "a state is f32[sizes] or kv_cache(heads, head)"),
        ("x + (mlp", "x + null * (mlp", "cannot compute null * f32[T, 16]"),
        ("x + (mlp", "true / x + (mlp", "cannot compute true / f32[T, 16]"),
        ("x + (mlp", "x ** 2 + (mlp", "tensors have no operator '**'"),
        ("for i in layers", 'for i in "12"', '`for` runs over a count or a list, found "12"'),
        ("[4 * hidden, hidden]", "[hidden / 0, hidden]", "cannot compute this from 16, 0"),
        ("[4 * hidden, hidden]", "[4.0 * hidden, hidden]", "a size must be a whole number above 0, found 64.0"),
        ("[4 * hidden, hidden]", "[4 * hiden, hidden]", "unknown setting 'hiden'"),
        ("[4 * hidden, hidden]", "i8 [4 * hidden, hidden]", "a weight is declared as f32 or left in the checkpoint's format, not i8"),
        ('"up.weight"', '"up.{e}.weight"', "unknown setting 'e'"),
        ('"up.weight"', '"up.weight"[3]', "a weight is cut by slices"),
        ('"up.weight"', '"a" + "b"', "a weight can be shifted by a number or multiplied with one"),
        ('"up.weight"', "hidden", "weight up: this is 16, not a tensor"),
        ('"up.weight" | "up"', '| "up"', "weight up has no hf name"),
        ('"up.weight"', 'stack(4, "a")', "stack needs a variable and a count"),
        ("weights layer i where i % 2 == 1", "weights layer i where i % 2 == 1 up [hidden] null | null weights layer i up [1] null", "weight up is declared twice"),
        ('"bias" or null | null', '"bias" | null weights lm [1] = nothing if true null | null', ""),
    ],
)  # fmt: skip
def test_a_mistake_in_the_model_file(old, new, message):
    if message:
        assert message in error(old, new)
    else:
        build(old, new)  # declared, never read: not an error


def test_the_error_shows_the_line_and_a_caret_under_the_call():
    lines = error("linear(silu(linear(x, up)), down)", "linear(x, down)").split("\n")
    assert lines[0].startswith("tiny.hfm:14:28: error: linear:")
    assert lines[1] == "    " + "layer mlp(x, i) { return linear(x, down) }"
    assert lines[2] == " " * 29 + "^" * len("linear(x, down)")


def test_prefixes_are_tried_in_turn():
    for prefix in ("model.", "model.language_model.", "language_model.model.", ""):
        graph = build(
            "x = gather(embed, tokens)", "x = gather(embed, tokens) + bias", checkpoint=Inventory(TENSORS, prefix)
        )
        assert {op.attrs["recipe"].tensors()[0].removesuffix("embed") for op in graph.ops_of("weight")} >= {prefix}


PER_LAYER = "heads = 2 head = 8 wide[i] = 16 + i }"  # a list by layer


@pytest.mark.parametrize(
    "old, new, hint",
    [
        ("linear(x, up)", "rope(linear(x, up), rope_table(8, wide))", "wide is a list with a number for each layer: did you mean wide[i]?"),
        ("[heads, head]), reshape(linear(x, k)", "[wide, head]), reshape(linear(x, k)", "did you mean wide[i]?"),
        ("scale = 0.25", "scale = 0.25, window = wide", "did you mean wide[i]?"),
        ("kv_cache(heads, head)", "kv_cache(wide, head)", "did you mean wide[i]?"),
        ("return linear(x, embed)", "return linear(x * (2 * wide), embed)", "did you mean wide[i]?"),
        ("[4 * hidden, hidden]  ", "[wide, hidden]  ", "did you mean wide[i]?"),
        ("[4 * hidden, hidden]  ", "[4 * wide, hidden] ", "did you mean wide[i]?"),
        ("silu(linear(x, up))", "silu(linear(x, 3))", "a tensor that is 3 in every row: mean(x) * 0 + 3, f32 [T, 1]"),
        ("silu(linear(x, up))", "position_scale(1, 0.5, 4)", "position_scale: x must be a tensor, found 1"),
        ("silu(linear(x, up))", "causal_conv(x, up)", "causal_conv: takes u, w, window; got 2 of them"),
    ],
)  # fmt: skip
def test_a_list_by_layer_and_a_number_where_a_tensor_stands_are_explained(old, new, hint):
    assert old in TEXT
    text = TEXT.replace("heads = 2 head = 8 }", PER_LAYER, 1).replace(old, new, 1)
    model = ModelFile(parse(text, "tiny.hfm"), builtin_folder())
    with pytest.raises(HfcError) as caught:
        build_graph(model, CONFIG, "hf", checkpoint=Inventory(TENSORS))
    assert hint in str(caught.value) and str(caught.value).startswith("tiny.hfm:")


def test_a_row_that_the_graph_does_not_read_is_told_from_too_many_layers():
    found = error("graph(tokens)", "graph(tokens)", checkpoint=Inventory(TENSORS))
    assert "the graph does not read bias, which this row declares: the checkpoint has the tensor 'model.bias'" in found
    more = TENSORS | {"layers.2.up.weight": (64, 16)}
    found = error("x = gather(embed, tokens)", "x = gather(embed, tokens) + bias", checkpoint=Inventory(more))
    assert "the config counts fewer layers" in found


def test_a_missing_tensor_names_those_of_its_shape_and_layer():
    tensors = {name.replace("up.weight", "w1.weight"): shape for name, shape in TENSORS.items()}
    tensors |= {"layers.1.gate.weight": (64, 16)}
    found = error("x = gather(embed, tokens)", "x = gather(embed, tokens) + bias", checkpoint=Inventory(tensors))
    assert "has no tensor 'model.layers.0.up.weight'" in found
    assert found.endswith("hint: of this shape it has model.layers.0.w1.weight")


@pytest.mark.parametrize(
    "change, formats, message",
    [
        (
            {"layers.0.up.weight": None},
            {},
            "weight up [64, 16]: the checkpoint has no tensor 'model.layers.0.up.weight'",
        ),
        (
            {"layers.0.up.weight": (60, 16)},
            {},
            "weight up: 'model.layers.0.up.weight' is [60, 16] in the checkpoint, expected [64, 16]",
        ),
        (
            {},
            {"layers.0.up.weight": "f8_e4m3"},
            "'model.layers.0.up.weight' is stored as f8_e4m3, which is not supported",
        ),
        (
            {"layers.0.up.scale": (64,)},
            {},
            "the checkpoint has the tensor 'model.layers.0.up.scale', which model tiny does not read",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit(change, formats, message):
    tensors = {name: shape for name, shape in {**TENSORS, **change}.items() if shape is not None}
    add_bias = ("x = gather(embed, tokens)", "x = gather(embed, tokens) + bias")
    assert message in error(*add_bias, checkpoint=Inventory(tensors, formats=formats))


def test_ignored_tensors_may_be_there():
    tensors = {**TENSORS, "layers.7.inv_freq": (4,)}
    text = ("x = gather(embed, tokens)", "x = gather(embed, tokens) + bias")
    assert "inv_freq" in error(*text, checkpoint=Inventory(tensors))
    model = TEXT.replace(*text).replace(
        "  layer mlp", '  weights ignore "layers.*.inv_freq", "/layers.{layers}.*"\n  layer mlp'
    )
    build_graph(ModelFile(parse(model, "tiny.hfm"), builtin_folder()), CONFIG, "hf", Inventory(tensors))


def test_an_optional_weight_is_null_where_the_checkpoint_lacks_it():
    text = ("x = gather(embed, tokens)", "x = gather(embed, tokens) + (0 if bias == null else bias)")
    without = {name: shape for name, shape in TENSORS.items() if name != "bias"}
    assert "bias" in print_graph(build(*text, checkpoint=Inventory(TENSORS)))
    assert "bias" not in print_graph(build(*text, checkpoint=Inventory(without)))


@pytest.mark.parametrize(
    "expression, recipe, format",
    [
        ('-exp("up.weight") * 2 + 1', "add(mul(neg(exp('UP')), c=2), c=1)", "f32"),
        ('"no" or "up.weight"', "'UP'", "q8_0"),
        ('half_split("up.weight", heads)', "half_split('UP', heads=2)", "q8_0"),
        ('"big"[32:96]', "rows('BIG', axis=0, start=32, stop=96)", "bf16"),
        ('"big"[:64]', "rows('BIG', axis=0, start=0, stop=64)", "bf16"),
        ('"big"[4 * hidden :]', "rows('BIG', axis=0, start=64, stop=128)", "bf16"),
        ('"wide"[:, hidden : 2 * hidden]', "rows('WIDE', axis=1, start=16, stop=32)", "bf16"),
        ('"up.weight" if i == 0 and heads == 2 else "no"', "'UP'", "q8_0"),
        ('stack(e in 2, "part.{e}")[0:1]', "rows(stack('PART.0', 'PART.1'), axis=0, start=0, stop=1)", "bf16"),
    ],
)
def test_recipes_of_the_weight_table(expression, recipe, format):
    tensors = {"up.weight": (64, 16), "big": (128, 16), "wide": (64, 48), "part.0": (64, 16), "part.1": (64, 16)}
    tensors = {f"layers.0.{name}": shape for name, shape in tensors.items()}
    ignored = '  weights ignore "layers.0.*"\n  layer mlp'
    text = TEXT.replace('"up.weight" | "up"', f'{expression} | "up"').replace("  layer mlp", ignored)
    inventory = Inventory({**TENSORS, **tensors}, formats={"layers.0.up.weight": "q8_0"})
    model = ModelFile(
        parse(text.replace("gather(embed, tokens)", "gather(embed, tokens) + bias"), "t.hfm"), builtin_folder()
    )
    weights = {op.attrs["name"]: op for op in build_graph(model, CONFIG, "hf", inventory).ops_of("weight")}
    expected = recipe
    for name in ("UP", "BIG", "WIDE", "PART.0", "PART.1"):
        expected = expected.replace(f"'{name}'", f"'model.layers.0.{'up.weight' if name == 'UP' else name.lower()}'")
    assert str(weights["layers.0.up"].attrs["recipe"]) == expected
    assert weights["layers.0.up"].output.type.dtype == format


@pytest.mark.parametrize(
    "expression, message",
    [
        (
            'stack(e in 2, "part.{e}")',
            "stack: 'model.layers.0.part.0' is bf16[64, 16], 'model.layers.0.part.1' is bf16[60, 16]",
        ),
        ('"up.weight"[0:65]', "slice 0:65 does not fit axis 0 of 'model.layers.0.up.weight', which has 64"),
        ('"up.weight"[9:3]', "slice 9:3 does not fit"),
    ],
)
def test_recipes_that_do_not_fit_the_checkpoint(expression, message):
    tensors = {**TENSORS, "layers.0.part.0": (64, 16), "layers.0.part.1": (60, 16)}
    assert message in error('"up.weight"', expression, checkpoint=Inventory(tensors))


def test_without_a_checkpoint_a_slice_needs_its_end():
    assert "write the end of this slice" in error('"up.weight"', '"up.weight"[2:]')
    assert build('"up.weight"', '"up.weight"[0:64]').ops_of("weight")[1].output.type.dtype == "bf16"


def test_taps_that_are_not_there_are_named():
    text = ("return linear(x, embed)", "tap x as middle[3] return linear(x, embed)")
    assert len(build(*text, taps=["middle[3]"]).outputs) == 2
    assert "unknown tap 'middle[4]'" in error(*text, taps=["middle[4]"])


def test_a_state_carried_on_twice_is_refused():
    line = "attention(a, b, c, kv, scale = 0.25)"
    assert "a state may be carried on only once a step" in error(line, f"{line} + {line}")


def test_attention_reads_a_cache_behind_what_writes_it():
    """However far away: the read names the new value, or verify says so."""
    text = TEXT  # any model with a cache
    graph = build_graph(ModelFile(parse(text, "tiny.hfm"), builtin_folder()), CONFIG, "hf")
    (attend,) = graph.ops_of("attend")[:1]
    state = next(old for old, new in graph.updates.items() if new is attend.inputs[1])
    stale = graph.with_ops(op.rewired({attend.inputs[1]: state}) if op is attend else op for op in graph.ops)
    with pytest.raises(HfcError, match="what the step makes of it"):
        verify(stale)
