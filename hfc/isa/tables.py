"""The instruction set of each family: name -> pseudocode -> C, and one shared library of all of it.

The pseudocode is AMD's, from the ISA manuals, as the PyPI package `tinygrad` carries it (tables `PCODE`).
"""

from __future__ import annotations

import ctypes
import importlib
import json
import re
import tempfile
from dataclasses import asdict
from functools import cache
from pathlib import Path

from hfc.base.cache import cached, key_of
from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.base.zig import compile_c
from hfc.isa.corrections import CORRECTIONS, clamped
from hfc.isa.ctype import Untranslatable
from hfc.isa.errors import Unsupported
from hfc.isa.pcode import InstructionFacts, translate

HERE = Path(__file__).parent
# family -> (manuals in order of preference, lanes of a wave). RDNA1 and 2 have no table of their own: RDNA3 has most of
# their instructions, and the CDNA manual the rest under the names that GCN used.
FAMILIES = {
    "rdna2": (("rdna3", "cdna"), 32),
    "rdna3": (("rdna3",), 32),
    "rdna4": (("rdna4",), 32),
    "cdna": (("cdna", "rdna3"), 64),
}
ALIASES = {
    "v_mad_mix_f32": "v_fma_mix_f32",
    "v_fma_legacy_f32": "v_fma_dx9_zero_f32",
    "v_fmac_legacy_f32": "v_fmac_dx9_zero_f32",
    "v_dot2c_f32_f16": "v_dot2acc_f32_f16",
}
SPELLINGS = (
    (r"^s_andn([12])_", {"1": "s_and_not0_", "2": "s_and_not1_"}),
    (r"^s_orn([12])_", {"1": "s_or_not0_", "2": "s_or_not1_"}),
)  # RDNA2 -> RDNA3
NOT_ALU = re.compile(
    r"mfma|smfmac|wmma|readlane|writelane|readfirstlane|permlane|movrel|swap|_idx_|getreg|setreg|_pc_|call_|branch|"
    r"barrier|waitcnt|sendmsg|trap|sleep|cvt_(pk_|sr_)?(f32_|f16_)?(fp8|bf8|fp6|bf6|fp4)|scalef32|bitop3|wakeup|ttrace"
)
FLAGS = ("-O2", "-ffp-contract=off", "-fno-strict-aliasing", "-fwrapv", "-fno-math-errno", "-w", "-shared", "-fPIC")


@dataclass(frozen=True)
class Meaning(InstructionFacts):
    """An instruction that can be called, by the address of its C function."""

    address: int


class Family:
    """All instructions of a family. `meaning(name)` raises Unsupported with the reason if one has no C form."""

    def __init__(self, name: str):
        manuals, self.wave = FAMILIES[name]
        self.name = name
        facts = json.loads(
            cached(key_of("facts", name, _manual_digest(manuals), _own_digest()), ".json", self._translate).read_text()
        )
        self.refused: dict[str, str] = facts["refused"]
        library = ctypes.CDLL(str(build("alu", facts["source"])))
        self.meanings = {
            n: Meaning(**_tuples(f), address=ctypes.cast(library[n], ctypes.c_void_p).value)
            for n, f in facts["functions"].items()
        }
        self._library = library  # keeps the functions mapped

    def meaning(self, name: str, clamp: bool = False) -> Meaning:
        key = f"{name}__clamp" if clamp else name
        found = self.meanings.get(key) or self.meanings.get(_alias(key))
        if found is None:
            reason = (
                "integer clamp of this instruction is not known"
                if clamp
                else self.refused.get(name, "no manual describes it")
            )
            raise Unsupported(f"{name}: {reason}")
        return found

    def _translate(self) -> bytes:
        """Every instruction as C; those without a C form keep the reason."""
        texts = pseudocode(self.name)
        texts |= {f"{n}__clamp": t for n in list(texts) if (t := clamped(n))}
        functions, refused, helpers, code = {}, {}, {}, []
        for name, text in texts.items():
            if NOT_ALU.search(name):
                continue
            try:
                function = translate(name, text, lambda called: _called(texts, called))
            except Untranslatable as error:
                refused[name] = str(error)
                continue
            functions[name] = asdict(function.facts)
            helpers.update(function.helpers)
            code.append(
                function.code
                if not is_scalar(name)
                else f"#undef WAVE\n#define WAVE 1\n{function.code}\n#undef WAVE\n#define WAVE {self.wave}"
            )
        head = f"#define WAVE {self.wave}\n{(HERE / 'semantics.h').read_text()}"
        source = "\n".join([head, *helpers.values(), *code]) + "\n"
        return json.dumps({"functions": functions, "refused": refused, "source": source}).encode()


def is_scalar(name: str) -> bool:
    """Does it run once for the wave, on SGPRs? (v_s_exp_f32 and its like do, on RDNA4.)"""
    return name.startswith(("s_", "v_s_"))


def _alias(name: str) -> str:
    for pattern, spelling in SPELLINGS:
        name = re.sub(pattern, lambda found: spelling[found[1]], name)
    return ALIASES.get(name, name)


def _called(texts: dict[str, str], name: str) -> str:
    if name not in texts:
        raise Untranslatable(f"calls {name}, which no manual describes")
    return texts[name]


def _tuples(facts: dict) -> dict:
    return facts | {"rows": tuple(facts["rows"]), "formats": tuple(facts["formats"])}


@cache
def family(name: str) -> Family:
    return Family(name)


def pseudocode(name: str) -> dict[str, str]:
    """Instruction -> pseudocode for a family: corrections first, then its manuals in order."""
    texts: dict[str, str] = {}
    for manual in FAMILIES[name][0]:
        for operation, text in _manual(manual).PCODE.items():
            if type(operation).__name__.startswith(("SOP", "VOP")):
                texts.setdefault(re.sub(r"_E(32|64)$", "", operation.name).lower(), text)
    return texts | {c.name: c.pseudocode for c in CORRECTIONS.values()}


def _manual(name: str):
    try:
        return importlib.import_module(f"tinygrad.runtime.autogen.amd.{name}.str_pcode")
    except ImportError as error:
        raise HfcError(
            "AMD's instruction pseudocode is missing: it comes in the Python package `tinygrad`",
            hint="pip install 'hfc[isa]'",
        ) from error


def _manual_digest(manuals: tuple[str, ...]) -> bytes:
    return b"".join(Path(_manual(m).__file__).read_bytes() for m in manuals)


@cache
def _own_digest() -> bytes:
    return b"".join(p.read_bytes() for p in sorted(HERE.iterdir()) if p.suffix in (".py", ".lark", ".h"))


def build(name: str, source: str) -> Path:
    """C -> shared library for this CPU, by the pip package ziglang; cached."""

    def make() -> bytes:
        with tempfile.TemporaryDirectory(prefix="hfc-") as folder:
            text, library = Path(folder) / f"{name}.c", Path(folder) / f"{name}.so"
            text.write_text(source)
            message = compile_c(text, library, (*FLAGS, "-mcpu=native"), ("-lm",))
            if message:
                raise HfcError(
                    f"the emulator's {name} does not compile\n{message.strip()[:2000]}",
                    hint="is the package ziglang installed?",
                )
            return library.read_bytes()

    return cached(key_of(name, " ".join(FLAGS), _cpu(), source), ".so", make)


@cache
def _cpu() -> str:
    """The CPU's features: libraries are built for it."""
    try:
        return next(
            (line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith(("flags", "Features"))),
            "",
        )
    except OSError:
        return ""
