"""Every AMD code object of the cache, read by the assembler (hfc.isa.listing) and by llvm-objdump: they must be one.

    scripts/check -m long tests/isa && HFC_CACHE=... python scripts/compare_disassembly.py

Prints what differs by the form of the text, and the seconds that both took. Exit code 1 if an encoding or address differs.
"""

import re
import sys
import time
from collections import Counter

from hfc.base.assembly import kept_assembly
from hfc.base.cache import cache_folder
from hfc.isa.disassemble import disassemble_with_objdump
from hfc.isa.listing import lines_of_assembly


def code_objects() -> list[bytes]:
    return [data for path in sorted(cache_folder().rglob("*.hsaco")) if (data := path.read_bytes())[:4] == b"\x7fELF"]


def form(text: str) -> str:
    """The text without its numbers."""
    return re.sub(r"\b(0x[0-9a-f]+|\d+)\b|(?<=[vsa\[:])\d+", "N", text)


def main() -> int:
    listed_s = objdump_s = 0.0
    objects = instructions = 0
    different, texts, examples = 0, Counter(), {}
    for data in code_objects():
        assembly = kept_assembly(data)
        if assembly is None:
            continue
        start = time.perf_counter()
        ours = lines_of_assembly(data, assembly)
        listed_s += (middle := time.perf_counter()) - start
        theirs = {a: line for a, line in disassemble_with_objdump(data).items() if line.name != "s_code_end"}
        objdump_s += time.perf_counter() - middle
        objects += 1
        instructions += len(ours)
        last = max(ours, default=0)
        words = {a: line.words for a, line in ours.items()}
        different += words != {a: line.words for a, line in theirs.items() if a <= last}
        for address, line in ours.items():
            other = theirs.get(address)
            if other and (line.name, line.operands, line.modifiers) != (other.name, other.operands, other.modifiers):
                key = f"{form(line.text)}  |  {form(other.text)}"
                texts[key] += 1
                examples.setdefault(key, f"{line.text}  |  {other.text}")
    print(
        f"{objects} code objects, {instructions} instructions; listing {listed_s:.1f} s, llvm-objdump {objdump_s:.1f} s"
    )
    print(f"{different} with other addresses or encodings; {sum(texts.values())} instructions with another text:")
    for key, count in texts.most_common():
        print(f"{count:8} {examples[key]}")
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())
