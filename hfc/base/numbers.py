"""Arithmetic on numbers of files, bounded: no expression makes a number, text or list whose size is out of proportion to it."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

MOST_BITS = 1024  # of a whole number; floats end there too
MOST_ITEMS = 1 << 16  # of a text or a list


def power(base: Any, exponent: Any) -> Any:
    """base ** exponent. ValueError before it is computed where it would be too large."""
    _check_numbers(base, exponent)
    if (
        isinstance(base, int)
        and isinstance(exponent, int)
        and abs(base) > 1
        and exponent * base.bit_length() > 2 * MOST_BITS
    ):
        raise ValueError(f"the result has more than {MOST_BITS} bits")
    return bounded(base**exponent)


def bounded_operator(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """`function` on numbers alone, with a result of at most MOST_BITS."""

    def run(left: Any, right: Any) -> Any:
        _check_numbers(left, right)
        return bounded(function(left, right))

    return run


def plus(left: Any, right: Any) -> Any:
    """Numbers, or two texts or lists one after the other."""
    for kind in (str, (list, tuple)):
        if isinstance(left, kind) and isinstance(right, kind):
            if len(left) + len(right) > MOST_ITEMS:
                raise ValueError(f"the result has more than {MOST_ITEMS} items")
            return left + right
    return bounded_operator(operator.add)(left, right)


def bounded(value: Any) -> Any:
    """A number as it is. ValueError for a complex one, and for a whole number of more than MOST_BITS."""
    if isinstance(value, complex) or isinstance(value, int) and value.bit_length() > MOST_BITS:
        raise ValueError(
            "the result is no real number" if isinstance(value, complex) else f"a number of more than {MOST_BITS} bits"
        )
    return value


def _check_numbers(*values: Any) -> None:
    for value in values:
        if not isinstance(value, (int, float)):
            raise TypeError(f"a number is expected, not a {type(value).__name__}")
