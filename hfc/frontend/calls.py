"""Calls and operators of the model language on tensors -> ops of the IR."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError, Span, unknown
from hfc.formats.checkpoint.rope import PARAMETERS, alibi_slopes
from hfc.formats.recipe import Recipe, apply
from hfc.frontend.evaluate import show
from hfc.frontend.near import FORMS, OPERATORS
from hfc.ir.build import GraphBuilder
from hfc.ir.graph import SOURCES, Value
from hfc.ir.ops import OPS, definition
from hfc.ir.ops.experts import SCORES

SIZES = ("shape", "sizes")  # attributes that are lists
NO_LOGIT = -1e30  # of a sink: its e-th power is 0
TENSOR_OPERATORS = {"+": "add", "-": "sub", "*": "mul", "/": "div"}


@dataclass(frozen=True)
class Handle:
    """A state as the language sees it: the op that carries it on takes it as an operand and does not return it."""

    value: Value


class Operations:
    """Appends ops to a graph. A name is an IR op or one of a few functions composed of them."""

    def __init__(self, builder: GraphBuilder):
        self.builder = builder
        self._composed: dict[str, Callable[..., Any]] = {
            "attention": self._attention, "flatten": self._flatten, "rope_table": self._rope_table,
            "concat": self._concat, "delay": self._delay, "route": self._route, "gated_delta": self._gated_delta,
            "position_scale": self._position_scale, "alibi_slopes": self._alibi_slopes,
            "attend_entries": self._attend_entries,
        }  # fmt: skip
        ops = (kind for kind, op in OPS.items() if kind not in SOURCES and not op.internal)
        self.names = tuple(dict.fromkeys((*self._composed, *ops)))

    def call(self, name: str, arguments: list, keywords: Mapping[str, Any], span: Span) -> Any:
        """One result, or the list of results; the new value of a state is recorded and not returned."""
        if name in self._composed:
            return self._call_composed(name, arguments, keywords, span)
        return self._call_op(name, arguments, keywords, span)

    def _call_op(self, name: str, arguments: list, keywords: Mapping[str, Any], span: Span) -> Any:
        spec = definition(name)
        operands = spec.operand_names
        bound = _bind(name, (*operands, *spec.attrs), arguments, keywords, span)
        given = [(_tensor(name, n, bound.pop(n), span), way) for n, way in zip(operands, spec.reads) if n in bound]
        inputs = [self.builder.latest(value, read_only=way == "cache") for value, way in given]
        attrs = {n: _plain(name, n, value, span) for n, value in bound.items()}
        try:
            results = self.builder.op(name, *inputs, span=span, **attrs)
        except (TypeError, ValueError, IndexError):  # a type rule met a rank that it cannot even look at
            found = ", ".join(str(value.type) for value in inputs)
            raise HfcError(f"{name}: {found} do not fit; it is: {spec.doc.splitlines()[0]}", span) from None
        if not isinstance(results, tuple):
            return results
        kept = [r for at, r in enumerate(results) if not spec.state or at != spec.state[1]]
        return kept[0] if len(kept) == 1 else kept

    def arithmetic(self, operator: str, left: Any, right: Any, span: Span) -> Value:
        """A tensor and a number, or two tensors."""
        if operator not in TENSOR_OPERATORS:
            raise HfcError(f"tensors have no operator {operator!r}; they have + - * /", span, OPERATORS.get(operator))
        if isinstance(left, Value) and isinstance(right, Value):
            return self.call(TENSOR_OPERATORS[operator], [left, right], {}, span)
        tensor, number = (left, right) if isinstance(left, Value) else (right, left)
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            hint = "null is a setting, or a weight, that this checkpoint lacks" if number is None else None
            raise HfcError(f"cannot compute {_shown(left)} {operator} {_shown(right)}", span, hint)
        if operator == "/" and tensor is right:
            everywhere = self.call("shift", [self.call("scale", [tensor, 0], {}, span), number], {}, span)
            return self.call("div", [everywhere, tensor], {}, span)
        if operator == "/" and number == 0:
            raise HfcError(f"cannot compute {_shown(left)} / {_shown(right)}", span)
        if operator == "-":
            minuend = tensor if tensor is left else self.call("neg", [tensor], {}, span)
            return self.call("shift", [minuend, -number if tensor is left else number], {}, span)
        if operator == "/":
            number = 1 / number
        return self.call("shift" if operator == "+" else "scale", [tensor, number], {}, span)

    def _call_composed(self, name: str, arguments: list, keywords: Mapping[str, Any], span: Span) -> Any:
        function = self._composed[name]
        signature = inspect.signature(function).parameters
        parameters = {n: p for n, p in signature.items() if p.kind is p.POSITIONAL_OR_KEYWORD}
        is_open = any(p.kind is p.VAR_KEYWORD for p in signature.values())
        bound = _bind(name, (*parameters, *(keywords if is_open else ())), arguments, keywords, span)
        for parameter in parameters.values():
            if parameter.default is parameter.empty and parameter.name not in bound:
                raise HfcError(f"{name} takes ({', '.join(parameters)}); {parameter.name} is missing", span)
        return function(**bound, span=span)

    def _attention(
        self, q: Any, k: Any, v: Any, kv: Any, scale: Any, window: Any = 0, softcap: Any = 0.0, causal: Any = True, first: Any = 0,
        sinks: Any = None, slopes: Any = None, *, span: Span,
    ) -> Value:  # fmt: skip
        """Write k and v into the cache, then attend: kv_append and attend."""
        if not isinstance(kv, Handle):
            raise HfcError("attention: kv must be a state: state kv = kv_cache(kv_heads, head)", span)
        cache = self.call("kv_append", [kv, k, v], {}, span)
        attrs = {"scale": scale, "window": window, "softcap": softcap, "causal": causal, "first": first}
        if slopes is not None and sinks is None:
            sinks = self._no_sinks("attention", q, span)
        vectors = [vector for vector in (sinks, slopes) if vector is not None]
        return self.call("attend", [q, cache, *vectors], attrs, span)

    def _no_sinks(self, function: str, q: Any, span: Span) -> Value:
        """Operands are left out from the last one on: in place of one before, logits that weigh nothing."""
        return self._numbers([NO_LOGIT] * _tensor(function, "q", q, span).type.size(1), span)

    def _attend_entries(
        self, q: Any, kv: Any, entries: Any, sinks: Any = None, chosen: Any = None, scale: Any = None, window: Any = 0, *,
        span: Span,
    ) -> Value:  # fmt: skip
        """The op, whose sinks may be null where positions are chosen."""
        if chosen is not None and sinks is None:
            sinks = self._no_sinks("attend_entries", q, span)
        more = [value for value in (sinks, chosen) if value is not None]
        return self._call_op("attend_entries", [q, kv, entries, *more], {"scale": scale, "window": window}, span)

    def _alibi_slopes(self, heads: Any, most: Any = 8, bf16: Any = False, *, span: Span) -> Value:
        """A slope for each head of ALiBi, f32 [heads]; see formats.checkpoint.rope."""
        if (
            type(heads) is not int
            or heads < 1
            or isinstance(most, bool)
            or not isinstance(most, (int, float))
            or most <= 0
        ):
            raise HfcError(
                f"alibi_slopes takes a number of heads and one above 0, found {_shown(heads)}, {_shown(most)}", span
            )
        return self._numbers(alibi_slopes(heads, most, bool(bf16)).tolist(), span)

    def _numbers(self, numbers: list[float], span: Span) -> Value:
        """A vector of constants."""
        return self.builder.const(apply("repeat", rows=1, values=tuple(numbers)), (len(numbers),), span)

    def _route(
        self, logits: Any, top: Any, normalize: Any = True, score: Any = "softmax", bias: Any = None, groups: Any = 1,
        top_groups: Any = 1, group_best: Any = 1, scale: Any = 1.0, eps: Any = 0.0, jitter: Any = 0.0, *, span: Span,
    ) -> list[Value]:  # fmt: skip
        """The op, whose only other tensor may be null: [shares, numbers of the chosen experts]."""
        if not isinstance(score, str):
            raise HfcError(f"route: score must be a word, one of {', '.join(SCORES)}, found {_shown(score)}", span)
        operands = [_tensor("route", "logits", logits, span)]
        operands += [_tensor("route", "bias", bias, span)] if bias is not None else []
        numbers = {"top": top, "groups": groups, "top_groups": top_groups, "group_best": group_best}
        for name, number in numbers.items():
            if type(number) is not int:
                raise HfcError(f"route: {name} must be a whole number, found {_shown(number)}", span)
        factors = {"normalize": normalize, "scale": scale, "eps": eps, "jitter": jitter}
        factors = {name: _plain("route", name, value, span) for name, value in factors.items()}
        return list(self.builder.op("route", *operands, span=span, score=score, **numbers, **factors))

    def _concat(self, parts: Any, *, span: Span) -> Value:
        """The last axes of several tensors, one after the other."""
        if not isinstance(parts, (list, tuple)) or not parts:
            raise HfcError(f"concat takes a list of tensors, found {_shown(parts)}", span)
        values = [_tensor("concat", "a part", part, span) for part in parts]
        return functools.reduce(lambda x, y: self.builder.op("concat", x, y, span=span), values)

    def _gated_delta(
        self, q: Any, k: Any, v: Any, g: Any, beta: Any, memory: Any, tiled: Any = False, *, span: Span
    ) -> Value:
        """The recurrence that corrects what the state holds for k."""
        return self.call("linear_recurrence", [q, k, v, g, beta, memory], {"delta": True, "tiled": tiled}, span)

    def _delay(self, x: Any, window: Any, *, span: Span) -> Value:
        """The row before; `window`, a state f32[size, 1], keeps the last one for the next step's first row."""
        x = _tensor("delay", "x", x, span)
        recipe = apply("repeat", rows=x.type.shape[-1], values=(1.0, 0.0))
        weights = self.builder.const(recipe, (x.type.shape[-1], 2), span)
        return self.call("causal_conv", [x, weights, window], {}, span)

    def _flatten(self, x: Any, *, span: Span) -> Value:
        """[T, a, b] -> [T, a * b]"""
        sizes = _tensor("flatten", "x", x, span).type.shape[1:]
        return self.call("reshape", [x, [math.prod(sizes)]], {}, span)

    def _rope_table(
        self, rotary: Any, theta: Any, divisors: Any = None, kind: Any = "default", *, span: Span, **scaling: Any
    ) -> Value:
        """cos | sin of position * theta ** (-2j / rotary) / divisors[j], f32 [C, rotary]; see formats.checkpoint.rope.

        divisors: null, a number, a weight (llama.cpp's rope_freqs), or [short, long], two weights, for longrope.  kind: what `rope_scaling` found, null, or a kind with its
        parameters beside it, named as in config.json's rope_parameters; a null parameter counts as not given."""
        if kind is None or isinstance(kind, tuple):
            record = {"kind": "default", **dict(kind or ())}
            kind = record.pop("kind")
            scaling = {**record, **{name: value for name, value in scaling.items() if value is not None}}
        is_number = isinstance(theta, (int, float)) and theta > 0
        if type(rotary) is not int or rotary < 2 or rotary % 2 or not is_number:
            found = f"{_shown(rotary)} and {_shown(theta)}"
            raise HfcError(f"rope_table takes an even size and a number above 0, found {found}", span)
        if not isinstance(kind, str) or kind not in PARAMETERS:
            raise unknown("RoPE scaling", kind, PARAMETERS, span)
        given = {
            n: v if isinstance(v, tuple) else _plain("rope_table", n, v, span)
            for n, v in scaling.items()
            if v is not None
        }
        for name in given:
            if name not in PARAMETERS[kind]:
                raise unknown(f"parameter of {kind} RoPE", name, PARAMETERS[kind], span)
        recipes: tuple[Recipe, ...] = ()
        if isinstance(divisors, Value):
            recipes = (self._weight_recipe(divisors, span),)
        elif isinstance(divisors, (list, tuple)):
            recipes = self._short_and_long(divisors, kind, span)
        elif divisors is not None:
            given["divisors"] = float(_plain("rope_table", "divisors", divisors, span))
        if kind != "default":
            given = {"kind": kind, **given}
        recipe = apply("rope_table", *recipes, rotary=rotary, theta=float(theta), **given)
        return self.builder.const(recipe, ("C", rotary), span)

    def _short_and_long(self, divisors: Any, kind: str, span: Span) -> tuple[Recipe, ...]:
        """The recipes of longrope's two lists; none where the checkpoint has none."""
        given = [value for value in divisors if value is not None]
        if not given:
            return ()
        if len(given) != 2 or kind != "longrope" or not all(isinstance(value, Value) for value in given):
            raise HfcError("rope_table: [short, long] are two weights, and the scaling is longrope", span)
        return tuple(self._weight_recipe(value, span) for value in given)

    def _position_scale(self, x: Any, beta: Any, period: Any, offset: Any = 0, *, span: Span) -> Value:
        """x times 1 + beta ln(1 + floor((position + offset) / period)): scores that keep their sharpness over long contexts."""
        x = _tensor("position_scale", "x", x, span)
        numbers = {"beta": beta, "period": period, "offset": offset}
        for name, value in numbers.items():
            if (
                isinstance(value, bool)
                or not isinstance(value, (int, float))
                or (name != "beta" and value < (name == "period"))
            ):
                raise HfcError(
                    f"position_scale: {name} must be a number, of a period above 0, found {_shown(value)}", span
                )
        table = self.builder.const(apply("position_scale", **numbers), ("C", 1), span)
        return self.builder.op("position_scale", x, table, span=span)

    def _weight_recipe(self, value: Value, span: Span) -> Recipe:
        source = next(op for op in self.builder.graph.ops if value in op.outputs)
        if not source.is_weight:
            raise HfcError("rope_table: divisors must be null, a number or a weight", span)
        return source.attrs["recipe"]


