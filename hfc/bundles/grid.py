"""Grid expressions of a plan: C integer arithmetic in T, R, G and C, and nothing else."""

from __future__ import annotations

import ast
import operator
from collections.abc import Mapping
from functools import lru_cache

from hfc.base.diagnostics import HfcError

NAMES = ("T", "R", "G", "C")  # rows, outputs, segments of a step, reach of its longest context
LONGEST = 1000  # characters
MOST = 1 << 31  # thread blocks of one dimension

OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.floordiv,  # as C divides what is not negative
    ast.Gt: operator.gt,
    ast.Lt: operator.lt,
    ast.GtE: operator.ge,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
EXPECTED = "whole numbers, T, R, G, C, + - * / < > <= >= == != and parentheses"


def grid_value(expression: str, counts: Mapping[str, int]) -> int:
    """The thread blocks for these counts. HfcError where it is no such expression or its value no size of a grid."""
    try:
        value = _value(_parsed(expression), counts)
    except ZeroDivisionError:
        raise HfcError(f"grid {expression[:60]!r} divides by zero") from None
    if not 0 <= value < MOST:
        raise HfcError(f"grid {expression[:60]!r} is {value} for {dict(counts)}; it must be 0 to {MOST - 1}")
    return value


@lru_cache(4096)
def _parsed(expression: str) -> ast.expr:
    if len(expression) > LONGEST:
        raise HfcError(f"a grid of {len(expression)} characters; at most {LONGEST} are expected")
    try:
        parsed = ast.parse(expression, "grid", "eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise HfcError(f"grid {expression[:60]!r} is no expression; it is made of {EXPECTED}") from None
    for node in ast.walk(parsed):
        if not _is_known(node):
            raise HfcError(f"grid {expression[:60]!r} has a {type(node).__name__}; it is made of {EXPECTED}")
    return parsed


def _is_known(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return type(node.value) is int and 0 <= node.value < MOST
    if isinstance(node, ast.Name):
        return node.id in NAMES
    if isinstance(node, ast.Compare):
        return len(node.ops) == 1
    return isinstance(node, (ast.BinOp, ast.Load, *OPERATORS))


def _value(node: ast.expr, counts: Mapping[str, int]) -> int:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return counts[node.id]
    if isinstance(node, ast.Compare):
        return int(OPERATORS[type(node.ops[0])](_value(node.left, counts), _value(node.comparators[0], counts)))
    return OPERATORS[type(node.op)](_value(node.left, counts), _value(node.right, counts))
