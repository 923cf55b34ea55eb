"""Types of GGUF that no kernel of ours reads: their values, exactly, by the gguf package. Loaded where a file has some: it takes a while."""

from __future__ import annotations

import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import dequantize


def values(format: str, raw: np.ndarray) -> np.ndarray:
    """u8 [..., row_bytes] in the type that GGUF calls `format` -> f32 [..., k]"""
    return np.asarray(dequantize(raw, GGMLQuantizationType[format.upper()]), np.float32)
