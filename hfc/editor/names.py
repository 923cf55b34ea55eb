"""A model file -> every name in it with what an editor shows for it, and names in its functions that mean nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError, Span, unknown
from hfc.frontend import syntax
from hfc.frontend.calls import Operations
from hfc.frontend.evaluate import FUNCTIONS
from hfc.frontend.parse import parse
from hfc.frontend.usual import USUAL
from hfc.ir.build import GraphBuilder
from hfc.ir.ops import OPS

KEYWORDS = {
    "model": "model NAME { ... }: one file describes one family",
    "config": "config hf | gguf { name = key ... }: settings from a checkpoint's config",
    "weights": "weights, weights layer i: rows of name [shape] hf names | gguf names",
    "layer": "layer name(parameters) { ... }: a function of tensors",
    "graph": "graph(tokens) { ... }: what a step computes",
    "for": "for i in layers { ... }",
    "state": "state name = kv_cache(heads, head): what a sequence carries from step to step",
    "tap": "tap value as name[i]: a value that another model or --tap may ask for",
    "require": "require EXPRESSION: a config for which this is false is refused",
    "usual": "usual hidden, layers: settings that most families read alike, each with its usual keys",
    "ignore": "ignore key: a key of the config that changes nothing here",
    "return": "return value",
}
# Types of states, sources of a checkpoint, and what a draft says of its target.
ALWAYS = {"kv_cache", "f32", "f16", "bf16", "target", "hf", "gguf"}


@dataclass(frozen=True)
class Known:
    """What is known of one name. kind: "weight", "setting", "function", "op" or "keyword"."""

    name: str
    kind: str
    text: str
    span: Span | None = None


def operations() -> dict[str, Known]:
    """What a model file may call besides its own functions."""
    found = {}
    for name in Operations(GraphBuilder("names")).names:
        op = OPS.get(name)
        found[name] = Known(
            name, "op", f"{name}({', '.join((*op.operand_names, *op.attrs))})\n\n{op.doc}" if op else f"{name}(...)"
        )
    return found | {name: Known(name, "op", f"{name}(...), of numbers") for name in FUNCTIONS}


def known_names(model: syntax.ModelSyntax, text: str) -> dict[str, Known]:
    """Names of the file and of the language; the file's own come before the language's."""
    found = {name: Known(name, "keyword", said) for name, said in KEYWORDS.items()} | operations()
    for config in model.configs:
        for setting in config.settings:
            for name in setting.names:
                is_usual = slice_of(text, setting) == name
                line = f"{name} = {USUAL[name][config.source]}" if is_usual else line_of(text, setting.span).strip()
                said = f"{config.source}: {line}"
                before = found[name].text + "\n" if name in found and found[name].kind == "setting" else ""
                found[name] = Known(name, "setting", before + said, setting.span)
    for table in model.weights:
        for row in table.rows:
            shape = ", ".join(slice_of(text, expression) for expression in row.shape)
            each = f" of layer {table.index}" if table.index else ""
            for at, name in enumerate(row.names):
                stored = [
                    f"{source}: {slice_of(text, c[min(at, len(c) - 1)])}" for source, c in row.columns.items() if c
                ]
                found[name] = Known(name, "weight", "\n".join([f"{name} [{shape}]{each}", *stored]), row.span)
    for function in model.functions.values():
        said = f"layer {function.name}({', '.join(function.parameters)})"
        found[function.name] = Known(function.name, "function", said, function.span)
    return found


def faults(text: str, file: str) -> list[HfcError]:
    """The syntax error of a file, or its functions' names that mean nothing."""
    try:
        model = parse(text, file)
    except HfcError as error:
        return [error]
    known = known_names(model, text)
    layer_names = {table.index for table in model.weights if table.index}
    functions = [*model.functions.values(), model.graph, *([model.observe] if model.observe else [])]
    return [error for function in functions for error in _unknown_in(function, known.keys() | layer_names)]


def _unknown_in(function: syntax.Function, known: set[str]) -> Iterator[HfcError]:
    own = {*function.parameters, *_defined(function.body)}
    for node in _nodes(function.body):
        name = node.name.partition(".")[0] if isinstance(node, syntax.Name) else None
        if name and name not in known | own | ALWAYS:
            yield unknown("name", name, sorted(known | own), node.span)


def _defined(body: tuple[Any, ...]) -> Iterator[str]:
    for statement in body:
        if isinstance(statement, syntax.Assign):
            yield from statement.targets
        elif isinstance(statement, syntax.State):
            yield statement.name
        elif isinstance(statement, syntax.For):
            yield statement.variable
            yield from _defined(statement.body)


def _nodes(found: Any) -> Iterator[Any]:
    """A syntax tree's nodes, whatever they are."""
    if isinstance(found, tuple):
        for part in found:
            yield from _nodes(part)
    elif is_dataclass(found) and not isinstance(found, Span):
        yield found
        for field in fields(found):
            yield from _nodes(getattr(found, field.name))


def line_of(text: str, span: Span) -> str:
    return text.splitlines()[span.line - 1]


def slice_of(text: str, node: Any) -> str:
    """What an expression is written as."""
    return line_of(text, node.span)[node.span.column - 1 :][: node.span.length]
