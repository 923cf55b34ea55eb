"""Assembly text to what the gates ask of it: the instructions inside loops, and the memory accesses among them.

A loop is what lies between a label and a later branch back to it. The compiler may lay out a loop's cold part elsewhere;
what it puts between the two is what runs again and again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from hfc.base.dataclass import dataclass
from hfc.target.platform import AMDGCN, PTX

# Bytes a lane moves, by the end of an AMD mnemonic. d16: into half a register.
_AMD_BYTES = {
    **dict.fromkeys(("ubyte", "sbyte", "u8", "i8", "byte", "b8"), 1),
    **dict.fromkeys(("ushort", "sshort", "u16", "i16", "short", "b16"), 2),
    **dict.fromkeys(("dword", "b32"), 4),
    **dict.fromkeys(("dwordx2", "b64"), 8),
    **dict.fromkeys(("dwordx3", "b96"), 12),
    **dict.fromkeys(("dwordx4", "b128"), 16),
}
_AMD_ACCESS = re.compile(r"^(global|flat|scratch|buffer|ds)_(load|store|read|write)\w*$")
_PTX_ACCESS = re.compile(r"^(ld|st)\b(?:\.(?:global|shared|local|param|const|nc|relaxed|acquire|gpu|volatile|ca|cg))*")
_PTX_BYTES = re.compile(r"(?:\.v(\d))?\.[a-z]+(\d+)$")
_LABEL = re.compile(r"^(\.?\$?L?\w*BB\w+):")
_BRANCH = re.compile(
    r"\b(?:s_c?branch\w*|bra(?:\.uni)?|j[a-z]{1,3}|b\.[a-z]{2}|cbn?z\s+\w+,)\s+(\.?\$?\w+)"
)  # AMD, PTX, x86, arm


@dataclass(frozen=True)
class Access:
    """One memory instruction. space: global | flat | scratch | buffer | ds (AMD), global | generic | shared | … (NVIDIA).

    size: bytes a lane.  line: 1 is the first of the text."""

    mnemonic: str
    space: str
    is_load: bool
    size: int
    line: int


def loop_lines(text: str) -> list[tuple[int, str]]:
    """(line number, instruction) of everything that some loop repeats, in order and once."""
    lines = text.splitlines()
    labels: dict[str, int] = {}
    inside = bytearray(len(lines))
    for number, line in enumerate(lines):
        label, branch = _LABEL.match(line), _BRANCH.search(line)
        if label:
            labels[label[1]] = number
        elif branch and branch[1] in labels:
            begin = labels[branch[1]]
            inside[begin : number + 1] = b"\1" * (number + 1 - begin)
    return [(number + 1, line.strip()) for number, line in enumerate(lines) if inside[number] and line[:1].isspace()]


def accesses(lines: Iterable[tuple[int, str]], language: str) -> list[Access]:
    """The memory instructions among `lines`. language: of the platform's assembly."""
    read = READERS[language]
    return [found for number, line in lines if (found := read(number, line))]


def _amd_access(number: int, line: str) -> Access | None:
    mnemonic = line.split(maxsplit=1)[0] if line else ""
    found = _AMD_ACCESS.match(mnemonic)
    if not found:
        return None
    words = [word for word in mnemonic.split("_")[2:] if word in _AMD_BYTES]
    size = _AMD_BYTES[words[-1]] if words else 0
    return Access(mnemonic, found[1], found[2] in ("load", "read"), size, number)


def _ptx_access(number: int, line: str) -> Access | None:
    words = [word for word in line.split() if not word.startswith("@")]
    mnemonic = words[0] if words else ""
    if not _PTX_ACCESS.match(mnemonic):
        return None
    spaces = [word for word in mnemonic.split(".") if word in ("global", "shared", "local", "param", "const")]
    size = _PTX_BYTES.search(mnemonic)
    count = int(size[1] or 1) * int(size[2]) // 8 if size else 0
    return Access(mnemonic, spaces[0] if spaces else "generic", mnemonic.startswith("ld"), count, number)


READERS: dict[str, Callable[[int, str], Access | None]] = {AMDGCN: _amd_access, PTX: _ptx_access}


def function_of(text: str, symbol: str) -> str:
    """One function's part of an assembly text, and after it those of the functions that are named after it."""
    found = [
        _function(text, match) for match in re.finditer(rf"^{re.escape(symbol)}(?:_[a-z]\w*)?:", text, re.MULTILINE)
    ]
    assert found, f"the assembly has no function {symbol}"
    return "\n".join(sorted(found, key=lambda part: part.index(":")))  # its own name is the shortest


def _function(text: str, begin: re.Match[str]) -> str:
    name = begin[0].rstrip(":")
    end = re.compile(rf"^\.?\$?L?func_end\d*:|^\s*\.size\s+{re.escape(name)},", re.MULTILINE).search(text, begin.end())
    return text[begin.start() : end.end() if end else len(text)]


def code_of(text: str, symbol: str) -> str:
    """The instructions and labels of a kernel: without directives, metadata and the compiler's remarks on blocks."""
    if ".visible .entry" in text:  # PTX is read whole: its declarations are the registers
        return text[text.index(".visible .entry") :].strip()
    lines = (line.rstrip() for line in function_of(text, symbol).splitlines())
    return "\n".join(line.expandtabs(8) for line in lines if line and not _IS_REMARK.match(line))


def instructions(code: str) -> int:
    """How many a text of `code_of` has: labels and remarks begin their lines."""
    return sum(line[:1].isspace() for line in code.splitlines())


_IS_REMARK = re.compile(r"^\s*(;|#|//|\.(?!L)[a-z_]+\b|\.?\$?L?func_end)")
