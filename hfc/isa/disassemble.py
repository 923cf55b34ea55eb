"""A code object -> its instructions, through llvm-objdump, which is the authority on what an instruction is."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hfc.base.cache import cached, key_of
from hfc.base.diagnostics import HfcError

LLVM = 19
LINE = re.compile(r"^\t(\S+)(?: (.*?))?\s*// ([0-9A-F]+):((?: [0-9A-F]{8})+)(?: <.*>)?$")
SOURCE = re.compile(r"^; (\S.*:\d+)$")


@dataclass(frozen=True)
class Line:
    """One instruction. operands and modifiers as LLVM prints them; words: its encoding; source: "file:line" or ""."""

    address: int
    name: str
    operands: tuple[str, ...]
    modifiers: dict[str, str]
    words: tuple[int, ...]
    text: str
    source: str = ""

    @property
    def base(self) -> str:
        """The name without its encoding."""
        return re.sub(r"_(e32|e64|e64_dpp|dpp|sdwa)$", "", self.name)


@cache
def llvm_tool(name: str) -> str:
    """The path of an LLVM program; HfcError names the Debian package."""
    for candidate in (f"{name}-{LLVM}", f"/usr/lib/llvm-{LLVM}/bin/{name}", name):
        if found := shutil.which(candidate):
            return found
    raise HfcError(
        f"{name} is not installed; the emulator decodes code objects with it",
        hint=f"Debian and Ubuntu: apt install llvm-{LLVM} (looked for {name}-{LLVM}, then {name})",
    )


@cache
def _version() -> str:
    return subprocess.run([llvm_tool("llvm-objdump"), "--version"], capture_output=True, text=True).stdout


def disassemble(data: bytes) -> dict[int, Line]:
    """address -> instruction, for every executable section. With debug information each knows its source line."""
    text = cached(key_of("objdump 1", _version(), data), ".asm", lambda: _objdump(data)).read_text()
    lines: dict[int, Line] = {}
    source = ""
    for raw in text.splitlines():
        if found := SOURCE.match(raw):
            source = found[1]
        elif found := LINE.match(raw):
            line = _line(found, source)
            lines[line.address] = line
        elif raw.endswith(">:"):
            source = ""
    return lines


def _objdump(data: bytes) -> bytes:
    with tempfile.TemporaryDirectory(prefix="hfc-") as folder:
        path = Path(folder) / "code.hsaco"
        path.write_bytes(data)
        done = subprocess.run([llvm_tool("llvm-objdump"), "-d", "-l", str(path)], capture_output=True, text=True)
    if done.returncode:
        raise HfcError(f"llvm-objdump cannot read the code object: {done.stderr.strip()[:300]}")
    return done.stdout.encode()


def _line(found: re.Match, source: str) -> Line:
    text = f"{found[1]} {found[2] or ''}".strip()
    operands, modifiers = ((), {}) if "::" in text else split_operands(found[2] or "")
    return Line(
        int(found[3], 16), found[1], operands, modifiers, tuple(int(w, 16) for w in found[4].split()), text, source
    )


def split_operands(text: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """ "v0, -v1, s2 clamp op_sel:[1,0]" -> (("v0", "-v1", "s2"), {"clamp": "", "op_sel": "[1,0]"})."""
    operands, modifiers = [], {}
    for part in _split(text, ","):
        for i, token in enumerate(_split(part, " ")):
            if i == 0 and not re.match(r"[a-z0-9_]+:", token):
                operands.append(token)
            else:
                key, _, value = token.partition(":")
                modifiers[key] = value
    return tuple(operands), modifiers


def _split(text: str, separator: str) -> list[str]:
    """Split outside brackets and quotes."""
    parts, depth, quoted, current = [], 0, False, ""
    for character in text:
        quoted ^= character == '"'
        depth += (character in "[(") - (character in "])")
        if character == separator and not depth and not quoted:
            parts.append(current)
            current = ""
        else:
            current += character
    return [p.strip() for p in [*parts, current] if p.strip()]
