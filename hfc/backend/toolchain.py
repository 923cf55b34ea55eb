"""Kernel source to assembly to code object, with the clang of the ziglang package or one that HFC_CLANG names.

Three steps, because clang's own link step looks for a program called `lld`: clang -S, clang -c, ld.lld. The assembly is
kept: it tells registers, LDS and spills. For NVIDIA the assembly is PTX, and that is the code object too: the driver
finishes it.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from hfc.base.cache import compiler_environment
from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.base.knobs import knob
from hfc.base.whole_file import keep_source
from hfc.base.zig import refuse_full_disk, zig_program
from hfc.target.arch import Arch
from hfc.target.platform import AMDGCN, PTX

OLDEST_CLANG = 17
# No compilation-unit id: it would be a hash of the source's path, and equal sources must give equal bytes.
NO_UNIT_ID = "-fuse-cuid=none"
AMD_FLAGS = ("-O3", "-x", "hip", "--cuda-device-only", "-nogpulib", "-nogpuinc")
# An installed CUDA toolkit would raise the PTX version above the one that target_features ask for, and with it the driver that
# a bundle needs: clang is kept from looking. Contraction pragmas mean what they mean on AMD; clang ignores them for CUDA.
NVIDIA_FLAGS = (
    "-O3",
    "-x",
    "cuda",
    "--cuda-device-only",
    "-nocudainc",
    "-nocudalib",
    "-Wno-unknown-cuda-version",
    "--cuda-path=/nonexistent",
    "-ffp-contract=fast-honor-pragmas",
    NO_UNIT_ID,
)
NO_COMPILER = "install the pip package `ziglang`, or point HFC_CLANG at a clang >= 17 with the AMDGPU back end"


@dataclass(frozen=True)
class Toolchain:
    """Command prefixes that start clang and the linker, and a version text that is part of every cache key."""

    clang: tuple[str, ...]
    linker: tuple[str, ...]
    version: str

    def assembly(self, source: str, name: str, arch: Arch) -> bytes:
        """Compile `source`. On an error the source stays on disk and the HfcError names it."""
        with tempfile.TemporaryDirectory(prefix="hfc-") as folder:
            path, result = Path(folder) / f"{name}.hip", Path(folder) / f"{name}.s"
            path.write_text(source)
            message = _run([*self.clang, *flags(arch), "-S", "-o", str(result), str(path)])
            if message is not None:
                raise _compile_error(message, source, name, arch)
            return result.read_bytes()

    def code_object(self, assembly: bytes, name: str, arch: Arch) -> bytes:
        """Assemble and link. Nothing but a broken compiler makes this fail."""
        if not arch.platform.has_registers:  # the driver assembles it
            return assembly
        with tempfile.TemporaryDirectory(prefix="hfc-") as folder:
            text, part, whole = (Path(folder) / f"{name}.{suffix}" for suffix in ("s", "o", "hsaco"))
            text.write_bytes(assembly)
            assemble = ["-x", "assembler", "-target", "amdgcn-amd-amdhsa", f"-mcpu={arch.name}"]
            for command in (
                [*self.clang, *assemble, "-c", "-o", str(part), str(text)],
                [*self.linker, "-shared", "-o", str(whole), str(part)],
            ):
                message = _run(command)
                if message is not None:
                    raise HfcError(
                        f"kernel {name} for {arch.name}: {command[0]} cannot build the code object\n{message}",
                        hint=NO_COMPILER,
                    )
            return whole.read_bytes()


def flags(arch: Arch) -> list[str]:
    """Everything on the compiler's command line that changes the code."""
    if not arch.platform.is_gpu:
        raise HfcError("the host target has no GPU code objects", hint="choose a gfx architecture or sm_90")
    return FLAGS[arch.platform.assembly](arch) + [
        word for feature in arch.target_features for word in ("-Xclang", "-target-feature", "-Xclang", feature)
    ]


def _amdgcn_flags(arch: Arch) -> list[str]:
    return [*AMD_FLAGS, f"-mcode-object-version={arch.code_object_version}", NO_UNIT_ID, f"--offload-arch={arch.name}"]


def _ptx_flags(arch: Arch) -> list[str]:
    # "a": with the instructions that no later generation has
    return [*NVIDIA_FLAGS, f"--cuda-gpu-arch={arch.name}{'a' if arch.has('wgmma_f16') else ''}"]


FLAGS: dict[str, Callable[[Arch], list[str]]] = {AMDGCN: _amdgcn_flags, PTX: _ptx_flags}


@cache
def find_toolchain(clang: Path | None) -> Toolchain:
    """The compiler at `clang`, else the ziglang package. HfcError when it is missing or too old."""
    return _given_clang(clang) if clang else _ziglang()


def toolchain() -> Toolchain:
    """The toolchain that the knobs ask for."""
    return find_toolchain(knob("HFC_CLANG"))


def _ziglang() -> Toolchain:
    try:
        zig = zig_program()
    except HfcError as error:
        raise HfcError(
            "no GPU compiler: the Python package `ziglang` is not installed and HFC_CLANG is not set", hint=NO_COMPILER
        ) from error
    return Toolchain((zig, "clang"), (zig, "ld.lld"), _version([zig, "clang"], zig))


def _given_clang(clang: Path) -> Toolchain:
    version = _version([str(clang)], str(clang))
    found = _output([str(clang), "-print-prog-name=ld.lld"]).strip()
    if not Path(found).is_file():
        raise HfcError(
            f"HFC_CLANG={clang} has no linker: no ld.lld beside it or on PATH",
            hint="install the lld of the same version, e.g. Debian's lld-19",
        )
    targets = _output([str(clang), "--print-targets"])
    if "amdgcn" not in targets:
        raise HfcError(f"HFC_CLANG={clang} has no AMDGPU back end", hint=NO_COMPILER)
    return Toolchain((str(clang),), (found,), version)


def _version(command: list[str], shown: str) -> str:
    text = _output([*command, "--version"])
    match = re.search(r"clang version (\d+)\S*", text)
    if not match:
        raise HfcError(f"{shown} is not a clang: --version says {text.strip()[:80]!r}", hint=NO_COMPILER)
    if int(match[1]) < OLDEST_CLANG:
        raise HfcError(f"{shown} is clang {match[1]}; version {OLDEST_CLANG} or newer is needed", hint=NO_COMPILER)
    return match[0]


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=compiler_environment()).stdout
    except OSError as error:
        raise HfcError(f"cannot run {command[0]}: {error.strerror}", hint=NO_COMPILER) from error


def _run(command: list[str]) -> str | None:
    """The messages of a failed command, None if it succeeded."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=compiler_environment())
    except OSError as error:
        raise HfcError(f"cannot run {command[0]}: {error.strerror}", hint=NO_COMPILER) from error
    if done.returncode == 0:
        return None
    refuse_full_disk(done.stderr)
    return done.stderr or f"exit code {done.returncode}"


def _compile_error(message: str, source: str, name: str, arch: Arch) -> HfcError:
    kept = keep_source(source, f"-{name[:80]}-{arch.name}.hip")
    lines = "\n".join(message.strip().splitlines()[:12])
    return HfcError(f"kernel {name} does not compile for {arch.name}\n{lines}", hint=f"the source is in {kept}")
