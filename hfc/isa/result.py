"""What a run of a kernel did: instructions by class, bytes, cache lines, LDS passes."""

from __future__ import annotations

import re
from dataclasses import field

from hfc.base.dataclass import dataclass

CLASSES = (
    ("matrix", r"v_(wmma|mfma)"),
    ("dot", r"v_dot"),
    ("valu", r"v_"),
    ("lds", r"ds_"),
    ("smem", r"s_(buffer_)?load"),
    ("branch", r"s_c?branch"),
    ("wait", r"s_(wait|nop|delay|clause|barrier)"),
    ("salu", r"s_"),
    ("vmem", r""),
)


@dataclass(frozen=True)
class InstructionCount:
    """One instruction of a profile. lanes: active lanes summed; lines: 128-byte lines touched, or LDS passes."""

    address: int
    text: str
    executions: int
    lanes: int
    bytes: int
    lines: int


@dataclass
class Result:
    """registers: VGPRs, SGPRs, LDS and scratch bytes, spills.  counts: filled when the run was profiled."""

    kernel: str
    arch: str
    waves: int = 0
    instructions: int = 0
    seconds: float = 0.0
    unaligned: int = 0
    registers: dict = field(default_factory=dict)
    counts: list[InstructionCount] = field(default_factory=list)

    def mix(self) -> dict[str, int]:
        """Executed wave instructions by class."""
        found: dict[str, int] = {}
        for count in self.counts:
            kind = next(name for name, pattern in CLASSES if re.match(pattern, count.text))
            found[kind] = found.get(kind, 0) + count.executions
        return found

    def traffic(self) -> dict[str, int]:
        """Bytes and 128-byte lines that vector memory instructions asked for (no cache model), and LDS passes."""
        total = {"load_bytes": 0, "store_bytes": 0, "lines": 0, "lds_bytes": 0, "lds_passes": 0}
        for count in self.counts:
            if re.match(r"(global|flat|buffer)_", count.text):
                total["load_bytes" if "_load" in count.text else "store_bytes"] += count.bytes
                total["lines"] += count.lines
            elif count.text.startswith("ds_"):
                total["lds_bytes"] += count.bytes
                total["lds_passes"] += count.lines
        return total
