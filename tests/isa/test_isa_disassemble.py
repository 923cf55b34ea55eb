"""Code objects are read by the assembler of the pip package; a disassembler from elsewhere is taken only if it is new enough."""

import os
from pathlib import Path

import pytest

from hfc.backend.toolchain import toolchain
from hfc.base.assembly import keep_assembly, kept_assembly
from hfc.base.diagnostics import HfcError
from hfc.isa import disassemble as module
from hfc.isa.disassemble import disassemble, objdump
from hfc.isa.listing import lines_of_assembly
from hfc.target.arch import find_arch

TEXT = """
\t.amdgcn_target "amdgcn-amd-amdhsa--{arch}"
\t.text
\t.file\t1 "/home/me" "k.hip"
\t.globl\tfirst
\t.p2align\t8
\t.type\tfirst,@function
first:
\t.loc\t1 7 3
\ts_mov_b32 s2, 0x12345
.Lloop:
\tv_add_f32_e32 v1, v2, v3
\t.loc\t1 8 3
\ts_cbranch_scc1 .Lloop
\ts_getpc_b64 s[4:5]
\ts_add_u32 s4, s4, second@rel32@lo+4
\ts_endpgm
.Lend:
\t.size\tfirst, .Lend-first
\t.protected\tsecond
\t.globl\tsecond
\t.p2align\t6
\t.type\tsecond,@function
second:
\ts_endpgm
\t.section\t.rodata,"a",@progbits
\t.p2align\t6
table:
\t.long\t17
"""


def made(arch: str = "gfx1030", text: str = TEXT) -> tuple[bytes, bytes]:
    assembly = text.format(arch=arch).encode()
    return toolchain().code_object(assembly, "made", find_arch(arch)), assembly


@pytest.mark.parametrize("arch", ["gfx906", "gfx90a", "gfx1030", "gfx1100", "gfx1201"])
def test_every_instruction_has_its_address_encoding_and_source_line(arch):
    lines = list(lines_of_assembly(*made(arch)).values())
    first = lines[0].address
    assert first % 256 == 0 and [x.address - first for x in lines[:6]] == [0, 8, 12, 16, 20, 28]
    texts = [x.text for x in lines]
    assert texts[:4] == [
        "s_mov_b32 s2, 0x12345",
        "v_add_f32_e32 v1, v2, v3",
        "s_cbranch_scc1 65534",
        "s_getpc_b64 s[4:5]",
    ]
    assert lines[2].words[0] & 0xFFFF == 65534 and lines[0].words[1] == 0x12345
    assert [x.source for x in lines[:3]] == ["/home/me/k.hip:7", "/home/me/k.hip:7", "/home/me/k.hip:8"]
    # the linker's number: `second` is 64 bytes behind `first`, counted from behind s_getpc; 4 is for the literal's own place
    name, operand = lines[4].text.rsplit(", ", 1)
    assert name.startswith("s_add_") and int(operand, 0) == lines[4].words[1] == 64 - 20
    assert lines[-1].address == first + 64 and texts[-1] == texts[5] == "s_endpgm"
    assert set(texts[6:-1]) <= {"s_nop 0"}


def test_a_branch_that_a_gpu_cannot_take_has_a_word_behind_it():
    """gfx1010 fails on a branch over 63 words; the assembler makes it 64."""
    far = TEXT.replace(
        "\ts_getpc_b64 s[4:5]", "\ts_branch .Lfar\n" + "\tv_add_f32_e32 v1, v2, v3\n" * 63 + ".Lfar:\n\ts_nop 3\n"
    )
    lines = lines_of_assembly(*made("gfx1010", far.replace("\ts_add_u32 s4, s4, second@rel32@lo+4\n", "")))
    texts = [line.text for line in lines.values()]
    branch = texts.index("s_branch 64")
    assert texts[branch + 1] == "s_nop 0" and texts[branch + 65] == "s_nop 3"


def test_the_text_of_another_code_object_is_refused():
    data, assembly = made()
    for other in (
        TEXT.replace("0x12345", "0x12346"),
        TEXT.replace("v_add_f32_e32 v1, v2, v3\n", "s_nop 0\n\ts_nop 1\n"),
    ):
        with pytest.raises(HfcError, match="is not that of the code object: at 0x"):
            lines_of_assembly(data, other.format(arch="gfx1030").encode())
    assert lines_of_assembly(data, assembly)


def test_what_was_compiled_here_needs_no_other_program(monkeypatch, tmp_path):
    monkeypatch.setenv("HFC_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "objdump", None)
    data, assembly = made()
    keep_assembly(data, assembly)
    assert kept_assembly(data) == assembly and kept_assembly(data + b"\0") is None
    assert disassemble(data) == lines_of_assembly(data, assembly)


@pytest.fixture
def path(monkeypatch, tmp_path) -> Path:
    """An empty PATH with a folder for programs; the shell's own are reached by full names."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(module, "PLACES", ("{name}", "{name}-{number}"))
    objdump.cache_clear()
    yield tmp_path
    objdump.cache_clear()


def install(folder: Path, name: str, version: str) -> None:
    program = folder / name
    program.write_text(f"#!/bin/sh\necho 'LLVM version {version}'\necho '  amdgcn - AMD GCN GPUs'\n")
    os.chmod(program, 0o755)


def test_a_disassembler_that_is_too_old_is_refused_by_its_version(path):
    install(path, "llvm-objdump", "14.0.6")
    with pytest.raises(HfcError) as error:
        objdump()
    assert f"{path}/llvm-objdump is version 14" in str(error.value) and "apt install llvm-19" in str(error.value)
    install(path, "llvm-objdump-19", "19.1.7")
    objdump.cache_clear()
    assert objdump()[0] == f"{path}/llvm-objdump-19"


def test_without_any_the_error_says_what_to_do(path):
    with pytest.raises(HfcError, match="(?s)was not compiled on this machine.*there is none.*compile the model here"):
        disassemble(made()[0])
