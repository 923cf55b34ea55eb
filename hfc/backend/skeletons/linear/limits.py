"""Limits that several templates of linear regions share."""

from __future__ import annotations

from hfc.backend.template import Allowance

BYTE_SCALES = frozenset({"q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_xs", "hfc4", "hfp4b256", "mfp4b256"})
BYTE_SCALES |= {"iq1g16", "iq2g16", "iq3xxsg32", "iq3sg32"}
SMALL_BLOCKS = frozenset({"q4_0", "q4_1", "q5_0", "q5_1", "iq4_nl", "mxfp4b32", "nvfp4b32", "tq2_0", "q1_0"})
BIT_STREAMS = frozenset(
    f"{kind}{bits}g256{version}" for kind in ("hfq", "mq") for bits in (3, 4, 6) for version in ("", "v2")
)


def allowances_for_elements(cannot_join: str) -> tuple[Allowance, ...]:
    """Where kernels that call a format's loader for every element read bytes in their loops."""
    return (
        Allowance("loads", 1, "small scales and high bits are bytes", BYTE_SCALES),
        Allowance(
            "loads", 1, "codes of a bit stream begin at any bit: bytes are joined where they can be", BIT_STREAMS
        ),
        Allowance("loads", 1, f"elements that share a byte are not neighbours: {cannot_join}", SMALL_BLOCKS),
        Allowance(
            "loads",
            1,
            "PTX joins bytes only where the pointer's alignment is known",
            arch=lambda arch: not arch.platform.loads_unaligned,
        ),
    )
