"""Compilers that are missing, wrong or old, kernels that are wrong or too big, and the cache of code objects."""

import stat
import sys

import pytest

from hfc.backend import toolchain
from hfc.backend.compile import KernelJob, compile_all, compile_job, compile_kernel
from hfc.base.diagnostics import HfcError
from hfc.base.knobs import KNOBS, knob
from hfc.matrix.cells import Place, Planner
from hfc.target.arch import AMD, find_arch
from hfc.target.twins import TWINS

GOOD = """extern "C" __attribute__((global)) void good(float* x) { x[__builtin_amdgcn_workitem_id_x()] = 1.0f; }
"""
SPILLS = """extern "C" __attribute__((global)) void spills(float* x, int n) {
  float table[200];
  for (int i = 0; i < 200; i++) table[i] = x[i];
  for (int i = 0; i < n; i++) table[(i * 7) % 200] += table[i % 200];
  for (int i = 0; i < 200; i++) x[i] = table[i];
}
"""
BIG_LDS = """extern "C" __attribute__((global)) void greedy(float* x) {
  __attribute__((shared)) float all[17000];
  const int i = __builtin_amdgcn_workitem_id_x();
  all[i] = x[i];
  __builtin_amdgcn_s_barrier();
  x[i] = all[i * 7 % 17000];
}
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HFC_CACHE", str(tmp_path / "cache"))
    toolchain.find_toolchain.cache_clear()


def test_a_second_compile_starts_no_compiler(monkeypatch):
    arch = find_arch("gfx1100")
    first = compile_kernel(GOOD, arch, "good")
    monkeypatch.setattr(toolchain, "_run", lambda command: pytest.fail(f"started {command[0]}"))
    assert compile_kernel(GOOD, arch, "good") == first


def test_equal_sources_give_equal_bytes(tmp_path, monkeypatch):
    arch = find_arch("gfx906")
    first = compile_kernel(GOOD, arch, "good")
    monkeypatch.setenv("HFC_CACHE", str(tmp_path / "other"))
    assert compile_kernel(GOOD, arch, "good").data == first.data


SEVERAL = {row.name for row in TWINS}  # the comparison takes seconds each; the ordinary run makes it for the others
PAIRS = [
    pytest.param(arch, id=arch.name, marks=pytest.mark.long if arch.name in SEVERAL else ())
    for arch in AMD
    if arch.twin
]


@pytest.mark.parametrize("every", [18, pytest.param(6, marks=pytest.mark.long)])  # of the kernels
@pytest.mark.parametrize("arch", PAIRS)
def test_twins_share_assembly_and_get_the_code_object_they_would_have_alone(arch, every):
    jobs = {}
    Planner(quick=True).plan(Place("Qwen3.5-35B-A3B", arch.name, "q5_k", "q4"), arch, jobs)
    for job in list(jobs.values())[::every]:
        shared, alone = compile_job(job), toolchain.toolchain().assembly(job.source, job.name, arch)
        assert shared.assembly == alone.decode()
        assert shared.data == toolchain.toolchain().code_object(alone, job.name, arch)


def test_a_damaged_entry_is_built_again(tmp_path, capsys):
    arch = find_arch("gfx1100")
    first = compile_kernel(GOOD, arch, "good")
    (entry,) = (tmp_path / "cache").rglob("*.hsaco")
    entry.write_bytes(b"rubbish")
    assert compile_kernel(GOOD, arch, "good") == first
    assert "damaged" in capsys.readouterr().err


def test_a_wrong_kernel_names_kernel_arch_and_source():
    with pytest.raises(HfcError) as caught:
        compile_kernel("void f() { missing(); }", find_arch("gfx1100"), "broken")
    message = str(caught.value)
    assert "kernel broken does not compile for gfx1100" in message and "missing" in message
    kept = message.split("the source is in ")[1]
    assert "missing()" in open(kept).read()


def test_a_full_disk_is_no_fault_of_the_kernel(tmp_path, monkeypatch):
    """A compiler that answers as clang does where it cannot write."""
    clang = tmp_path / "clang"
    clang.write_text(
        '#!/bin/sh\ncase "$*" in\n*--version*) echo clang version 22.1.8 ;;\n*--print-targets*) echo amdgcn ;;\n'
        "*ld.lld*) echo $0 ;;\n*) echo 'fatal error: error in backend: IO failure on output stream: No space left on device' >&2; exit 1 ;;\nesac\n"
    )
    clang.chmod(0o755)
    monkeypatch.setenv("HFC_CLANG", str(clang))
    with pytest.raises(
        HfcError, match="no space left on the disk of .*what it compiled before is kept\n.*HFC_CACHE"
    ) as caught:
        compile_kernel(GOOD, find_arch("gfx1100"), "good")
    assert "does not compile" not in str(caught.value)


def test_scratch_is_an_error():
    with pytest.raises(HfcError, match=r"kernel spills for gfx1100: \d+ scratch bytes, the limit is 0"):
        compile_kernel(SPILLS, find_arch("gfx1100"), "spills")


def test_too_much_lds_is_an_error():
    with pytest.raises(HfcError, match=r"(?s)greedy.*gfx1030.*68000.*65536"):
        compile_kernel(BIG_LDS, find_arch("gfx1030"), "greedy")


def test_the_first_error_of_many_comes_out():
    arch = find_arch("gfx1100")
    with pytest.raises(HfcError, match="kernel spills"):
        compile_all([KernelJob("good", GOOD, arch), KernelJob("spills", SPILLS, arch), KernelJob("good", GOOD, arch)])


def test_the_host_has_no_code_objects():
    with pytest.raises(HfcError, match="no GPU code objects"):
        compile_kernel(GOOD, find_arch("host"), "good")


def compiler_that_says(folder, text):
    path = folder / "clang"
    path.write_text(f"#!{sys.executable}\nprint({text!r})\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.parametrize(
    "said, complaint",
    [
        ("gcc 12", "is not a clang: --version says 'gcc 12'"),
        ("Debian clang version 14.0.6", "is clang 14; version 17 or newer is needed"),
        ("clang version 19.1.7", "has no linker: no ld.lld"),
    ],
)
def test_a_wrong_compiler_says_what_is_needed(tmp_path, monkeypatch, said, complaint):
    monkeypatch.setenv("HFC_CLANG", str(compiler_that_says(tmp_path, said)))
    with pytest.raises(HfcError) as caught:
        compile_kernel(GOOD, find_arch("gfx1100"), "good")
    assert complaint in str(caught.value) and "hint:" in str(caught.value)


def zig_program_without_package() -> str:
    raise HfcError("the Python package `ziglang` is not installed")


def test_a_missing_compiler_says_how_to_get_one(monkeypatch, tmp_path):
    monkeypatch.setenv("HFC_CLANG", str(tmp_path / "nowhere"))
    with pytest.raises(HfcError, match="(?s)cannot run .*nowhere.*ziglang"):
        compile_kernel(GOOD, find_arch("gfx1100"), "good")
    monkeypatch.delenv("HFC_CLANG")
    monkeypatch.setattr(toolchain, "zig_program", zig_program_without_package)
    with pytest.raises(HfcError, match="(?s)`ziglang` is not installed.*HFC_CLANG"):
        compile_kernel(GOOD, find_arch("gfx1100"), "good")


def test_another_compiler_is_another_cache_entry(monkeypatch):
    arch = find_arch("gfx1100")
    tools = toolchain.toolchain()
    compile_kernel(GOOD, arch, "good")
    newer = toolchain.Toolchain(tools.clang, tools.linker, tools.version + "0")
    monkeypatch.setattr("hfc.backend.compile.toolchain", lambda: newer)
    started = []
    run = toolchain._run
    monkeypatch.setattr(toolchain, "_run", lambda command: started.append(command) or run(command))
    compile_kernel(GOOD, arch, "good")
    assert len(started) == 3


def test_a_wrong_knob_stops(monkeypatch):
    monkeypatch.setenv("HFC_JOBS", "many")
    with pytest.raises(HfcError, match=r"HFC_JOBS='many' is not a valid value; it must be a number >= 1"):
        knob("HFC_JOBS")
    monkeypatch.setenv("HFC_JOBS", "3")
    assert knob("HFC_JOBS") == 3
    with pytest.raises(HfcError, match="did you mean 'HFC_JOBS'"):
        knob("HFC_JOB")
    assert all(row.effect and row.expects for row in KNOBS.values())


def test_the_assembly_is_what_the_compiler_wrote():
    made = compile_kernel(GOOD, find_arch("gfx906"), "good")
    assert "amdgcn-amd-amdhsa--gfx906" in made.assembly and made.resources.lds_bytes == 0
    assert b"good.kd" in made.data
