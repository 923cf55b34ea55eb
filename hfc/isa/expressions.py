"""Expressions of AMD's pseudocode -> typed C expressions (ctype.Value), and what an instruction reads."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import field, replace
from functools import cache
from pathlib import Path

from lark import Lark, Token, Tree

from hfc.base.dataclass import dataclass
from hfc.isa.ctype import FLOAT_CONSTANTS, CValue, Untranslatable, convert, integer, parse_type, raw, reinterpret
from hfc.isa.functions import call_builtin

SOURCES = ("S0", "S1", "S2")
STATE = {
    "SCC": CValue("e->scc", "u", 1),
    "M0": CValue("e->m0", "u", 32),
    "SIMM16": CValue("(u32)e->simm", "u", 32),
    "SIMM32": CValue("(u32)e->simm", "u", 32),
    "OPSEL": CValue("e->op_sel", "u", 32),
    "OPSEL_HI": CValue("e->op_sel_hi", "u", 32),
    "NEG": CValue("e->neg", "u", 32),
    "EXEC": CValue("e->exec", "u", 64),
    "EXEC_LO": CValue("(u32)e->exec", "u", 32),
    "VCC": CValue("e->vcc", "u", 64),
    "laneId": CValue("(u32)l", "u", 32),
    "PI": CValue("3.14159265358979323846", "f", 64),
}
LANE_MASKS = {"VCC": "carry", "D0": "mask", "D1": "carry", "EXEC": "exec"}
IGNORED = ("TRAPSTS", "WAVE_STATUS")


@cache
def grammar() -> Lark:
    return Lark((Path(__file__).parent / "pcode.lark").read_text(), parser="lalr", maybe_placeholders=False)


@dataclass
class Variable:
    kind: str
    bits: int
    size: int = 0


@dataclass
class Expressions:
    """Reads expressions; pcode.Translator adds statements, and calls of lambdas and instructions, whose bodies are
    statements. `lookup` gives the pseudocode of a called instruction."""

    name: str
    lookup: Callable[[str], str]
    variables: dict[str, Variable] = field(default_factory=dict)
    bound: list[dict[str, CValue]] = field(default_factory=list)
    lambdas: dict[str, tuple[list[str], Tree]] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)  # source -> bits
    formats: dict[str, str] = field(default_factory=dict)
    called: dict[str, str] = field(default_factory=dict)  # instruction -> C of its inline form
    given: list[CValue] = field(default_factory=list)
    effects: set[str] = field(default_factory=set)
    dst_bits: int = 0  # written
    read_bits: int = 0  # of D0
    dst_format: str = ""
    reads_old: bool = False
    depth: int = 0
    labels: int = 0

    # -- expressions

    @property
    def d0_bits(self) -> int:
        """Width of the C variable D0."""
        return 64 if max(self.dst_bits, self.read_bits) > 32 else 32

    def read(self, tree: Tree) -> CValue:
        return getattr(self, f"get_{tree.data}", self._unknown)(*tree.children)

    def get_number(self, token: Token) -> CValue:
        if "." in token:
            return CValue(
                token.rstrip("F") + ("f" if token.endswith("F") else ""), "f", 32 if token.endswith("F") else 64
            )
        digits = re.sub(r"[ULF]+$", "", token) if not token.startswith("0x") else re.sub(r"[UL]+$", "", token)
        return integer(
            int(digits, 0), "u" if "U" in token else "i", 64 if "LL" in token or int(digits, 0) > 0xFFFFFFFF else 32
        )

    def get_sized(self, token: Token) -> CValue:
        bits, text = token.split("'")
        text = text.rstrip("U") if not text.startswith("0x") else re.sub(r"[UL]+$", "", text)
        if "." in text:
            return convert(CValue(text, "f", 64), "f", int(bits))
        if int(bits) > 64:
            raise Untranslatable(f"{self.name}: numbers of {bits} bits")
        return replace(
            integer(int(text, 0), "u" if token.endswith("U") or "0x" in token else "i", 64 if int(bits) > 32 else 32),
            bits=int(bits),
        )

    def get_name(self, token: Token) -> CValue:
        name = str(token)
        for scope in reversed(self.bound):
            if name in scope:
                return scope[name]
        if name in SOURCES:
            return CValue(name, "u", self._use(name, 32))
        if name in ("D0", "D"):
            self.reads_old = True
            self.read_bits = max(self.read_bits, 32)
            return CValue("D0", "u", self.d0_bits)
        if name in self.variables:
            variable = self.variables[name]
            return CValue(f"v_{name}", variable.kind, variable.bits)
        if name in STATE:
            return STATE[name]
        if name in FLOAT_CONSTANTS:
            return FLOAT_CONSTANTS[name]
        raise Untranslatable(f"{self.name}: {name} is not known")

    def get_member(self, base: Tree, token: Token) -> CValue:
        name, type_ = str(base.children[0]) if base.data == "name" else "", str(token)
        if name == "WAVE_MODE" and type_ == "IEEE":
            return CValue("(e->mode >> 9 & 1)", "u", 1)
        if name in FLOAT_CONSTANTS:
            return convert(FLOAT_CONSTANTS[name], *parse_type(type_))
        if name == "DENORM":
            return CValue("DENORM", "denorm", parse_type(type_)[1])
        bits = parse_type(type_)[1]
        root = self._path(base)[0] if base.data in ("name", "range") else ""
        if root in SOURCES and not any(root in scope for scope in self.bound):
            self._use(root, bits if base.data == "name" else 32, type_)
        if name in ("D0", "D"):
            self.read_bits, self.reads_old = max(self.read_bits, bits), True
            return reinterpret(CValue("D0", "u", self.d0_bits), type_)
        return reinterpret(self.read(base), type_)

    def get_element(self, base: Tree, index: Tree) -> CValue:
        root, steps = self._path(base)
        if root in ("VCC", "D0") and self._is_lane(index):
            self.effects.add("carry_in")
            return CValue("((u32)(e->carry_in >> l) & 1)", "u", 1)
        variable = self.variables.get(root)
        if variable and variable.size and not steps:
            return CValue(f"v_{root}[{self.read(index).code}]", variable.kind, variable.bits)
        value, place = self.read(base), self.read(index)
        return CValue(f"((u32)({raw(value, 64).code} >> ({place.code})) & 1)", "u", 1)

    def get_range(self, base: Tree, high: Tree, low: Tree) -> CValue:
        return self._bits(base, ("range", high, low))

    def get_width(self, base: Tree, low: Tree, width: Tree) -> CValue:
        return self._bits(base, ("width", low, width))

    def _bits(self, base: Tree, place: tuple) -> CValue:
        low, width = self._place(place)
        root = self._path(base)[0]
        if root in SOURCES and low.isdigit() and width.isdigit():
            self._use(root, int(low) + int(width))
        value = self.read(base)
        if width == "reversed":
            return CValue(f"reversed_bits({raw(value, 64).code}, {value.bits})", "u", value.bits)
        if not width.isdigit():
            return CValue(f"(({raw(value, 64).code} >> ({low})) & bits_mask({width}))", "u", 64)
        bits = int(width)
        code = f"({raw(value, 64 if value.bits > 32 else 32).code} >> ({low}))"
        return CValue(f"((u{64 if bits > 32 else 32}){code} & {_mask(bits)})", "u", bits)

    def _place(self, place: tuple) -> tuple[str, str]:
        """(low, width) as C; numbers where they are constant. [0 : 31] has width "reversed"."""
        if place[0] == "element":
            return self.read(place[1]).number(), "1"
        first, second = self.read(place[1]), self.read(place[2])
        if place[0] == "width":
            return first.number(), second.number()
        high, low = first.number(), second.number()
        if high.isdigit() and low.isdigit():
            return ("0", "reversed") if int(low) > int(high) else (low, str(int(high) - int(low) + 1))
        width = _constant_difference(high, low)
        return low, width or f"(({high}) - ({low}) + 1)"

    def get_call(self, name: Token, *arguments: Tree) -> CValue:
        name = str(name)
        if name in self.lambdas:
            return self._call_lambda(name, [self.read(a) for a in arguments])
        if name.startswith("v_"):
            return self._call_instruction(name, [self.read(a) for a in arguments])
        if name in ("isNAN", "isSignalNAN", "isQuietNAN") and arguments[0].data == "cast":
            arguments = (arguments[0].children[1],)  # the cast to f64 would quiet a signalling NaN
        return call_builtin(self.name, name, [self.read(a) for a in arguments])

    def get_cast(self, type_: Token, inner: Tree) -> CValue:
        kind, bits = parse_type(type_)
        value = self.read(inner)
        if kind == "f":
            return convert(value, "f", bits) if value.kind == "f" else reinterpret(value, f"f{bits}")
        return convert(raw(value, value.bits) if value.kind == "f" else value, kind, bits)

    def get_concat(self, *parts: Tree) -> CValue:
        values = [self.read(p) for p in parts]
        total = sum(v.bits for v in values)
        wide, shift, codes = 64 if total > 32 else 32, total, []
        if total > 64:
            raise Untranslatable(f"{self.name}: lists of {total} bits")
        for value in values:
            shift -= value.bits
            codes.append(f"((u{wide})({raw(value, wide).code} & {_mask(value.bits)}) << {shift})")
        return CValue("(" + " | ".join(codes) + ")", "u", total)

    def get_choose(self, condition: Tree, yes: Tree, no: Tree) -> CValue:
        test, a, b = self.read(condition), self.read(yes), self.read(no)
        kind = "f" if "f" in (a.kind, b.kind) else "u" if "u" in (a.kind, b.kind) else a.kind
        bits = max(a.bits, b.bits)
        a, b = (convert(v, kind, bits) for v in (a, b))
        return CValue(f"({test.truth()} ? {a.code} : {b.code})", kind, bits)

    def get_power(self, base: Tree, exponent: Tree) -> CValue:
        value = self.read(base)
        if value.kind != "f" or float(value.code.rstrip("f")) != 2.0:
            raise Untranslatable(f"{self.name}: a power of something else than 2")
        return call_builtin(
            self.name, "ldexp", [replace(value, code=value.code.replace("2.0", "1.0")), self.read(exponent)]
        )

    def get_unary(self, operator: Token, operand: Tree) -> CValue:
        value = self.read(operand)
        zero = operand.data == "number" and float(operand.children[0].rstrip("F")) == 0 if operator in "+-" else False
        if operator == "+":
            return replace(value, sign=int(zero))
        if operator == "-":
            kind = "i" if value.kind == "u" and value.is_literal else value.kind
            return replace(
                convert(value, kind, value.bits if value.kind == "f" else max(32, value.bits)), sign=-int(zero)
            ).map("(-{})")
        if operator == "!":
            return CValue(f"(!{value.truth()})", "u", 1)
        bits = max(value.bits, 1)
        value = raw(value, bits) if value.kind == "f" else value
        return CValue(f"((u{64 if bits > 32 else 32})~({value.code}) & {_mask(bits)})", "u", bits)

    def get_binary(self, left: Tree, operator: Token, right: Tree) -> CValue:
        return self.arithmetic(str(operator), self.read(left), self.read(right))

    def arithmetic(self, operator: str, a: CValue, b: CValue) -> CValue:
        if operator in ("||", "&&"):
            return CValue(f"({a.truth()} {operator} {b.truth()})", "u", 1)
        if operator in ("==", "!=", "<>", "<", ">", "<=", ">="):
            return self._compare(operator, a, b)
        if operator in ("<<", ">>"):
            return _shift(operator, a, b)
        if "f" in (a.kind, b.kind) and operator in "+-*/":
            bits = max(v.bits for v in (a, b) if v.kind == "f")
            a, b = convert(a, "f", bits), convert(b, "f", bits)
            return convert(CValue(f"({a.code} {operator} {b.code})", "f", bits), "f", bits)
        bits = max(32, a.bits, b.bits)
        bits = 128 if bits > 64 else 64 if bits > 32 else 32
        kind = (
            "u"
            if any(v.kind != "i" and v.bits >= min(bits, 32) or v.kind != "i" and not v.is_literal for v in (a, b))
            else "i"
        )
        if bits == 64 and any(v.kind == "i" and v.bits == 64 for v in (a, b)):
            kind = "i" if not any(v.kind == "u" and v.bits == 64 for v in (a, b)) else "u"
        a, b = (
            convert(raw(a, a.bits) if a.kind == "f" else a, kind, bits),
            convert(raw(b, b.bits) if b.kind == "f" else b, kind, bits),
        )
        return CValue(f"({a.code} {operator} {b.code})", kind, bits)

    def _compare(self, operator: str, a: CValue, b: CValue) -> CValue:
        if b.kind == "denorm":
            return CValue(f"is_denormal_f{a.bits}({a.code})", "u", 1)
        if b.sign and b.kind == "f" and operator == "==":
            return CValue(
                f"({a.code} == 0 && {'!' if b.sign > 0 else ''}__builtin_signbit({a.code}))", "u", 1
            )  # +0 and -0 differ
        if "f" in (a.kind, b.kind):
            bits = max(a.bits, b.bits)
            a, b = (convert(v, "f", bits) for v in (a, b))
            if operator == "<>":  # less or greater: not so for NaN
                return CValue(f"({a.code} < {b.code} || {a.code} > {b.code})", "u", 1)
        else:
            operator = "!=" if operator == "<>" else operator
            bits = max(32, a.bits, b.bits)
            kind = "i" if a.kind == "i" or (b.kind == "i" and not b.is_literal) else "u"
            if {a.kind, b.kind} == {"u", "i"} and not b.is_literal:
                bits = 64
            a, b = convert(a, kind, bits), convert(b, kind, bits)
        return CValue(f"({a.code} {operator} {b.code})", "u", 1)

    # -- places

    def _path(self, tree: Tree) -> tuple[str, list[tuple]]:
        """The root of S0.u32[4 : 0] and the steps from it: (member, type), (element, i), (range, hi, lo)."""
        if tree.data == "name":
            return str(tree.children[0]), []
        if tree.data not in ("member", "element", "range", "width"):
            return "", []
        root, steps = self._path(tree.children[0])
        step = (tree.data, str(tree.children[1])) if tree.data == "member" else (str(tree.data), *tree.children[1:])
        return root, [*steps, step]

    @staticmethod
    def _is_lane(tree: Tree) -> bool:
        return tree.data == "name" and str(tree.children[0]) == "laneId"

    def _use(self, source: str, bits: int, format_: str | None = None) -> int:
        self.used[source] = max(self.used.get(source, 0), 64 if bits > 32 else 32)
        if format_:
            self.formats.setdefault(source, format_)
        return self.used[source]


def _mask(bits: int) -> str:
    return f"0x{(1 << bits) - 1:x}" + ("ull" if bits > 32 else "u")


def _constant_difference(high: str, low: str) -> str | None:
    """[i * 8 + 7 : i * 8] has the constant width 8."""
    match = re.fullmatch(r"\(" + re.escape(low) + r" \+ (\d+)\)", high)
    return str(int(match[1]) + 1) if match else None


def _shift(operator: str, a: CValue, b: CValue) -> CValue:
    """Shifts by the width or more give 0 (or the sign), as the manuals mean and C does not."""
    kind, bits = a.kind if a.kind in "ui" else "u", 128 if a.bits > 64 else 64 if a.bits > 32 else 32
    a = convert(raw(a, a.bits) if a.kind == "f" else a, kind, bits)
    if bits == 128:
        return CValue(f"({a.code} {operator} {b.code})", kind, bits)
    small = b.is_literal and b.number().isdigit() and int(b.number()) < bits or b.bits <= (5 if bits == 32 else 6)
    name = {"<<": "left", ">>": "right"}[operator]
    if small:
        inner = f"((u{bits}){a.code} << {b.code})" if operator == "<<" else f"({a.code} >> {b.code})"
        return convert(CValue(inner, "u" if operator == "<<" else kind, bits), kind, bits)
    return CValue(f"shift_{name}_{kind}{bits}({a.code}, {b.code})", kind, bits)
