"""Thread blocks of regions that carry a segment's state: the delta rule and causal convolutions."""

from __future__ import annotations

from hfc.backend.geometry.shape import Geometry, make
from hfc.backend.spec import Bound
from hfc.base.diagnostics import HfcError
from hfc.target.arch import Arch


def delta(bound: Bound, arch: Arch, rows_class: str) -> tuple[Geometry, ...]:
    extra = bound.extra
    # A column of the state is cut over neighbouring lanes so that each holds at most 32 of its elements.
    split = 1
    while -(-extra["dk"] // (4 * split)) * 4 > 32:
        split *= 2
    block = -(-extra["dv"] * split // arch.wave) * arch.wave
    if block > 1024 or split > arch.wave:
        raise HfcError(
            f"gated_delta: head sizes {extra['dk']} x {extra['dv']} do not fit one thread block of 1024 threads"
        )
    depth = -(-extra["dk"] // (4 * split)) * 4
    # Tokens whose q, k, v and y lie in LDS together: between barriers.
    tokens = max(1, min(16, 32768 // (8 * (split * depth + extra["dv"]))))
    numbers = {
        "split": split,
        "depth": depth,
        "block": block,
        "tokens": tokens,
        # Inputs loaded together: each costs scalar registers for its predicate on AMD, which has about 100.
        "batch": min(tokens, 16 if arch.kind == "nvidia" else 4),
        "turns": -(-(2 * extra["dk"] + extra["dv"]) // block),
    }
    return (make(bound, "delta", (str(extra["k_heads"]), "G", "1"), block, numbers),)


def conv(bound: Bound, arch: Arch, rows_class: str) -> tuple[Geometry, ...]:
    return (make(bound, "conv", (str(-(-bound.extra["channels"] // 128)), "G", "1"), 128, {}),)
