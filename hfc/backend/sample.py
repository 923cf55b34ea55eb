"""The sample launch that follows every step on a GPU: logits to tokens without leaving the device."""

from __future__ import annotations

from hfc.backend.spec import Arg, Bound
from hfc.sampling import BIAS_WORDS, HEAD_WORDS, ROW_WORDS

PARAMETERS, TOKENS = "io:parameters", "io:tokens"


def sample_bound(vocab: int) -> Bound:
    """The kernel's parameters; it belongs to no region, so its pointers have no IR values."""
    args = [
        Arg("logits", "buffer", "float", None, written=True),
        Arg("parameters", "io", "int32_t", None),
        Arg("tokens", "io", "int32_t", None, written=True),
    ]
    extra = {"vocab": vocab, "row_words": ROW_WORDS, "head_words": HEAD_WORDS, "bias_words": BIAS_WORDS}
    return Bound("sample", f"sample_v{vocab}", args, "R", extra)


def sample_pointers(logits: str) -> tuple[str, str, str]:
    return (f"buffer:{logits}", PARAMETERS, TOKENS)
