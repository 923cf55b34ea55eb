"""AWQ: scales on a linear's inputs, so that the weights of large inputs lose less to rounding (Lin et al. 2023, AWQ).

    s = m^(alpha / 2), m mean squares of the inputs; the weights become w s, what makes the inputs gives 1 / s

alpha is the one of a few that leaves the least error of the outputs, Σ m (w - w')², on some rows of every weight; 0 changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hfc.formats import BlockFormat, RowFormat
from hfc.formats.rotation import rotate, rotate_back

ALPHAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
SAMPLE_ROWS = 96  # of each weight; twice as many choose the same alphas
LEAST = 1e-4  # of the mean of the mean squares: inputs that were never seen must not scale by infinity


def best_scale(
    weights: Sequence[tuple[np.ndarray, BlockFormat | RowFormat]], mean: np.ndarray
) -> tuple[np.ndarray, float]:
    """s, f32 [K], and its alpha. weights: f32 [N, K] and the format of each.  mean: mean squares of the inputs, f32 [K]."""
    floor = np.maximum(mean, LEAST * max(float(mean.mean()), 1e-30))
    samples = [(w[:: max(1, len(w) // SAMPLE_ROWS)], form) for w, form in weights]
    scales = [_normalized(floor ** np.float32(alpha / 2)) for alpha in ALPHAS]
    errors = [sum(output_error(w, form, mean, scale) for w, form in samples) for scale in scales]
    best = int(np.argmin(errors))
    return scales[best], ALPHAS[best]


def _normalized(scale: np.ndarray) -> np.ndarray:
    """Geometric mean 1, so that norms and weights keep their size."""
    return (scale / np.exp(np.log(scale).mean())).astype(np.float32)


def output_error(w: np.ndarray, form: BlockFormat | RowFormat, mean: np.ndarray, scale: np.ndarray) -> float:
    """Σ m (w - w')² of the rows, packed plainly: what search and feedback gain depends little on the scale, and takes long."""
    found = form.unpack(form.pack(rotate(w * scale) if form.rotated else w * scale))
    return float((((rotate_back(found) if form.rotated else found) / scale - w) ** 2 * mean).sum())
