"""AMD's instruction pseudocode -> a C function that runs one instruction on every lane of a wave.

The pseudocode is that of the published ISA manuals (grammar: pcode.lark). `S0`..`S2` are sources, `D0` the destination,
`VCC.u64[laneId]` a lane's carry or condition; a type after a dot says how bits are read. The C function has the form

    void NAME(u32 *D, const u32 *A, const u32 *B, const u32 *C, const u32 *O, Env *e)

A, B, C: sources, O: the destination before, D: the destination; each is rows of WAVE lanes, row 1 holds bits 32-63.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lark import Token, Tree
from lark.exceptions import LarkError

from hfc.base.dataclass import dataclass
from hfc.isa.ctype import CValue, Untranslatable, convert, parse_type, raw, reinterpret
from hfc.isa.expressions import IGNORED, LANE_MASKS, SOURCES, STATE, Expressions, Variable, grammar


@dataclass(frozen=True)
class InstructionFacts:
    """What lowering needs to know of an instruction.

    rows: 32-bit rows of S0, S1, S2 that it reads (0: none).  formats: how it first reads each ("f16", "u32").
    dst_bits: 0, 16, 32 or 64.  reads_old: it needs the destination's previous value.
    carry_in, carry_out: it reads / writes a lane mask beside its operands.  mask: its destination is a lane mask.
    exec_out: it writes EXEC.  immediate: one of its operands is a constant in the instruction itself.
    """

    name: str
    rows: tuple[int, int, int]
    formats: tuple[str, str, str]
    dst_bits: int
    dst_format: str
    reads_old: bool
    carry_in: bool
    carry_out: bool
    mask: bool
    exec_out: bool
    immediate: bool


@dataclass(frozen=True)
class PcodeFunction:
    """A translated instruction: C in `code`, and in `helpers` the inline forms of instructions that it calls, in order."""

    facts: InstructionFacts
    code: str
    helpers: dict[str, str]


def translate(name: str, text: str, lookup: Callable[[str], str]) -> PcodeFunction:
    """`lookup` gives the pseudocode of another instruction that `text` calls. Raises Untranslatable."""
    try:
        tree = grammar().parse(text)
    except LarkError as error:
        raise Untranslatable(f"{name}: {str(error).splitlines()[0]}") from None
    return Translator(name, lookup).function(tree, immediate="SIMM" in text)


@dataclass
class Translator(Expressions):
    """Statements -> lines of C."""

    def function(self, tree: Tree, immediate: bool) -> PcodeFunction:
        body = self.block(tree.children[0])
        first, second, third = ((self.used.get(s, 0) + 31) // 32 for s in SOURCES)
        rows = (first, second, third)
        code = f"{self._inline(body, rows)}\n{self._loop(rows)}"
        mask = "mask" in self.effects
        formats = [self.formats.get(s, "u32") for s in SOURCES]
        facts = InstructionFacts(
            name=self.name,
            rows=rows,
            formats=(formats[0], formats[1], formats[2]),
            dst_bits=0 if mask else self.dst_bits,
            dst_format=self.dst_format,
            reads_old=self.reads_old,
            carry_in="carry_in" in self.effects,
            carry_out="carry" in self.effects,
            mask=mask,
            exec_out="exec" in self.effects,
            immediate=immediate,
        )
        return PcodeFunction(facts, code, self.called)

    def _inline(self, body: list[str], rows: tuple[int, ...]) -> str:
        """The body as a function of one lane; returns D0. Lane masks leave through pointers."""
        sources = ", ".join(f"u{64 if n > 1 else 32} {s}" for s, n in zip(SOURCES, rows))
        old = f"u{self.d0_bits}"
        state = f"{old} D0, int l, Env *e, u64 *mask, u64 *carry, u64 *exec"
        head = f"SHARED {old} lane_{self.name}({sources}, {state}) {{"
        local = [
            f"  {v.ctype} v_{n}{f'[{v.size}]' if v.size else ''}{' = {0}' if v.size else ' = 0'};"
            for n, v in self._declared()
        ]
        if "S" in self.variables:
            local.append("  v_S[0] = S0; v_S[1] = S1; v_S[2] = S2;")
        return "\n".join([head, *local, *("  " + line for line in body), "  return D0;", "}"])

    def _loop(self, rows: tuple[int, ...]) -> str:
        """The function of the whole wave."""
        load = [f"{p}[l] | (u64){p}[WAVE + l] << 32" if n > 1 else f"{p}[l]" if n else "0" for p, n in zip("ABC", rows)]
        wide = self.dst_bits == 64
        old = "0" if not self.reads_old else "O[l] | (u64)O[WAVE + l] << 32" if wide else "O[l]"
        arguments = ", ".join([*load, old])
        store = ["    D[l] = (u32)r;"] if self.dst_bits and "mask" not in self.effects else []
        if store and wide:
            store.append("    D[WAVE + l] = (u32)(r >> 32);")
        return "\n".join(
            [
                f"void {self.name}(u32 *D, const u32 *A, const u32 *B, const u32 *C, const u32 *O, Env *e) {{",
                "  u64 mask = 0, carry = 0, exec = 0;",
                "#pragma clang loop vectorize(assume_safety)",
                "  for (int l = 0; l < WAVE; l++) {",
                f"    u{self.d0_bits} r = lane_{self.name}({arguments}, l, e, &mask, &carry, &exec);",
                *(store or ["    (void)r;"]),
                "  }",
                "  e->mask_out = mask; e->carry_out = carry; e->exec_out = exec;",
                "}",
            ]
        )

    def _declared(self) -> list[tuple[str, "_CVariable"]]:
        return [(n, _CVariable(CValue("", v.kind, v.bits).ctype, v.size)) for n, v in self.variables.items()]

    # -- statements

    def block(self, tree: Tree) -> list[str]:
        return [line for statement in tree.children for line in self.statement(statement)]

    def statement(self, tree: Tree) -> list[str]:
        return getattr(self, f"do_{tree.data}", self._unknown)(*tree.children)

    def _unknown(self, *children) -> list[str]:
        raise Untranslatable(f"{self.name}: a construct that is not understood")

    def do_declare(self, name: Token, type_: Token, size: Token | None = None) -> list[str]:
        kind, bits = parse_type(type_)
        self.variables[str(name)] = Variable(kind, bits, int(size) if size else 0)
        if name == "S":
            for source in SOURCES:
                self._use(source, 32, "f32")
        return []

    def do_define(self, target: Tree, _assign: Token, names: Tree, body: Tree) -> list[str]:
        self.lambdas[str(target.children[0])] = ([str(n) for n in names.children], body)
        return []

    def do_branch(self, *children: Tree) -> list[str]:
        """Pairs of condition and block; a last block alone is the else."""
        lines: list[str] = []
        self.depth += 1
        for i in range(0, len(children) - 1, 2):
            lines += [
                f"{'} else ' if i else ''}if ({self.read(children[i]).code}) {{",
                *self._indented(children[i + 1]),
            ]
        if len(children) % 2:
            lines += ["} else {", *self._indented(children[-1])]
        self.depth -= 1
        return [*lines, "}"]

    def do_loop(self, name: Token, first: Tree, last: Tree, body: Tree) -> list[str]:
        start, end = self.read(first), self.read(last)
        self.variables.setdefault(str(name), Variable("i", 32))
        self.depth += 1
        lines = self._indented(body)
        self.depth -= 1
        return [f"for (v_{name} = {start.code}; v_{name} <= {end.code}; v_{name}++) {{", *lines, "}"]

    def do_leave(self) -> list[str]:
        return ["break;"]

    def do_give(self, value: Tree) -> list[str]:
        self.given.append(self.read(value))
        return [f"given = {self.given[-1].code}; goto done;"]

    def _indented(self, block: Tree) -> list[str]:
        return ["  " + line for line in self.block(block)]

    def do_assign(self, target: Tree, operator: Token, source: Tree) -> list[str]:
        if source.data == "chain":  # a = b = value
            inner = self.do_assign(*source.children)
            return inner + self._store(target, self.read(source.children[2]))
        if target.data == "concat":
            return self._store_concat(target, self.read(source))
        value = self.read(source)
        if operator != "=":
            value = self.arithmetic(str(operator)[:-1], self.read(target), value)
        return self._store(target, value)

    def _store_concat(self, target: Tree, value: CValue) -> list[str]:
        """{ D1.u1, D0.u64 } = 65 bits."""
        high, low = target.children
        if str(high.children[0].children[0]) != "D1" or str(low.children[0].children[0]) != "D0":
            raise Untranslatable(f"{self.name}: assignment to a list")
        self.effects.add("carry")
        self.dst_bits, self.dst_format = 64, "u64"
        return [
            f"unsigned __int128 both = (unsigned __int128)({value.code});",
            "D0 = (u64)both;",
            "*carry |= (u64)((u32)(both >> 64) & 1) << l;",
        ]

    def _store(self, target: Tree, value: CValue) -> list[str]:
        base, steps = self._path(target)
        if base in IGNORED:
            return []
        if base in LANE_MASKS and steps and steps[-1][0] == "element" and self._is_lane(steps[-1][1]):
            self.effects.add(LANE_MASKS[base])
            return [f"*{LANE_MASKS[base]} |= (u64)({value.truth()}) << l;"]
        if base == "SCC":
            return [f"e->scc = {value.truth()};"]
        if base == "EXEC":
            return [f"e->exec = {reinterpret(value, 'u32' if steps and steps[0][1] == 'u32' else 'u64').code};"]
        if base in STATE or base in ("SGPR", "VGPR", "PC", "D1", *SOURCES):
            raise Untranslatable(f"{self.name}: writes {base}")
        return self._store_value(base, steps, value)

    def _store_value(self, base: str, steps: list, value: CValue) -> list[str]:
        """To D0 or a variable: whole, a range of bits, one bit, or an element of an array."""
        name = "D0" if base in ("D0", "D") else f"v_{base}"
        type_ = next((s[1] for s in steps if s[0] == "member"), None)
        ranges = [s for s in steps if s[0] != "member"]
        if base not in ("D0", "D") and base not in self.variables:
            self._declare(base, value, type_, bool(ranges))
        variable = self.variables.get(base)
        if variable and variable.size:
            name, ranges, kind = (
                f"{name}[{self.read(ranges[0][1]).code}]",
                ranges[1:],
                CValue("", variable.kind, variable.bits),
            )
        else:
            kind = CValue("", variable.kind, variable.bits) if variable else None
        if not ranges:
            return self._store_whole(name, kind, type_, value)
        return self._store_bits(name, kind, ranges[0], type_, value)

    def _store_whole(self, name: str, kind: CValue | None, type_: str | None, value: CValue) -> list[str]:
        if kind is not None:
            value = reinterpret(value, type_) if type_ and not value.is_literal else value
            return [f"{name} = {convert(value, kind.kind, kind.bits).code};"]
        value = (
            reinterpret(convert(value, *parse_type(type_)), type_)
            if type_ and (value.kind == "f" or type_[0] in "fb") and self._is_number(value, type_)
            else reinterpret(value, type_ or f"u{64 if value.bits > 32 else 32}")
        )
        bits = 16 if value.bits <= 16 else 64 if value.bits > 32 else 32
        self.dst_bits, self.dst_format = max(self.dst_bits, bits), self.dst_format or type_ or f"u{bits}"
        self.reads_old |= self.depth > 0
        return [f"D0 = {raw(value, bits).code};"]

    @staticmethod
    def _is_number(value: CValue, type_: str) -> bool:
        """Is the assignment a change of value (f64 -> f32), not of meaning (bits -> f32)?"""
        return value.kind == "f" and type_[0] == "f"

    def _store_bits(self, name: str, kind: CValue | None, place: tuple, type_: str | None, value: CValue) -> list[str]:
        low, width = self._place(place)
        if type_ and type_[0] in "fb" and value.kind == "f":
            value = convert(value, *parse_type(type_)) if type_[0] == "f" else value
        elif type_ and place[0] == "range" and not value.is_literal and value.kind != "f":
            value = reinterpret(value, type_)
        high = int(low) + int(width) if low.isdigit() and width.isdigit() else (kind.bits if kind else self.d0_bits)
        if name == "D0":
            if width == "1" and type_ and type_[1:] == "64":
                high = 64
            self.dst_bits, self.dst_format = max(self.dst_bits, 64 if high > 32 else 32), self.dst_format or "u32"
            self.reads_old = True
        if width == "reversed":
            return [f"{name} = reversed_bits({raw(value, 64).code}, {high});"]
        number = raw(value, 64).code
        mask = f"bits_mask({width})"
        return [f"{name} = ({name} & ~({mask} << ({low}))) | ((({number}) & {mask}) << ({low}));"]

    def _declare(self, name: str, value: CValue, type_: str | None, ranged: bool) -> None:
        if ranged:
            self.variables[name] = Variable(
                "u",
                64
                if type_ and type_.endswith("64") or self.used.get("S0", 0) > 32
                else value.bits
                if value.bits > 32
                else 64,
            )
            return
        kind, bits = parse_type(type_) if type_ else (value.kind, value.bits)
        self.variables[name] = Variable(
            kind, bits if kind not in "ui" else 128 if bits > 64 else 64 if bits > 32 else 32
        )

    # -- calls of what has statements

    def _call_lambda(self, name: str, values: list[CValue]) -> CValue:
        names, body = self.lambdas[name]
        self.labels += 1
        scope = {n: replace(v, code=f"p{self.labels}_{n}", is_literal=False) for n, v in zip(names, values)}
        bind = " ".join(f"__auto_type p{self.labels}_{n} = {v.code};" for n, v in zip(names, values))
        self.bound.append(scope)
        if body.data == "body_value":
            result = self.read(body.children[0])
            self.bound.pop()
            return replace(result, code=f"({{ {bind} {result.code}; }})", is_literal=False)
        outer, self.given = self.given, []
        lines = " ".join(self.block(body.children[0]))
        given, self.given = self.given, outer
        self.bound.pop()
        bits = max(v.bits for v in given)
        kind = CValue("", given[0].kind, bits)
        return replace(kind, code=f"({{ __label__ done; {bind} {kind.ctype} given = 0; {lines} done:; given; }})")

    def _call_instruction(self, name: str, values: list[CValue]) -> CValue:
        """Another instruction's meaning, as an inline function of one lane."""
        inner = Translator(name, self.lookup)
        body = inner.block(grammar().parse(self.lookup(name)).children[0])
        rows = tuple((inner.used.get(s, 0) + 31) // 32 for s in SOURCES)
        self.called.update(inner.called)
        self.called[f"call_{name}"] = inner._inline(body, rows).replace(f"lane_{name}(", f"call_{name}(", 1)
        padded = [
            reinterpret(v, f) if v.kind != "f" else convert(v, *parse_type(f))
            for v, f in zip(values, (inner.formats.get(s, "u32") for s in SOURCES))
        ]
        codes = [raw(v, 64 if n > 1 else 32).code for v, n in zip(padded, rows)] + ["0"] * (3 - len(values))
        result = CValue(f"call_{name}({', '.join(codes)}, 0, l, e, mask, carry, exec)", "u", inner.d0_bits)
        return reinterpret(result, inner.dst_format)


@dataclass(frozen=True)
class _CVariable:
    ctype: str
    size: int
