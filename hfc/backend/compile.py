"""Kernel source to a cached code object with its resources, checked against the limits of the architecture."""

from __future__ import annotations

import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from hfc.backend.toolchain import flags, toolchain
from hfc.base.cache import cached, key_of
from hfc.base.diagnostics import HfcError
from hfc.base.knobs import knob
from hfc.target.arch import Arch


@dataclass(frozen=True)
class Resources:
    """What one kernel uses. Registers per lane, bytes of LDS per thread block and of scratch per lane.

    spills: registers that live in memory.  occupancy: waves a SIMD can hold, by vector registers alone.
    NVIDIA's driver decides these when it loads PTX: only lds_bytes and scratch_bytes are known then.
    """

    vgprs: int
    agprs: int
    sgprs: int
    lds_bytes: int
    scratch_bytes: int
    spills: int
    occupancy: int


@dataclass(frozen=True)
class CodeObject:
    """name: the kernel's symbol.  data: what the driver loads.  assembly: text for `explain` and the gates."""

    name: str
    arch: str
    data: bytes
    assembly: str
    resources: Resources


@dataclass(frozen=True)
class Job:
    """One kernel to compile."""

    name: str
    source: str
    arch: Arch


def compile_kernel(source: str, arch: Arch, name: str = "kernel") -> CodeObject:
    """Compile, or take from the cache. HfcError if it does not compile, spills, or needs more LDS than there is."""
    tools = toolchain()
    key = key_of(source, " ".join(flags(arch)), tools.version)
    assembly = cached(key, ".s", lambda: tools.assembly(source, name, arch)).read_bytes()
    data = cached(key, ".hsaco", lambda: tools.code_object(assembly, name, arch)).read_bytes()
    text = assembly.decode()
    resources = read_resources(text, arch)
    check_limits(name, arch, resources)
    return CodeObject(name, arch.name, data, text, resources)


def compile_all(jobs: Iterable[Job]) -> list[CodeObject]:
    """Compile many kernels, several at once (HFC_JOBS), in the order given. The first error stops the rest."""
    jobs = list(jobs)
    with ThreadPoolExecutor(max_workers=knob("HFC_JOBS")) as pool:
        running = [pool.submit(compile_kernel, job.source, job.arch, job.name) for job in jobs]
        try:
            return [task.result() for task in running]
        except BaseException:
            for task in running:
                task.cancel()
            raise


def read_resources(assembly: str, arch: Arch) -> Resources:
    """Resources of the only kernel in an assembly text."""
    if arch.kind == "nvidia":
        return _read_ptx_resources(assembly)
    metadata = assembly[assembly.index(".amdgpu_metadata") :]
    assert metadata.count(".symbol:") == 1, "one kernel a source"

    def field(name: str) -> int:
        match = re.search(rf"^\s*(?:- )?\.{name}:\s*(\d+)", metadata, re.MULTILINE)
        return int(match[1]) if match else 0

    vgprs = field("vgpr_count")
    return Resources(
        vgprs=vgprs,
        agprs=field("agpr_count"),
        sgprs=field("sgpr_count"),
        lds_bytes=field("group_segment_fixed_size"),
        scratch_bytes=field("private_segment_fixed_size"),
        spills=field("vgpr_spill_count") + field("sgpr_spill_count"),
        occupancy=arch.occupancy(vgprs),
    )


def _read_ptx_resources(assembly: str) -> Resources:
    sizes = {
        space: sum(int(size) for size in re.findall(rf"^\s*\.{space} [^\n]*\.b8 \S+\[(\d+)\];", assembly, re.MULTILINE))
        for space in ("shared", "local")
    }
    return Resources(0, 0, 0, sizes["shared"], sizes["local"], 0, 0)


def check_limits(name: str, arch: Arch, resources: Resources) -> None:
    """HfcError naming kernel, arch, limit and figure when a kernel would run slow by accident or not at all."""
    limits = (
        ("scratch bytes", resources.scratch_bytes, 0),
        ("spilled registers", resources.spills, 0),
        ("LDS bytes of a thread block", resources.lds_bytes, arch.lds_bytes),
    )
    for what, figure, limit in limits:
        if figure > limit:
            raise HfcError(
                f"kernel {name} for {arch.name}: {figure} {what}, the limit is {limit}",
                hint="a smaller tile or fewer outputs a wave would fit",
            )