def _bind(
    function: str, names: tuple[str, ...], arguments: list, keywords: Mapping[str, Any], span: Span
) -> dict[str, Any]:
    """Names -> values: keywords first, the other values fill what is left, in order."""
    for key in keywords:
        if key not in names:
            raise unknown(f"argument of {function}", key, names, span)
    free = [n for n in names if n not in keywords]
    if len(arguments) > len(free):
        got = f"{function} takes ({', '.join(names)}), got {len(arguments) + len(keywords)} values"
        raise HfcError(got, span, FORMS.get(function))
    return {**dict(zip(free, arguments)), **keywords}


def _tensor(function: str, name: str, value: Any, span: Span) -> Value:
    if isinstance(value, Handle):
        return value.value
    if isinstance(value, Value):
        return value
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    hint = (
        f"a tensor that is {_shown(value)} in every row: mean(x) * 0 + {_shown(value)}, f32 [T, 1]"
        if is_number
        else None
    )
    raise HfcError(f"{function}: {name} must be a tensor, found {_shown(value)}", span, hint)


def _plain(function: str, name: str, value: Any, span: Span) -> Any:
    """An attribute: a number, or a tuple of sizes."""
    if name in SIZES:
        if isinstance(value, (list, tuple)) and all(type(size) is int and size > 0 for size in value):
            return tuple(value)
        raise HfcError(f"{function}: {name} must be a list of whole numbers above 0, found {_shown(value)}", span)
    if isinstance(value, (bool, int, float)):
        return value
    raise HfcError(f"{function}: {name} must be a number, found {_shown(value)}", span)


def _shown(value: Any) -> str:
    if isinstance(value, Handle):
        return f"the state {value.value.type}"
    return str(value.type) if isinstance(value, Value) else show(value)
