"""CPUs that host code can be compiled for besides the machine's own: one row says what they must have, in Linux' names."""

from __future__ import annotations

from hfc.base.dataclass import dataclass

NATIVE = "native"  # this machine's own: the fastest, and for no other


@dataclass(frozen=True)
class Cpu:
    """target: zig's name of machine, system and oldest C library.  clang: what clang calls the CPU.

    machine, instructions: what a CPU must have for the code to run on it."""

    target: str
    clang: str
    machine: str
    instructions: tuple[str, ...]


GLIBC = "linux-gnu.2.17"  # of 2013: every distribution that Python 3.10 runs on
V2 = ("cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3")
V3 = (*V2, "abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe")
V4 = (*V3, "avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl")

CPUS = {
    "x86-64-v2": Cpu(f"x86_64-{GLIBC}", "x86_64_v2", "x86_64", V2),
    "x86-64-v3": Cpu(f"x86_64-{GLIBC}", "x86_64_v3", "x86_64", V3),  # Haswell, Zen and later
    "x86-64-v4": Cpu(f"x86_64-{GLIBC}", "x86_64_v4", "x86_64", V4),  # Skylake-X, Zen 4 and later
    "x86-64-v4-vnni": Cpu(f"x86_64-{GLIBC}", "x86_64_v4+avx512vnni", "x86_64", (*V4, "avx512_vnni")),
    "arm64": Cpu(f"aarch64-{GLIBC}", "generic", "aarch64", ("asimd",)),
    "arm64-dotprod": Cpu(f"aarch64-{GLIBC}", "generic+dotprod", "aarch64", ("asimd", "asimddp")),
    "arm64-i8mm": Cpu(f"aarch64-{GLIBC}", "generic+dotprod+i8mm", "aarch64", ("asimd", "asimddp", "i8mm")),
}
