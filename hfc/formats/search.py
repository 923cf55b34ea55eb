"""Encoders that look for the scale with the least squared error, instead of the one that fits the largest element."""

from __future__ import annotations

from functools import cache

import numpy as np

CENTRE = 256  # levels lie between -128 and 127; what is farther out counts as this far
STEPS = 6
SPREAD = (0.8, 1.12)  # of the scale that puts the peak on an end of the table; wider gains nothing


def table_codes(
    x: np.ndarray, table: tuple[int, ...], group: int, most: int, weight: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """x [n, block] -> d [n, 1], signed scales as sc [n, block / group] (plus most + 1), codes q into the sorted `table`.

    weight: importance of each element's squared error, f32, broadcast to x."""
    levels = np.array(table, np.float32)
    groups = x.reshape(-1, group)
    importance = None if weight is None else np.broadcast_to(weight, x.shape).reshape(-1, group)
    scale = best_scale(groups, levels, importance).reshape(len(x), -1)
    d = (abs(scale).max(axis=1, keepdims=True) / np.float32(most)).astype(np.float16).astype(np.float32)
    sc = np.clip(np.rint(scale * _reciprocal(d)), -most - 1, most)
    q = nearest(groups, (sc * d).reshape(-1, 1), levels)
    return {"d": d, "sc": (sc + (most + 1)).astype(np.uint8), "q": q.reshape(x.shape)}


def best_scale(groups: np.ndarray, levels: np.ndarray, importance: np.ndarray | None = None) -> np.ndarray:
    """[n, group] -> [n]: from some scales around the peak, each improved by least squares, the best. May be negative."""
    peak = np.take_along_axis(groups, abs(groups).argmax(axis=1, keepdims=True), axis=1)
    weighted = groups if importance is None else groups * importance
    least, found = np.full(len(groups), -1, np.float32), np.zeros(len(groups), np.float32)
    for end in (levels[0], levels[-1]):
        for factor in np.linspace(*SPREAD, STEPS, dtype=np.float32):
            value = levels[nearest(groups, peak * (factor / end), levels)]
            across = np.einsum("ng,ng->n", value, weighted)
            along = np.einsum("ng,ng->n", value, value if importance is None else value * importance)
            # With its best scale a code explains across² / along of the sum of squares.
            explained = across * across * _reciprocal(along)
            better = explained > least
            np.copyto(least, explained, where=better)
            np.copyto(found, across * _reciprocal(along), where=better)
    return found


def nearest(groups: np.ndarray, scale: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The codes of the levels nearest to groups / scale, u8 [n, group]."""
    inverse = _reciprocal(scale)
    ratio = groups * inverse
    ratio += np.float32(CENTRE + 0.5)
    np.clip(ratio, 0, 2 * CENTRE, out=ratio)
    return _rounded(tuple(levels.tolist())).take(ratio.astype(np.uint16), mode="clip")


@cache
def _rounded(levels: tuple[float, ...]) -> np.ndarray:
    """The code of the level nearest to each integer from -CENTRE to CENTRE, u8."""
    distance = abs(np.arange(-CENTRE, CENTRE + 1)[:, None] - np.array(levels))
    return distance.argmin(axis=1).astype(np.uint8)


def _reciprocal(x: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.float32(1) / x
    return np.where(np.isfinite(inverse), inverse, np.float32(0))


def searched_symmetric(x: np.ndarray, levels: int, importance: np.ndarray) -> dict[str, np.ndarray]:
    """x [n, block] -> d and codes offset by `levels`, as hfc.formats.rounding.symmetric_codes, with the least weighted error."""
    table = np.arange(-levels, levels, dtype=np.float32)
    d = best_scale(x, table, importance)[:, None].astype(np.float16).astype(np.float32)
    return {"d": d, "q": nearest(x, d, table)}


def searched_affine(x: np.ndarray, top: int, importance: np.ndarray) -> dict[str, np.ndarray]:
    """x [n, block] -> d, m and codes, as hfc.formats.rounding.affine_codes, with the least weighted error."""
    d, low = (v.astype(np.float16).astype(np.float32) for v in best_affine(x, top, importance))
    return {"d": d, "m": low, "q": affine_numbers(x, d, low, top).astype(np.uint8)}


SHRINKS = (0.0, 0.03, 0.06, 0.1, 0.14, 0.19)  # of the range of a group, taken off at both ends together
FEW_SHRINKS = (0.0, 0.07, 0.15)  # where no importance asks for more: nine tenths of the gain, in half of the time


def best_affine(groups: np.ndarray, top: int, importance: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """[n, group] -> step and minimum [n, 1]: from some ranges, each improved by least squares, the one with the least error.

    importance: of the squared errors, f32 [n, group]."""
    low, high = groups.min(axis=1, keepdims=True), groups.max(axis=1, keepdims=True)
    weighted = groups if importance is None else groups * importance
    total, mass = _sum(weighted), np.float32(groups.shape[1]) if importance is None else _sum(importance)
    square = _dot(weighted, groups)
    least, found = np.full(low.shape, np.inf, np.float32), ((high - low) / np.float32(top), low)
    for shrink in FEW_SHRINKS if importance is None else SHRINKS:
        off = np.float32(shrink / 2) * (high - low)
        step, base = (high - low - 2 * off) / np.float32(top), low + off
        codes = affine_numbers(groups, step, base, top)
        mine = codes if importance is None else codes * importance
        first, second, across = _sum(mine), _dot(mine, codes), _dot(mine, groups)
        determinant = mass * second - first * first
        good = determinant > 1e-6 * mass * second  # else the codes are all equal
        step = np.where(good, (mass * across - first * total) / np.where(good, determinant, 1), step)
        base = np.where(good, (total - step * first) / np.where(mass > 0, mass, 1), base)
        # With the best step and minimum for its codes, what is left of the sum of squares.
        error = np.where(good, square - step * across - base * total, np.float32(np.inf))
        better = error < least
        least = np.where(better, error, least)
        found = tuple(np.where(better, new, old) for new, old in zip((step, base), found))
    return found


def affine_numbers(groups: np.ndarray, step: np.ndarray, base: np.ndarray, top: int) -> np.ndarray:
    """The whole numbers 0 … top nearest to (groups - base) / step, f32."""
    number = groups - base
    number *= _reciprocal(step)
    np.rint(number, out=number)
    return np.clip(number, 0, top, out=number)


def _sum(x: np.ndarray) -> np.ndarray:
    return x.sum(axis=1, keepdims=True)


def _dot(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.einsum("ng,ng->n", x, y)[:, None]
