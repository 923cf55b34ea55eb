"""What this machine's CPU can do, as far as compiled code depends on it."""

from __future__ import annotations

import platform
import re
from functools import cache
from pathlib import Path

# flags of /proc/cpuinfo that name instructions which a compiler may use, and not virtualization, mitigations or tuning
INSTRUCTIONS = re.compile(
    r"(sse|ssse|avx|fma|f16c|bmi|abm|popcnt|movbe|adx|aes|pclmul|vpclmul|vaes|gfni|sha|amx|xop|tbm|lzcnt|cx16|lahf"
    r"|asimd|neon|sve|sme|fp|bf16|i8mm|dotprod|crc32|atomics|pmull|fcma|jscvt|lrcpc)\w*"
)


@cache
def instruction_sets() -> tuple[str, ...]:
    """The machine and its sets of instructions, sorted: what code compiled for this very CPU may need."""
    return (platform.machine(), *sorted(_flags(_cpuinfo())))


def processor() -> str:
    """What `native` means here: a library built on one machine must not run on a lesser one that shares the cache."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.platform() + platform.processor()
    kinds = ("model name", "flags", "Features", "CPU part")
    return platform.machine() + "\n".join(sorted({line for line in lines if line.startswith(kinds)}))


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()


def _flags(text: str) -> set[str]:
    lines = (line for line in text.splitlines() if line.startswith(("flags", "Features")))
    return {word for line in lines for word in line.partition(":")[2].split() if INSTRUCTIONS.fullmatch(word)}
