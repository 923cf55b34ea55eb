"""A code object and the assembly that it was made from -> its instructions.

The assembler prints each instruction with its encoding; laid out as in the code object, every byte must be the one that is
there. So the text is LLVM's own, and what runs is what was compared."""

from __future__ import annotations

import re
import struct
import subprocess
import tempfile
from pathlib import Path, PurePosixPath

from hfc.base.cache import cached, compiler_environment, key_of
from hfc.base.diagnostics import HfcError
from hfc.base.zig import zig_program
from hfc.isa.code_object import CodeObject
from hfc.isa.line import Line, line_of

INSTRUCTION = re.compile(r"^\t([a-z]\S*(?: .*?)?)\s*; encoding: \[(.*)\]$")
FIXUP = re.compile(r"^\s*;\s+fixup \S+ - offset: (\d+), value: (.+), kind: (\S+)$")
LABEL = re.compile(r"^([A-Za-z_$][\w$.]*):")
ALIGN = re.compile(r"^\t\.p2align\t(\d+)")
FILE = re.compile(r'^\t\.file\t(\d+) "(.*?)"(?: "(.*?)")?')
LOCATION = re.compile(r"^\t\.loc\t(\d+) (\d+)")
SECTION = re.compile(r"^\t\.(?:section\t(\S+?)(?:,.*)?$|(text|data|bss)$)")
TARGET = re.compile(r'\.amdgcn_target "[^"]*--(gfx[\w-]+?)[":]')
PADDING = struct.pack("<I", 0xBF800000)  # s_nop 0, in every family
BRANCH = "fixup_si_sopp_br"


def lines_of_assembly(data: bytes, assembly: bytes) -> dict[int, Line]:
    """address -> instruction. HfcError where the text is not that of the code object."""
    listing = cached(key_of("listing 1", assembly), ".lst", lambda: _assemble(assembly)).read_text()
    return _Layout(CodeObject("code object", data)).place(listing)


class _Layout:
    """Walks through the text as the assembler placed it."""

    def __init__(self, code_object: CodeObject):
        self.code_object = code_object
        self.first, self.last = code_object.text
        self.at = self.first
        self.lines: dict[int, Line] = {}

    def place(self, listing: str) -> dict[int, Line]:
        raw = listing.splitlines()
        in_text, source, files = True, "", {}
        for number, row in enumerate(raw):
            if found := SECTION.match(row):
                in_text = (found[1] or found[2]).removeprefix(".").startswith("text")
            elif found := FILE.match(row):
                files[found[1]] = str(PurePosixPath(found[2]) / found[3]) if found[3] else found[2]
            elif not in_text:
                continue
            elif found := LOCATION.match(row):
                source = f"{files.get(found[1], '?')}:{found[2]}"
            elif found := ALIGN.match(row):
                self._align(1 << int(found[1]), source)
            elif found := LABEL.match(row):
                self._check_label(found[1])
                source = ""
            elif found := INSTRUCTION.match(row):
                self._instruction(found[1].strip(), found[2], raw[number + 1 : number + 4], source)
        return self.lines

    def _instruction(self, text: str, encoding: str, following: list[str], source: str) -> None:
        parts = encoding.split(",")
        if not self._is_here(parts) and self._bytes(self.at, 4) == PADDING:
            self._pad(source)  # GPUs that cannot branch over 64 words: the assembler puts one more after the branch
        if not self._is_here(parts):
            raise self._differs(text)
        actual = self._bytes(self.at, len(parts))
        words = struct.unpack(f"<{len(actual) // 4}I", actual)
        for row in following:
            fixup = FIXUP.match(row)
            if not fixup:
                break
            text = text.replace(fixup[2], _resolved(fixup[3], words, int(fixup[1])))
        self.lines[self.at] = line_of(self.at, text, words, source)
        self.at += len(actual)

    def _align(self, step: int, source: str) -> None:
        """What stands between is executed if control runs into it."""
        end = min(-(-self.at // step) * step, self.last)
        while self.at < end and self._bytes(self.at, 4) == PADDING:
            self._pad(source)
        self.at = end  # other padding follows the last instruction

    def _pad(self, source: str) -> None:
        self.lines[self.at] = line_of(self.at, "s_nop 0", struct.unpack("<I", PADDING), source)
        self.at += 4

    def _is_here(self, parts: list[str]) -> bool:
        """Whether the bytes that the assembler knows are those of the code object."""
        actual = self._bytes(self.at, len(parts))
        known = [(int(p, 0), b) for p, b in zip(parts, actual) if p.startswith("0x")]
        return len(actual) == len(parts) and all(wanted == found for wanted, found in known)

    def _check_label(self, name: str) -> None:
        symbol = self.code_object.symbols.get(name)
        if symbol and symbol[0] != self.at:
            raise self._differs(f"{name} stands at {symbol[0]:#x}")

    def _bytes(self, address: int, count: int) -> bytes:
        for start, offset, size, _ in self.code_object.segments:
            if start <= address and address + count <= start + size:
                return self.code_object.data[offset + address - start :][:count]
        return b""

    def _differs(self, what: str) -> HfcError:
        return HfcError(
            f"the kept assembly is not that of the code object: at {self.at:#x}, {what}",
            hint="remove the cache folder that `hfc doctor` names",
        )


def _resolved(kind: str, words: tuple[int, ...], offset: int) -> str:
    """The number that the linker put where the text has a name."""
    word = words[offset // 4]
    return str(word & 0xFFFF) if kind == BRANCH else hex(word)


def _assemble(assembly: bytes) -> bytes:
    """The listing with encodings, by ziglang's clang."""
    target = TARGET.search(assembly[:4096].decode(errors="replace"))
    if not target:
        raise HfcError("the assembly names no AMD GPU")
    command = [zig_program(), "clang", "-cc1as", "-triple", "amdgcn-amd-amdhsa", "-target-cpu", target[1]]
    with tempfile.TemporaryDirectory(prefix="hfc-") as folder:
        path = Path(folder) / "kernel.s"
        path.write_bytes(assembly)
        done = subprocess.run(
            [*command, "-show-encoding", "-filetype", "asm", "-o", "-", str(path)],
            capture_output=True,
            env=compiler_environment(),
        )
    if done.returncode:
        raise HfcError(
            f"the assembly cannot be read again\n{done.stderr.decode(errors='replace').strip()[:500]}",
            hint="is the package ziglang installed?",
        )
    return done.stdout
