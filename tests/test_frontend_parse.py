"""Model text -> syntax; every syntax error is one message in words, with file, line, column and a caret."""

import dataclasses
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfc.base.diagnostics import HfcError
from hfc.frontend import syntax
from hfc.frontend.model import builtin_folder, find_model, load_model
from hfc.frontend.parse import parse

LLAMA = (builtin_folder() / "llama.hfm").read_text(encoding="utf-8")


def expression(text: str) -> syntax.Expression:
    return parse(f"model m {{ graph(t) {{ return {text} }} }}", "m.hfm").graph.body[0].values[0]


def shape(node) -> object:
    """A syntax node as nested tuples, to compare trees at a glance."""
    if isinstance(node, syntax.Literal):
        return node.value
    if isinstance(node, syntax.Name):
        return node.name
    if isinstance(node, syntax.Unary):
        return node.operator, shape(node.operand)
    if isinstance(node, syntax.Binary):
        return shape(node.left), node.operator, shape(node.right)
    if isinstance(node, syntax.Conditional):
        return shape(node.then), "if", shape(node.condition), "else", shape(node.otherwise)
    if isinstance(node, syntax.CallExpression):
        return shape(node.function), *map(shape, node.arguments), *((k, shape(v)) for k, v in node.keywords)
    raise AssertionError(node)


@pytest.mark.parametrize(
    "text, tree",
    [
        ("a + b * c", ("a", "+", ("b", "*", "c"))),
        ("a - b - c", (("a", "-", "b"), "-", "c")),
        ("-a ** -b", ("-", ("a", "**", ("-", "b")))),
        ("x * dk ** -0.5", ("x", "*", ("dk", "**", ("-", 0.5)))),
        ("a or b and not c", ("a", "or", ("b", "and", ("not", "c")))),
        ("a == 1 or b in c", (("a", "==", 1), "or", ("b", "in", "c"))),
        ("a if b else c if d else e", ("a", "if", "b", "else", ("c", "if", "d", "else", "e"))),
        ("f(x, y = 2)(z)", (("f", "x", ("y", 2)), "z")),
        ("rope.freq_base // 2 % 3", (("rope.freq_base", "//", 2), "%", 3)),
        ("order or inner", ("order", "or", "inner")),
        ("nullable == null", ("nullable", "==", None)),
        ("1e-6 + 10", (1e-6, "+", 10)),
    ],
)
def test_precedence(text, tree):
    assert shape(expression(text)) == tree


def without_spans(node) -> object:
    if dataclasses.is_dataclass(node):
        return type(node).__name__, *(without_spans(v) for k, v in vars(node).items() if k != "span")
    if isinstance(node, dict):
        return {key: without_spans(value) for key, value in node.items()}
    return tuple(map(without_spans, node)) if isinstance(node, tuple) else node


def test_line_breaks_carry_no_meaning():
    one_line = parse(" ".join(line.split("#")[0] for line in LLAMA.splitlines()), "m.hfm")
    assert without_spans(one_line) == without_spans(parse(LLAMA, "m.hfm"))


def test_spans_point_into_the_text():
    model = parse(LLAMA, "llama.hfm")
    for row in model.weights[0].rows:
        assert row.span.text.strip().startswith(row.names[0])
        assert row.span.text[row.span.column - 1 :].startswith(row.names[0])


def refused(old: str, new: str) -> HfcError:
    """What is said of llama.hfm with this change."""
    assert old in LLAMA
    with pytest.raises(HfcError) as caught:
        parse(LLAMA.replace(old, new, 1), "llama.hfm")
    return caught.value


