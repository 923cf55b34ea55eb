"""The rounding steps that GGUF's reference quantizers share, in f32."""

import numpy as np


def safe_reciprocal(d: np.ndarray) -> np.ndarray:
    """1 / d, and 0 for a block of zeros."""
    with np.errstate(divide="ignore"):
        return np.where(d == 0, np.float32(0), np.float32(1) / d)


def round_away(x: np.ndarray) -> np.ndarray:
    """Nearest integer, halves away from zero (C's roundf)."""
    size = abs(x)
    whole = np.floor(size)
    return np.sign(x) * (whole + np.floor(2 * (size - whole)))


def signed_peak(x: np.ndarray) -> np.ndarray:
    """The element of largest magnitude of each block, with its sign, [n, 1]."""
    return np.take_along_axis(x, abs(x).argmax(axis=-1, keepdims=True), axis=-1)


def symmetric_codes(x: np.ndarray, levels: int) -> dict[str, np.ndarray]:
    """x [n, block]: the peak maps to -levels; codes are offset by `levels` (0 .. 2 * levels - 1)."""
    d = signed_peak(x) / np.float32(-levels)
    q = np.trunc(x * safe_reciprocal(d) + np.float32(levels + 0.5)).astype(np.uint8)
    return {"d": d, "q": q.clip(0, 2 * levels - 1)}


def affine_codes(x: np.ndarray, top: int) -> dict[str, np.ndarray]:
    """x [n, block]: the minimum maps to 0, the maximum to `top`."""
    low = x.min(axis=-1, keepdims=True)
    d = (x.max(axis=-1, keepdims=True) - low) / np.float32(top)
    q = np.trunc((x - low) * safe_reciprocal(d) + np.float32(0.5)).astype(np.uint8)
    return {"d": d, "m": low, "q": q.clip(0, top)}
