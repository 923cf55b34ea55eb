"""What `hfc quantize` is asked to learn from a model's activations before it packs: --imatrix, --awq, --gptq."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import field
from pathlib import Path

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.base.progress import progress_bar
from hfc.calibrate.collect import collect, importances
from hfc.calibrate.fold import folds
from hfc.calibrate.gptq import pack_linears
from hfc.calibrate.prepare import by_importance, with_scales
from hfc.cli.imatrix import calibration_pieces
from hfc.compiler import CompilerInput, open_source
from hfc.formats.checkpoint import Checkpoint
from hfc.quality import DEFAULT_CHUNK
from hfc.quantize.convert import ConversionPlan, Put
from hfc.quantize.imatrix import read_imatrix
from hfc.quantize.treatment import Treatments


@dataclass(frozen=True)
class Calibration:
    """text, tokens: what is run where no imatrix says it."""

    imatrix: Path | None
    awq: bool
    gptq: bool
    text: Path | None
    tokens: int

    @property
    def method(self) -> str:
        """For the container to tell."""
        words = [f"imatrix {self.imatrix.name}" if self.imatrix else "", "awq" * self.awq, "gptq" * self.gptq]
        return ", ".join(filter(None, words))


@dataclass(frozen=True)
class PreparedCalibration:
    """treatments, first, key: as hfc.quantize.convert.quantize takes them."""

    treatments: Treatments = field(default_factory=dict)
    first: Callable[[Put], None] | None = None
    key: str = ""


def prepare(path: Path, checkpoint: Checkpoint, made: ConversionPlan, wanted: Calibration) -> PreparedCalibration:
    """Read or collect what is wanted. made: the plan without it."""
    if not wanted.method:
        return PreparedCalibration()
    source = open_source(path)
    formats = {t.name: t.format for t in made.tensors}
    pieces = (
        calibration_pieces(source, wanted.text, wanted.tokens, DEFAULT_CHUNK)
        if wanted.gptq or not wanted.imatrix
        else []
    )
    treatments = by_importance(_importances(source, wanted, pieces)) if wanted.imatrix or wanted.awq else {}
    if wanted.awq:
        with progress_bar("scaling", "places") as update:
            treatments = with_scales(checkpoint, formats, treatments, folds(source), update)
    first = None
    if wanted.gptq:

        def first(put: Put) -> None:
            with progress_bar("packing with feedback", "linears") as update:
                pack_linears(source, pieces, formats, treatments, put, update)

    return PreparedCalibration(treatments, first, wanted.method + _digest(treatments, pieces))


def _importances(source: CompilerInput, wanted: Calibration, pieces: list[np.ndarray]) -> dict[str, np.ndarray]:
    if wanted.imatrix:
        return importances(source, read_imatrix(wanted.imatrix), str(wanted.imatrix))
    with progress_bar("collecting", "linears") as update:
        return importances(source, collect(source, pieces, update=update), "this text")


def _digest(treatments: Treatments, pieces: list[np.ndarray]) -> str:
    """Equal where treatments and texts are."""
    digest = hashlib.sha256()
    for name, treatment in treatments.items():
        digest.update(name.encode())
        for values in (treatment.columns, treatment.rows, treatment.importance):
            digest.update(b"" if values is None else values.tobytes())
    for piece in pieces:
        digest.update(piece.tobytes())
    return digest.hexdigest()
