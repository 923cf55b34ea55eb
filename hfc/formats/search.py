"""Encoders that look for the scale with the least squared error, instead of the one that fits the largest element."""

from __future__ import annotations

from functools import cache

import numpy as np

CENTRE = 256  # levels lie between -128 and 127; what is farther out counts as this far
STEPS = 6
SPREAD = (0.8, 1.12)  # of the scale that puts the peak on an end of the table; wider gains nothing


def table_codes(x: np.ndarray, table: tuple[int, ...], group: int, most: int, weight: np.ndarray | None = None) -> dict[str, np.ndarray]:
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
    d, low = (v.astype(np.float16).astype(np.float32) for v in best_affine(x, importance, top))
    return {"d": d, "m": low, "q": _codes(x, d, low, top).astype(np.uint8)}


SHRINKS = (0.0, 0.03, 0.06, 0.1, 0.14, 0.19)  # of the range of a group, taken off at both ends together


def best_affine(groups: np.ndarray, importance: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """[n, group] -> step and minimum [n, 1]: from some ranges, each improved by least squares, the one with the least error."""
    low, high = groups.min(axis=1, keepdims=True), groups.max(axis=1, keepdims=True)
    total, mass = _sum(importance * groups), _sum(importance)
    least, found = np.full(low.shape, np.inf, np.float32), ((high - low) / np.float32(top), low)
    for shrink in SHRINKS:
        off = np.float32(shrink / 2) * (high - low)
        step, base = (high - low - 2 * off) / np.float32(top), low + off
        codes = _codes(groups, step, base, top)
        for fit in ((step, base), _fit(groups, importance, codes, total, mass, step, base)):
            error = _sum(importance * (groups - _codes(groups, *fit, top) * fit[0] - fit[1]) ** 2)
            better = error < least
            least = np.where(better, error, least)
            found = tuple(np.where(better, new, old) for new, old in zip(fit, found))
    return found


def _codes(groups: np.ndarray, step: np.ndarray, base: np.ndarray, top: int) -> np.ndarray:
    """Whole numbers 0 … top, f32."""
    return np.clip(np.rint((groups - base) * _reciprocal(step)), 0, top)


def _fit(groups, importance, number, total, mass, step, base) -> tuple[np.ndarray, np.ndarray]:
    """Step and minimum with the least weighted error for these codes; as they were where codes are all equal."""
    weighted = importance * number
    first, second, across = _sum(weighted), _sum(weighted * number), _sum(weighted * groups)
    determinant = mass * second - first * first
    good = determinant > 1e-6 * mass * second
    divisor = np.where(good, determinant, 1)
    fitted = (mass * across - first * total) / divisor
    return np.where(good, fitted, step), np.where(good, (total - fitted * first) / np.where(mass > 0, mass, 1), base)


def _sum(x: np.ndarray) -> np.ndarray:
    return x.sum(axis=1, keepdims=True)
