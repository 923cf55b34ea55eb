"""Text of a model file -> its syntax tree. A syntax error is one HfcError in words, with the line and a caret."""

from __future__ import annotations

import functools
from importlib import resources
from typing import Any

import lark

from hfc.base.diagnostics import HfcError, Span, unknown
from hfc.base.nesting import DEEPEST, too_deep
from hfc.frontend import syntax
from hfc.frontend.near import CHARACTERS, hint_of
from hfc.frontend.usual import USUAL, placed, usual_text

GRAMMAR = resources.files("hfc.frontend").joinpath("hfm.lark").read_text(encoding="utf-8")
PARSER = lark.Lark(GRAMMAR, parser="lalr", start="model", propagate_positions=True, maybe_placeholders=True)

WORDS = {  # terminal -> what a person calls it
    "NAME": "a name", "NUMBER": "a number", "STRING": 'a "string"', "CONSTANT": "true, false or null",
    "SOURCE": "hf or gguf", "KEY_PATTERN": "a config key", "FORMAT": "a format", "LBRACE": "'{'", "RBRACE": "'}'",
    "LPAR": "'('", "RPAR": "')'", "LSQB": "'['", "RSQB": "']'", "EQUAL": "'='", "COMMA": "','", "COLON": "':'",
    "VBAR": "'|'",
}  # fmt: skip
LONGEST_NUMBER = 300  # characters
VALUE_STARTS = {"NAME", "NUMBER", "STRING", "CONSTANT", "LPAR", "LSQB", "MINUS", "NOT"}
OPERATORS = {"PLUS", "MINUS", "TIMES", "POWER", "COMPARE", "IN", "AND", "OR", "IF", "NOT"}


def parse(text: str, file: str) -> syntax.ModelSyntax:
    """Raises HfcError for a syntax error, a missing graph and names that are defined twice."""
    try:
        tree = PARSER.parse(text)
    except lark.exceptions.UnexpectedInput as error:
        raise _syntax_error(error, text, file) from None
    deep = too_deep(tree)
    if deep is not None:
        line = getattr(getattr(deep, "meta", deep), "line", 1)
        raise HfcError(
            f"this is nested more than {DEEPEST} levels deep", Span(file, line, 1, 1, text.splitlines()[line - 1])
        )
    return _ToSyntax(text, file).transform(tree)


def _syntax_error(error: lark.exceptions.UnexpectedInput, text: str, file: str) -> HfcError:
    lines = text.splitlines() or [""]
    if isinstance(error, lark.exceptions.UnexpectedCharacters):
        span = Span(file, error.line, error.column, 1, lines[error.line - 1])
        if text[error.pos_in_stream] == '"':
            return HfcError('a string in this line has no closing "', span)
        character = text[error.pos_in_stream]
        return HfcError(f"unexpected character {character!r}", span, CHARACTERS.get(character))
    expected = _expected(error.accepts or error.expected)
    if error.token.type == "$END":
        last = max((n for n, line in enumerate(lines, 1) if line.strip()), default=1)
        span = Span(file, last, len(lines[last - 1].rstrip()) + 1, 1, lines[last - 1])
        return HfcError(f"the file ends too early; expected {expected}", span, "is a closing '}' missing?")
    span = Span(file, error.line, error.column, len(error.token), lines[error.line - 1])
    return HfcError(f"unexpected {str(error.token)!r}; expected {expected}", span, hint_of(span.text))


def _expected(terminals: set[str]) -> str:
    """The terminals in words, with groups named instead of listed: "a value", "an operator"."""
    left, words = set(terminals) - {"$END"}, []
    for group, word in ((VALUE_STARTS, "a value"), (OPERATORS, "an operator")):
        if len(group & left) > 4:
            left -= group | ({"LPAR", "LSQB", "EQUAL"} if group is OPERATORS else set())
            words.append(word)
    if "FORMAT" in left and len(left) > 1:
        left -= {"FORMAT"}
    words += [WORDS.get(t) or repr(t.lower()) for t in sorted(left)]
    if not words:
        return "the end of the file"
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


