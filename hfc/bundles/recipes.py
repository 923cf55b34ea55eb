"""Recipes of a plan: known operations, with arguments and parameters of the right kinds, that make no more than is declared."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from hfc.base.diagnostics import HfcError
from hfc.formats.recipe import Recipe

DEEPEST = 32  # operations inside each other
MOST_PARTS = 4096  # arguments of a stack (experts)
WIDEST_TABLE = 1 << 16  # columns of a RoPE table


def _whole(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 40


def _number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e38


def _numbers(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) <= WIDEST_TABLE and all(map(_number, value))


def _wholes(value: Any) -> bool:
    return isinstance(value, tuple) and 0 < len(value) <= MOST_PARTS and all(map(_whole, value))


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _scaling(value: Any) -> bool:
    return value is None or isinstance(value, bool) or _number(value) or _numbers(value)


WHAT = {
    _whole: "a whole number",
    _wholes: "whole numbers",
    _number: "a number",
    _numbers: "numbers",
    _text: "a text",
    _scaling: "a number",
}
# operation -> its least and most arguments, and its parameters
OPERATIONS: dict[str, tuple[int, int, Mapping[str, Callable[[Any], bool]]]] = {
    "tensor": (0, 0, {"name": _text}),
    "rows": (1, 1, {"axis": _whole, "start": _whole, "stop": _whole}),
    "pieces": (1, 1, {"shape": _wholes, "axis": _whole, "borders": _wholes}),
    "every": (1, 1, {"axis": _whole, "step": _whole}),
    "transpose": (1, 1, {}),
    "mxfp4": (2, 2, {}),
    "stack": (1, MOST_PARTS, {}),
    "join": (1, MOST_PARTS, {}),
    "join_columns": (1, MOST_PARTS, {}),
    "by_head": (1, 1, {"heads": _whole}),
    "half_split": (1, 1, {"heads": _whole}),
    "add": (1, 1, {"c": _number}),
    "mul": (1, 1, {"c": _number}),
    "neg": (1, 1, {}),
    "exp": (1, 1, {}),
    "repeat": (0, 0, {"rows": _whole, "values": _numbers}),
    "rope_table": (0, 2, {"rotary": _whole, "theta": _number}),
    "position_scale": (0, 0, {"beta": _number, "period": _number, "offset": _number}),
}
OPEN = ("rope_table",)  # further parameters are the scaling's own, but for its kind all numbers


def check_recipe(recipe: Recipe, where: str, shape: Sequence[int] | None = None, depth: int = 0) -> None:
    """HfcError for what `formats.checkpoint.evaluate` could not follow. shape: what it must make, where that is known before."""
    if depth > DEEPEST:
        _refuse(where, f"operations {depth} deep", f"at most {DEEPEST}")
    if recipe.op not in OPERATIONS:
        _refuse(where, repr(recipe.op[:40]), f"one of {', '.join(OPERATIONS)}")
    least, most, parameters = OPERATIONS[recipe.op]
    if not least <= len(recipe.args) <= most:
        _refuse(f"{where}: {recipe.op}", f"{len(recipe.args)} arguments", f"{least} to {most}")
    given = dict(recipe.params)
    if recipe.op not in OPEN and given.keys() != parameters.keys():
        _refuse(f"{where}: {recipe.op}", f"parameters {', '.join(given)}", ", ".join(parameters) or "none")
    for name, kind in parameters.items():
        if name not in given or not kind(given[name]):
            _refuse(f"{where}: {recipe.op}: {name}", repr(given.get(name))[:40], WHAT[kind])
    for name, value in given.items():
        kind = _text if name == "kind" else _scaling
        if name not in parameters and not kind(value):
            _refuse(f"{where}: {recipe.op}: {name[:40]}", repr(value)[:40], WHAT[kind])
    _check_size(recipe, given, where, shape)
    for arg in recipe.args:
        check_recipe(arg, where, depth=depth + 1)


def _check_size(recipe: Recipe, given: Mapping[str, Any], where: str, shape: Sequence[int] | None) -> None:
    """What is made of numbers alone can be of any size: it is known before."""
    if recipe.op == "repeat":
        made = given["rows"] * len(given["values"])
        most = math.prod(shape) if shape is not None else 1 << 32
        if made > most or shape is not None and made != most:
            _refuse(f"{where}: repeat", f"{made} numbers", f"{list(shape)}" if shape is not None else f"at most {most}")
    if recipe.op == "position_scale" and (given["period"] <= 0 or given["offset"] < 0):
        _refuse(
            f"{where}: position_scale",
            f"period {given['period']}, offset {given['offset']}",
            "a period above 0, no negative offset",
        )
    if (
        recipe.op == "rope_table"
        and len(recipe.args) == 2
        and not _number(given.get("original_max_position_embeddings"))
    ):
        _refuse(f"{where}: rope_table", "two lists of divisors", "original_max_position_embeddings beside them")
    if recipe.op == "rope_table":
        if given["rotary"] > WIDEST_TABLE:
            _refuse(f"{where}: rope_table: rotary", given["rotary"], f"at most {WIDEST_TABLE}")
        if shape is not None and shape[-1] != given["rotary"]:
            _refuse(f"{where}: rope_table", f"{given['rotary']} columns", f"{list(shape)}")


def _refuse(where: str, found: object, expected: str) -> NoReturn:
    raise HfcError(f"{where}: a recipe has {found}; {expected} is expected", hint="compile it again")
