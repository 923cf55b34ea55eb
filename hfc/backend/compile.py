"""Kernel source to a cached code object with its resources, checked against the limits of the architecture."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from hfc.backend.assembly import code_of
from hfc.backend.gates import UNIVERSAL, Broken, Contract, broken
from hfc.backend.toolchain import Toolchain, flags, toolchain
from hfc.base.assembly import keep_assembly
from hfc.base.cache import cached, key_of
from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.base.knobs import knob
from hfc.base.trace import CODE, KERNELS, say
from hfc.target.arch import Arch, find_arch
from hfc.target.platform import AMDGCN, PTX


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

    @property
    def summary(self) -> str:
        """In one line, for lists of kernels."""
        memory = f"{self.lds_bytes} bytes of LDS, {self.scratch_bytes} of scratch"
        if not self.occupancy:
            return f"{memory}; the driver decides on registers"
        accumulators = f" and {self.agprs} AGPRs" if self.agprs else ""
        return f"{self.vgprs} VGPRs{accumulators}, {self.sgprs} SGPRs, {memory}; {self.occupancy} waves a SIMD"


@dataclass(frozen=True)
class CompiledKernel:
    """name: the kernel's symbol.  data: what the driver loads.  assembly: text for `explain` and the gates."""

    name: str
    arch: str
    data: bytes
    assembly: str
    resources: Resources


@dataclass(frozen=True)
class KernelJob:
    """One kernel to compile. smaller: (what differs, source) with one number of the geometry halved, to advise with.

    input_bits: as in Geometry."""

    name: str
    source: str
    arch: Arch
    contract: Contract = UNIVERSAL
    smaller: Callable[[], Iterable[tuple[str, str]]] = tuple
    input_bits: int = 0


def compile_kernel(source: str, arch: Arch, name: str = "kernel", contract: Contract = UNIVERSAL) -> CompiledKernel:
    """Compile, or take from the cache. HfcError if it does not compile or breaks a gate (hfc.backend.gates)."""
    return compile_job(KernelJob(name, source, arch, contract))


def compile_job(job: KernelJob) -> CompiledKernel:
    """The same for a job. The error of a broken gate says which smaller numbers would keep it."""
    tools, begin = toolchain(), time.perf_counter()
    key, assembly = _assembly(job.source, job, tools)
    text = assembly.decode()
    resources = read_resources(text, job.arch)
    found = broken(text, resources, job.arch, job.contract)
    if found:
        raise _refusal(job, found, tools)
    label = f"{job.name}-{job.arch.name}"
    data = cached(key, ".hsaco", lambda: tools.code_object(assembly, job.name, job.arch), label).read_bytes()
    if job.arch.platform.is_emulated:
        keep_assembly(data, assembly)  # the emulator decodes by it
    seconds = time.perf_counter() - begin
    say(KERNELS, lambda: f"hfc: {seconds:8.3f} s  kernel {job.name} for {job.arch.name}: {resources.summary}")
    say(CODE, lambda: f"// source of {job.name}\n{job.source}\n; assembly of {job.name}\n{code_of(text, job.name)}")
    return CompiledKernel(job.name, job.arch.name, data, text, resources)


def _assembly(source: str, job: KernelJob, tools: Toolchain) -> tuple[str, bytes]:
    """The cache key of a source and its assembly. Twins share one but for the name in it."""
    made_for = find_arch(job.arch.twin) if job.arch.twin else job.arch
    key = key_of(source, " ".join(flags(made_for)), tools.version)
    label = f"{job.name}-{made_for.name}"
    text = cached(key, ".s", lambda: tools.assembly(source, job.name, made_for), label).read_bytes()
    if made_for is job.arch:
        return key, text
    return key_of(key, job.arch.name), text.replace(made_for.name.encode(), job.arch.name.encode())


def _refusal(job: KernelJob, found: list[Broken], tools: Toolchain) -> HfcError:
    """Every broken gate with figure and limit, and the smaller variants that would keep them all."""
    lines = [f"kernel {job.name} for {job.arch.name}: {b.figure}, the limit is {b.limit}" for b in found]
    fits, tried = [], []
    for text, source in job.smaller():
        tried.append(text)
        try:
            assembly = _assembly(source, job, tools)[1].decode()
        except HfcError:  # the numbers do not go together: no advice to give
            continue
        if not broken(assembly, read_resources(assembly, job.arch), job.arch, job.contract):
            fits.append(text)
    if fits:
        hint = f"would fit: {' or '.join(fits)}"
    else:
        hint = (
            f"none of these fits either: {', '.join(tried)}"
            if tried
            else "a smaller tile or fewer outputs a wave would fit"
        )
    return HfcError("\n".join(lines), hint=hint)


def compile_all(jobs: Iterable[KernelJob]) -> list[CompiledKernel]:
    """Compile many kernels, several at once (HFC_JOBS), in the order given. The first error stops the rest."""
    jobs = list(jobs)
    with ThreadPoolExecutor(max_workers=knob("HFC_JOBS")) as pool:
        running = [pool.submit(compile_job, job) for job in jobs]
        try:
            return [task.result() for task in running]
        except BaseException:
            for task in running:
                task.cancel()
            raise


def read_resources(assembly: str, arch: Arch) -> Resources:
    """Resources of the only kernel in an assembly text."""
    return RESOURCES[arch.platform.assembly](assembly, arch)


def _amdgcn_resources(assembly: str, arch: Arch) -> Resources:
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


def _ptx_resources(assembly: str, _arch: Arch) -> Resources:
    sizes = {
        space: sum(int(size) for size in re.findall(rf"^\s*\.{space} [^\n]*\.b8 \S+\[(\d+)\];", assembly, re.MULTILINE))
        for space in ("shared", "local")
    }
    return Resources(0, 0, 0, sizes["shared"], sizes["local"], 0, 0)


RESOURCES: dict[str, Callable[[str, Arch], Resources]] = {AMDGCN: _amdgcn_resources, PTX: _ptx_resources}
