"""The sample launch that follows every step on a GPU: logits to tokens without leaving the device."""

from __future__ import annotations

from hfc.backend.spec import Arg, Bound, KernelRegion
from hfc.base.dataclass import dataclass
from hfc.pointer import PARAMETERS, STEP, TOKENS, Pointer
from hfc.sampling import BIAS_WORDS, HEAD_WORDS, ROW_WORDS


@dataclass(frozen=True)
class SampleRegion(KernelRegion):
    """vocab: logits of a row.  row_words, head_words, bias_words: layout of a row's parameters, see hfc/sampling.py."""

    vocab: int
    row_words: int = ROW_WORDS
    head_words: int = HEAD_WORDS
    bias_words: int = BIAS_WORDS


def sample_bound(vocab: int) -> Bound[SampleRegion]:
    """The kernel's parameters; it belongs to no region, so its pointers have no IR values."""
    args = (
        Arg("logits", "buffer", "float", None, written=True),
        Arg("parameters", "io", "int32_t", None),
        Arg("tokens", "io", "int32_t", None, written=True),
        Arg("next", "io", "int32_t", None, written=True),
    )
    return Bound("sample", f"sample_v{vocab}", args, "R", SampleRegion(vocab))


def sample_pointers(logits: str) -> tuple[Pointer, Pointer, Pointer, Pointer]:
    """The step buffer too: what is chosen is the token of the next step, should that not come from the host."""
    return (Pointer.buffer(logits), PARAMETERS, TOKENS, STEP)