@pytest.mark.parametrize(
    "old, new, message",
    [
        (
            "rms_norm(x, attention_norm, eps)",
            "rms_norm(x, attention_norm eps)",
            "unexpected 'eps'; expected an operator, ',' or ')'",
        ),
        ("silu(linear(x", "silu(linear(x,", "unexpected ','; expected a value"),
        (
            "graph(tokens) {",
            "graph(tokens) {{",
            "unexpected '{'; expected 'for', a name, '}', 'return', 'state' or 'tap'",
        ),
        ("head ** -0.5", "head ^ -0.5", "unexpected character '^'"),
        ('"norm.weight"', '"norm.weight', 'a string in this line has no closing "'),
        ("for i in layers", "for i of layers", "unexpected 'of'; expected 'in'"),
        ("config hf {", "config onnx {", "unexpected 'onnx'; expected hf or gguf"),
        ("layer mlp(x, i)", "layer self_attention(x, i)", "'self_attention' is defined twice"),
        ('"attn_v.weight"', '"attn_v.weight", "b"', "1 weights but 2 gguf names"),
        ("embed       [vocab, hidden]", "embed       vocab, hidden]", "unexpected 'vocab'; expected ',' or '['"),
    ],
)
def test_a_syntax_error_shows_place_line_and_caret(old, new, message):
    place, line, caret = str(refused(old, new)).split("\n")[:3]
    assert place.startswith("llama.hfm:") and place.endswith(f"error: {message}")
    assert line[2:] in LLAMA.replace(old, new, 1).splitlines()
    assert "^" in caret and len(caret) <= len(line) + 2


def test_a_missing_brace_is_told_at_the_end():
    with pytest.raises(HfcError, match="(?s)the file ends too early; expected .*'}'.*is a closing '}' missing"):
        parse(LLAMA.rstrip()[:-1], "llama.hfm")


def test_a_model_without_graph_is_refused():
    with pytest.raises(HfcError, match="model m has no graph"):
        parse("model m { }", "m.hfm")


@settings(max_examples=150, deadline=None)
@given(
    at=st.integers(0, len(LLAMA) - 1), count=st.integers(0, 30), text=st.text("{}()[]=,\"'|#\\ \n§ax0.-", max_size=4)
)
def test_damaged_text_gives_an_hfc_error_or_a_model(at, count, text):
    try:
        parse(LLAMA[:at] + text + LLAMA[at + count :], "m.hfm")
    except HfcError as error:
        message = str(error).split("\n")[0]
        assert message.startswith("m.hfm:") and not any(
            name in message for name in ("LBRACE", "$END", "RPAR", "__ANON")
        )


def test_a_file_that_is_not_there_or_not_text(tmp_path):
    with pytest.raises(HfcError, match="none.hfm: cannot read the model file: No such file or directory$"):
        load_model(tmp_path / "none.hfm")
    (tmp_path / "bad.hfm").write_bytes(b"\xff\xfe")
    with pytest.raises(HfcError, match="cannot read the model file"):
        load_model(tmp_path / "bad.hfm")


def test_own_folders_come_before_the_built_in_models(tmp_path):
    (tmp_path / "mine.hfm").write_text(
        LLAMA.replace("model llama", "model mine").replace("config hf {", 'config hf "llama", "mistral" {')
    )
    assert find_model("mistral", [tmp_path]).name == "mine"
    assert find_model("llama", [tmp_path]).name == "mine"
    assert find_model("llama").name == "llama"


def test_characters_of_other_languages_have_their_word():
    for old, new, hint in (("head ** -0.5", "head ^ -0.5", r"\*\*"), ("linear(x, up_proj)", "x @ up_proj", "linear")):
        with pytest.raises(HfcError) as caught:
            parse(LLAMA.replace(old, new, 1), "llama.hfm")
        assert re.search(hint, caught.value.hint), caught.value.hint


@pytest.mark.parametrize(
    "old, new, hint",
    [
        ("    x = gather(embed, tokens)", "    if tied { x = gather(embed, tokens) }", "a choice is a value"),
        ("    x = gather(embed, tokens)", "    // embed\n    x = gather(embed, tokens)", "begins with #"),
        ("x = x + mlp", "x += mlp", r"x = x \+ y"),
        ("for i in layers {", "for i in layers:", "{ }"),
        ("  layer mlp", "  def mlp", "layer name"),
    ],
)
def test_lines_of_other_languages_have_their_form(old, new, hint):
    error = refused(old, new)
    assert re.search(hint, error.hint or ""), error
