"""An imatrix and the folds of a graph -> what `hfc quantize` does to each tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from hfc.calibrate.fold import Fold
from hfc.formats import weight_format
from hfc.formats.checkpoint import Checkpoint
from hfc.formats.rotation import rotate_back
from hfc.quantize.awq import best_scale
from hfc.quantize.treatment import UNTREATED, Treatment

EIGHT_BITS = 8  # from here on scales gain nothing
# Of the mean, added to importance: another text uses the inputs somewhat differently. KL divergence of hfc4 with 0, 0.1, 0.3 on texts that
# the imatrix has not seen: SmolLM2 0.0323, 0.0327, 0.0349 (0.0833 without an imatrix); a small Qwen 3.5 0.0080, 0.0079, 0.0078 (0.0079).
DAMPING = 0.1


def by_importance(importances: Mapping[str, np.ndarray]) -> dict[str, Treatment]:
    """importances: by tensor, f32 [1 or experts, K]."""
    damped = {
        name: values + np.float32(DAMPING) * values.mean(axis=1, keepdims=True) for name, values in importances.items()
    }
    return {name: Treatment(importance=values) for name, values in damped.items()}


def with_scales(
    checkpoint: Checkpoint,
    formats: Mapping[str, str],
    treatments: Mapping[str, Treatment],
    places: Sequence[Fold],
    update: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Treatment]:
    """The treatments, with a scale at every place where one lessens the error. formats: what each tensor is to be stored in."""
    found = dict(treatments)
    for done, fold in enumerate(places):
        update(done, len(places))
        if not all(name in treatments for name in fold.readers):
            continue
        low = [name for name in fold.readers if weight_format(formats[name]).bits_per_weight < EIGHT_BITS]
        mean = treatments[fold.readers[0]].importance.mean(axis=0)
        scale, alpha = (
            best_scale([(unrotated_rows(checkpoint, name), weight_format(formats[name])) for name in low], mean)
            if low
            else (None, 0)
        )
        if alpha == 0:
            continue
        for name in fold.readers:
            found[name] = replace(found[name], columns=scale, importance=found[name].importance / scale**2)
        found[fold.producer] = _giving(
            found.get(fold.producer, UNTREATED), fold, scale, checkpoint.info(fold.producer).shape
        )
    return found


def unrotated_rows(checkpoint: Checkpoint, name: str) -> np.ndarray:
    """f32 [rows, K], not rotated."""
    values = checkpoint.f32(name)
    if weight_format(checkpoint.info(name).format).rotated:
        values = rotate_back(values)
    return values.reshape(-1, values.shape[-1])


def _giving(treatment: Treatment, fold: Fold, scale: np.ndarray, shape: tuple[int, ...]) -> Treatment:
    if fold.first_row is None:
        return replace(treatment, columns=1 / scale, shift=fold.shift)
    rows = np.ones(shape[0], np.float32) if treatment.rows is None else treatment.rows.copy()
    rows[fold.first_row : fold.first_row + len(scale)] /= scale
    return replace(treatment, rows=rows)
