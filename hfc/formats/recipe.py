"""A recipe says how a weight is made from checkpoint tensors when it is loaded. Pure data, kept in the plan as JSON.

Recipes that move rows (rows, pieces, every, join, join_columns, stack, half_split) work on quantized blocks as they are, transpose on plain numbers; the others
make f32.
"""

from __future__ import annotations

from typing import Any

from hfc.base.dataclass import dataclass

DRAFT_TENSORS = "draft:"  # before the names of a draft's tensors, where its weights lie beside those of its target


@dataclass(frozen=True)
class Recipe:
    """`op` with `args` (recipes) and `params` (numbers, strings).

    tensor(name)                     a checkpoint tensor
    rows(x; axis, start, stop)       x[start:stop] along `axis` (not the last axis of a quantized tensor)
    pieces(x; shape, axis, borders)  x seen as `shape`, of which x[borders[0]:borders[1]], x[borders[2]:borders[3]], ... along `axis` behind
                                     each other; of a quantized tensor's last axis whole blocks
    every(x; axis, step)             x[::step] along `axis`, as in rows
    join(x...)                       rows one after another
    join_columns(x...)               columns one after another: of quantized tensors their rows' blocks
    by_head(x; heads)                [heads * n, ...] as [heads, n, ...]
    transpose(x)                     the last two axes the other way round; not of a quantized tensor
    mxfp4(blocks, scales)            two u8 tensors of safetensors as one in the format mxfp4
    stack(x...)                      a new first axis
    half_split(x; heads)             rows of interleaved RoPE pairs (GGUF's llama layout) to half-split order, per head
    add(x; c), mul(x; c), neg(x), exp(x)     elementwise, f32
    repeat(; rows, values)           the same row `rows` times, f32
    rope_table(; rotary, theta, ...) f32 [C, rotary]: cos in the first half, sin in the second; C = context of the plan
    rope_table(x...; ...)            the same with divisors of frequencies; of two, the first for contexts up to the original one
    position_scale(; beta, period, offset)   f32 [C, 1]: 1 + beta ln(1 + floor((position + offset) / period))
    """

    op: str
    args: tuple["Recipe", ...] = ()
    params: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        """Lists, as JSON has them, become tuples."""
        object.__setattr__(self, "params", tuple((name, _freeze(value)) for name, value in self.params))

    def __str__(self) -> str:
        if self.op == "tensor":
            return repr(dict(self.params)["name"])
        words = [str(a) for a in self.args] + [f"{k}={v}" for k, v in self.params]
        return f"{self.op}({', '.join(words)})"

    def tensors(self) -> list[str]:
        """Names of the checkpoint tensors that it reads."""
        own = [dict(self.params)["name"]] if self.op == "tensor" else []
        return own + [name for arg in self.args for name in arg.tensors()]

    def of(self, owner: str) -> "Recipe":
        """The same made from tensors whose names begin with `owner`."""
        if self.op == "tensor":
            return tensor(owner + dict(self.params)["name"])
        return Recipe(self.op, tuple(arg.of(owner) for arg in self.args), self.params)


def _freeze(value: Any) -> Any:
    return tuple(map(_freeze, value)) if isinstance(value, list) else value


def tensor(name: str) -> Recipe:
    return Recipe("tensor", (), (("name", name),))


def apply(op: str, *args: Recipe, **params: Any) -> Recipe:
    return Recipe(op, args, tuple(params.items()))