class _ToSyntax(lark.Transformer):
    """Lark's tree -> syntax records. Methods bear the names of the grammar's rules."""

    def __init__(self, text: str, file: str):
        super().__init__()
        self._file = file
        self._lines = text.splitlines()

    def _call_userfunc(self, tree: lark.Tree, new_children: list | None = None) -> Any:
        children = tree.children if new_children is None else new_children
        return getattr(self, tree.data)(self._span(tree.meta), children)

    def _span(self, meta: Any) -> Span:
        if meta.empty:
            return Span(self._file, 1, 1)
        text = self._lines[meta.line - 1]
        end = meta.end_column if meta.end_line == meta.line else len(text.rstrip()) + 1
        return Span(self._file, meta.line, meta.column, end - meta.column, text)

    # model ------------------------------------------------------------------------------------------------------

    def model(self, span: Span, children: list) -> syntax.ModelSyntax:
        name, *parts = children
        functions: dict[str, syntax.FunctionSyntax] = {}
        for function in (p for p in parts if isinstance(p, syntax.FunctionSyntax)):
            if function.name in functions:
                first = functions[function.name].span.line
                raise HfcError(f"{function.name!r} is defined twice", function.span, f"first in line {first}")
            functions[function.name] = function
        graph = functions.pop("graph", None)
        if graph is None:
            raise HfcError(f"model {name} has no graph", span, "add: graph(tokens) { ... return logits }")
        observe = functions.pop("observe", None)
        ignored = {"hf": (), "gguf": ()}
        for part in (p for p in parts if isinstance(p, dict)):
            ignored = {source: ignored[source] + part[source] for source in ignored}
        configs = tuple(p for p in parts if isinstance(p, syntax.Config))
        weights = tuple(p for p in parts if isinstance(p, syntax.Weights))
        return syntax.ModelSyntax(str(name), configs, weights, ignored, functions, graph, span, self._file, observe)

    def config(self, span: Span, children: list) -> syntax.Config:
        source, names, *items = children
        settings = tuple(s for i in items for s in self._settings(i, str(source)))
        requires = tuple(i[1] for i in items if isinstance(i, tuple) and i[0] == "require")
        ignored = tuple(key for i in items if isinstance(i, tuple) and i[0] == "ignore" for key in i[1])
        return syntax.Config(str(source), tuple(names or ()), settings, requires, ignored, span)

    def config_names(self, span: Span, children: list) -> tuple[str, ...]:
        return tuple(_unquote(c) for c in children)

    def setting(self, span: Span, children: list) -> syntax.SettingSyntax:
        *names, value = children
        return syntax.SettingSyntax(tuple(map(str, names)), None, value, span)

    def setting_list(self, span: Span, children: list) -> syntax.SettingSyntax:
        name, index, value = children
        return syntax.SettingSyntax((str(name),), str(index), value, span)

    def usual(self, span: Span, children: list) -> tuple:
        return ("usual", tuple(children))

    def usual_name(self, span: Span, children: list) -> tuple[str, Span]:
        return str(children[0]), span

    def _settings(self, item: Any, source: str) -> list[syntax.SettingSyntax]:
        """Those of a setting, or those that `usual` stands for."""
        if isinstance(item, syntax.SettingSyntax):
            return [item]
        named = item[1] if item[0] == "usual" else ()
        for name, place in named:
            if name not in USUAL:
                raise unknown("usual setting", name, list(USUAL), span=place)
        return [placed(_usual(source)[name], place) for name, place in named]

    def require(self, span: Span, children: list) -> tuple:
        return ("require", children[0])

    def ignored_keys(self, span: Span, children: list) -> tuple:
        return ("ignore", tuple(map(str, children)))

    # weights ----------------------------------------------------------------------------------------------------

    def weights(self, span: Span, children: list) -> syntax.Weights:
        index, where, *rows = children
        return syntax.Weights(index, where, tuple(rows), span)

    def index(self, span: Span, children: list) -> str:
        return str(children[0])

    def where(self, span: Span, children: list) -> syntax.Expression:
        return children[0]

    def row(self, span: Span, children: list) -> syntax.Row:
        names, format, shape, alias, hf, gguf = children
        columns = {"hf": hf or (), "gguf": gguf or ()}
        for source, column in columns.items():
            if column and len(column) != len(names):
                raise HfcError(f"{len(names)} weights but {len(column)} {source} names", span)
        other, condition = alias or (None, None)
        return syntax.Row(names, format and str(format), tuple(shape or ()), other, condition, columns, span)

    def row_names(self, span: Span, children: list) -> tuple[str, ...]:
        return tuple(map(str, children))

    def alias(self, span: Span, children: list) -> tuple:
        return str(children[0]), children[1]

    def ignored_tensors(self, span: Span, children: list) -> dict:
        return {"hf": children[0] or (), "gguf": children[1] or ()}

    # statements -------------------------------------------------------------------------------------------------

    def function(self, span: Span, children: list) -> syntax.FunctionSyntax:
        name, parameters, body = children
        return syntax.FunctionSyntax(str(name), parameters or (), body, span)

    def graph(self, span: Span, children: list) -> syntax.FunctionSyntax:
        parameters, body = children
        return syntax.FunctionSyntax("graph", parameters or (), body, span)

    def observe(self, span: Span, children: list) -> syntax.FunctionSyntax:
        parameters, body = children
        return syntax.FunctionSyntax("observe", parameters or (), body, span)

    parameters = row_names

    def body(self, span: Span, children: list) -> tuple:
        return tuple(children)

    def assign(self, span: Span, children: list) -> syntax.Assign:
        *targets, values = children
        return syntax.Assign(tuple(map(str, targets)), values, span)

    def state(self, span: Span, children: list) -> syntax.State:
        return syntax.State(str(children[0]), children[1], span)

    def loop(self, span: Span, children: list) -> syntax.For:
        return syntax.For(str(children[0]), children[1], children[2], span)

    def tap(self, span: Span, children: list) -> syntax.Tap:
        value, name, index = children
        return syntax.Tap(value, str(name), index, span)

    def perform(self, span: Span, children: list) -> syntax.Perform:
        name, arguments = children
        return syntax.Perform(self.call(span, [syntax.Name(str(name), span), arguments]), span)

    def result(self, span: Span, children: list) -> syntax.Return:
        return syntax.Return(children[0], span)

    # expressions ------------------------------------------------------------------------------------------------

    def expressions(self, span: Span, children: list) -> tuple:
        return tuple(children)

    def choice(self, span: Span, children: list) -> syntax.Conditional:
        then, condition, otherwise = children
        return syntax.Conditional(condition, then, otherwise, span)

    def binary(self, span: Span, children: list) -> syntax.Binary:
        left, operator, right = children
        return syntax.Binary(str(operator), left, right, span)

    def unary(self, span: Span, children: list) -> syntax.Unary:
        return syntax.Unary(str(children[0]), children[1], span)

    def index_of(self, span: Span, children: list) -> syntax.Index:
        return syntax.Index(children[0], tuple(children[1:]), span)

    def slice(self, span: Span, children: list) -> syntax.Slice:
        return syntax.Slice(*children, span)

    def call(self, span: Span, children: list) -> syntax.CallExpression:
        function, arguments = children
        plain = tuple(a for a in arguments or () if not isinstance(a, tuple))
        keywords = tuple(a for a in arguments or () if isinstance(a, tuple))
        return syntax.CallExpression(function, plain, keywords, span)

    def arguments(self, span: Span, children: list) -> list:
        return children

    def keyword(self, span: Span, children: list) -> tuple:
        return str(children[0]), children[1]

    def name(self, span: Span, children: list) -> syntax.Name:
        return syntax.Name(str(children[0]), span)

    def number(self, span: Span, children: list) -> syntax.Literal:
        text = str(children[0])
        if len(text) > LONGEST_NUMBER:
            raise HfcError(f"a number of {len(text)} characters; at most {LONGEST_NUMBER} are expected", span)
        return syntax.Literal(int(text) if text.isdigit() else float(text), span)

    def text(self, span: Span, children: list) -> syntax.Literal:
        return syntax.Literal(_unquote(children[0]), span)

    def constant(self, span: Span, children: list) -> syntax.Literal:
        return syntax.Literal({"true": True, "false": False, "null": None}[str(children[0])], span)

    def list(self, span: Span, children: list) -> syntax.ListOf:
        return syntax.ListOf(tuple(children[0] or ()), span)


@functools.cache
def _usual(source: str) -> dict[str, syntax.SettingSyntax]:
    """Name -> the setting that `usual` writes for it."""
    (block,) = parse(usual_text(source), "usual settings").configs
    return {setting.names[0]: setting for setting in block.settings}


def _unquote(text: str) -> str:
    return str(text)[1:-1]
