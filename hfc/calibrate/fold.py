"""Where a scale on a linear's inputs can go: into the weight of the norm that makes them, or into the rows of a linear before.

    norm(x, g) wᵀ = norm(x, g / s) (w s)ᵀ            (a · (h uᵀ)) wᵀ = (a · (h (u / s)ᵀ)) (w s)ᵀ

Not possible, and left alone: inputs of an attention's or DeltaNet's output projection (their norm and gate are shared by heads),
of experts' down projections (each expert would want its own scale), and weights that are read elsewhere too (a tied table).
"""

from __future__ import annotations

from collections import Counter

from hfc.base.dataclass import dataclass
from hfc.calibrate.names import moves_rows_only
from hfc.compiler import CompilerInput
from hfc.formats.recipe import Recipe
from hfc.ir.graph import Graph, Op, Value
from hfc.ir.roles import is_product, is_rotation


@dataclass(frozen=True)
class Fold:
    """readers: tensors whose columns take the scale.  producer: the tensor that gives it away; a vector stored as w - shift, or,
    where first_row is a number, a matrix from that row on."""

    readers: tuple[str, ...]
    producer: str
    shift: float = 0.0
    first_row: int | None = None


def folds(source: CompilerInput) -> list[Fold]:
    """Every place, in the order of the graph."""
    graph = source.graph()
    readers = _readers(graph)
    makers = {op.output: op for op in graph.ops_of("weight")}
    producers = {value: op for op in graph.walk() for value in op.outputs}
    uses = _uses(graph, makers)
    found = []
    for value, ops in readers.items():
        plain = [r for op in ops for r in (readers.get(op.output, []) if is_rotation(op) else [op])]
        if not plain or not all(is_product(op) and value in _inputs(op, producers) for op in plain):
            continue
        recipes = [makers[op.inputs[1]].attrs["recipe"] for op in plain]
        if not all(map(moves_rows_only, recipes)) or not _only_here(recipes, uses):
            continue
        place = _producer(producers.get(value), makers, producers, readers, uses)
        if place:
            tensors = tuple(dict.fromkeys(name for recipe in recipes for name in recipe.tensors()))
            found.append(Fold(tensors, *place))
    return found


def _readers(graph: Graph) -> dict[Value, list[Op]]:
    found: dict[Value, list[Op]] = {}
    for op in graph.walk():
        for value in op.inputs:
            found.setdefault(value, []).append(op)
    for value in graph.live_out():  # someone outside reads it
        found.setdefault(value, []).append(Op("output", (value,), ()))
    return found


def _inputs(op: Op, producers: dict[Value, Op]) -> tuple[Value, ...]:
    """What the linear multiplies, and what that was before its rotation."""
    x = op.inputs[0]
    maker = producers.get(x)
    return (x, maker.inputs[0]) if maker and is_rotation(maker) else (x,)


def _uses(graph: Graph, makers: dict[Value, Op]) -> Counter:
    """Tensor -> ops that read weights made of it."""
    return Counter(
        name
        for op in graph.walk()
        for v in op.inputs
        if v in makers
        for name in set(makers[v].attrs["recipe"].tensors())
    )


def _only_here(recipes: list[Recipe], uses: Counter) -> bool:
    """Whether these are all readers of their tensors."""
    here = Counter(name for recipe in recipes for name in set(recipe.tensors()))
    return all(uses[name] == count for name, count in here.items())


def _producer(
    op: Op | None, makers: dict[Value, Op], producers: dict[Value, Op], readers: dict[Value, list[Op]], uses: Counter
) -> tuple[str, float, int | None] | None:
    """Tensor, shift and first row of the weight that can give the scale away."""
    if op is None:
        return None
    if op.kind == "rms_norm" and op.inputs[1] in makers:
        return _vector(makers[op.inputs[1]].attrs["recipe"], uses)
    if op.kind == "mul":
        for value in op.inputs:
            linear = producers.get(value)
            if linear and linear.kind == "linear" and len(readers[value]) == 1:
                found = _matrix(makers[linear.inputs[1]].attrs["recipe"])
                if found:
                    return found
    return None


def _vector(recipe: Recipe, uses: Counter) -> tuple[str, float, int | None] | None:
    shift = dict(recipe.params)["c"] if recipe.op == "add" and recipe.args[0].op == "tensor" else 0.0
    tensor = recipe.args[0] if recipe.op == "add" else recipe
    name = dict(tensor.params)["name"] if tensor.op == "tensor" else None
    return (name, float(shift), None) if name and uses[name] == 1 else None


def _matrix(recipe: Recipe) -> tuple[str, float, int | None] | None:
    params = dict(recipe.params)
    if recipe.op == "tensor":
        return params["name"], 0.0, 0
    if recipe.op == "rows" and recipe.args[0].op == "tensor" and params["axis"] == 0:
        return dict(recipe.args[0].params)["name"], 0.0, params["start"]
    return None
