"""A code object -> its instructions as LLVM prints them.

LLVM is the authority on what an instruction is. Code objects that were compiled on this machine are read with the assembler
of the pip package ziglang (`listing`); others need an llvm-objdump, which no package on PyPI has for AMD GPUs.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from hfc.base.assembly import kept_assembly
from hfc.base.cache import cached, key_of
from hfc.base.diagnostics import HfcError
from hfc.isa.line import Line, line_of
from hfc.isa.listing import lines_of_assembly

PLACES = ("{name}", "{name}-{number}", "/usr/lib/llvm-{number}/bin/{name}", "/opt/rocm/llvm/bin/{name}")
NEWEST, OLDEST = 24, 17  # versions that are looked for; 14 and 15 fail on gfx11, 16 does not know gfx942 and gfx1151
LINE = re.compile(r"^\t(\S+)(?: (.*?))?\s*// ([0-9A-F]+):((?: [0-9A-F]{8})+)(?: <.*>)?$")
SOURCE = re.compile(r"^; (\S.*:\d+)$")


def disassemble(data: bytes) -> dict[int, Line]:
    """address -> instruction, for every executable section. With debug information each knows its source line."""
    assembly = kept_assembly(data)
    return disassemble_with_objdump(data) if assembly is None else lines_of_assembly(data, assembly)


def disassemble_with_objdump(data: bytes) -> dict[int, Line]:
    """The same for any code object. HfcError where no llvm-objdump is new enough."""
    tool, version = objdump()
    text = cached(key_of("objdump 1", version, data), ".asm", lambda: _objdump(tool, data)).read_text()
    lines: dict[int, Line] = {}
    source = ""
    for raw in text.splitlines():
        if found := SOURCE.match(raw):
            source = found[1]
        elif found := LINE.match(raw):
            text = f"{found[1]} {found[2] or ''}".strip()
            line = line_of(int(found[3], 16), text, tuple(int(w, 16) for w in found[4].split()), source)
            lines[line.address] = line
        elif raw.endswith(">:"):
            source = ""
    return lines


@cache
def objdump() -> tuple[str, str]:
    """The path and version text of an llvm-objdump that knows every GPU of the table. HfcError without one."""
    numbers = range(NEWEST, OLDEST - 1, -1)
    names = [place.format(name="llvm-objdump", number=number) for place in PLACES for number in numbers]
    too_old = []
    for name in dict.fromkeys(names):
        path = shutil.which(name)
        if path is None:
            continue
        version = subprocess.run([path, "--version"], capture_output=True, text=True).stdout
        number = re.search(r"version (\d+)", version)
        if number and int(number[1]) >= OLDEST and "amdgcn" in version:
            return path, version
        too_old.append(f"{path} is {'version ' + number[1] if number else 'unknown'}")
    raise HfcError(
        f"a code object that was not compiled on this machine needs llvm-objdump {OLDEST} or newer"
        + (f"; {', '.join(too_old)}" if too_old else ", and there is none"),
        hint="compile the model here (give the model instead of the bundle), or apt install llvm-19",
    )


def _objdump(tool: str, data: bytes) -> bytes:
    with tempfile.TemporaryDirectory(prefix="hfc-") as folder:
        path = Path(folder) / "code.hsaco"
        path.write_bytes(data)
        done = subprocess.run([tool, "-d", "-l", str(path)], capture_output=True, text=True)
    if done.returncode:
        raise HfcError(f"llvm-objdump cannot read the code object: {done.stderr.strip()[:300]}")
    return done.stdout.encode()
