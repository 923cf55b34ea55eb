"""One column of a weight table -> a recipe: strings name tensors, arithmetic and slices say what becomes of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError, Span, unknown
from hfc.formats.recipe import Recipe, apply, tensor
from hfc.frontend import syntax
from hfc.frontend.evaluate import Absent, Scope, show

HF_PREFIXES = ("model.", "model.language_model.", "language_model.model.", "backbone.", "")
LAYER_PREFIX = {"hf": "layers.{}.", "gguf": "blk.{}."}
MAX_COUNT = 1 << 31
COMPUTED = "f32"  # the format of a recipe that calculates


class TensorFacts(Protocol):
    format: str
    shape: tuple[int, ...]


class Inventory(Protocol):
    """What building a graph needs to know of a checkpoint."""

    def names(self) -> Iterable[str]: ...

    def info(self, name: str) -> TensorFacts: ...


@dataclass(frozen=True)
class RecipePiece:
    """A recipe and what it yields; shape and format are None while no checkpoint tells them."""

    recipe: Recipe
    shape: tuple[int, ...] | None = None
    format: str | None = None

    def computed(self, op: str, **params: Any) -> "RecipePiece":
        return RecipePiece(apply(op, self.recipe, **params), self.shape, COMPUTED)


class SettingScope(Scope):
    """Names are the layer's index and the settings; strings are strings. For shapes and conditions."""

    def __init__(self, settings: Mapping[str, Any], index: Mapping[str, int]):
        self.names: dict[str, Any] = {**settings, **index}
        self.layers = [*index.values()]

    def name(self, node: syntax.Name) -> Any:
        if node.name not in self.names:
            raise unknown("setting", node.name, self.names, node.span)
        return self.names[node.name]

    def fill(self, text: str, span: Span) -> str:
        """The text with {name} replaced by the value of a setting, the layer or the expert."""
        return re.sub(r"\{(\w+)\}", lambda match: str(self.name(syntax.Name(match[1], span))), text)


def _rows(shape: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """A shape that starts with its rows."""
    while shape and len(shape) > 2 and shape[0] == 1:
        shape = shape[1:]
    return shape


class RecipeScope(SettingScope):
    """Strings are tensors. index: the layer's variable and number, empty for weights of the whole model."""

    def __init__(self, settings: Mapping[str, Any], index: Mapping[str, int], source: str, checkpoint: Any):
        super().__init__(settings, index)
        self._conditions = SettingScope(settings, index)
        self._source = source
        self._checkpoint = checkpoint
        layer = "".join(LAYER_PREFIX[source].format(i) for i in index.values())
        self._prefixes = [p + layer for p in (HF_PREFIXES if source == "hf" else ("",))]

    def text(self, node: syntax.Literal) -> RecipePiece:
        text = self.fill(node.value, node.span)
        names = [text[1:]] if text.startswith("/") else [prefix + text for prefix in self._prefixes]
        if self._checkpoint is None:
            return RecipePiece(tensor(names[0]))
        for name in names:
            if name in self._checkpoint:
                info = self._checkpoint.info(name)
                return RecipePiece(tensor(name), tuple(info.shape), info.format)
        raise Absent(f"the checkpoint has no tensor {names[0]!r}", node.span)

    def call(self, node: syntax.CallExpression) -> Any:
        function = node.function.name if isinstance(node.function, syntax.Name) else ""
        if function == "stack" and len(node.arguments) == 2:
            return self._stack(node)
        if function == "exp" and len(node.arguments) == 1:
            return self._piece(node.arguments[0]).computed("exp")
        if function == "half_split" and len(node.arguments) == 2:
            piece = self._piece(node.arguments[0])
            heads = self._whole(node.arguments[1])
            return RecipePiece(apply("half_split", piece.recipe, heads=heads), piece.shape, piece.format)
        if function == "by_head" and len(node.arguments) == 2:
            return self._by_head(self._piece(node.arguments[0]), self._whole(node.arguments[1]), node.span)
        if function == "join" and node.arguments:
            return self._join([self._piece(argument) for argument in node.arguments], node.span)
        if function == "transpose" and len(node.arguments) == 1:
            piece = self._piece(node.arguments[0])
            shape = piece.shape and (*piece.shape[:-2], *piece.shape[:-3:-1])
            return RecipePiece(apply("transpose", piece.recipe), shape, piece.format)
        if function == "mxfp4" and len(node.arguments) == 2:
            return self._mxfp4(*map(self._piece, node.arguments), node.span)
        known = "stack(e in n, x), half_split(x, heads), by_head(x, heads), join(x, y), transpose(x), mxfp4(blocks, scales), exp(x), slices and arithmetic"
        raise HfcError(f"a weight is made by {known}", node.span)

    def unary(self, node: syntax.Unary, value: Any) -> Any:
        if isinstance(value, RecipePiece) and node.operator == "-":
            return value.computed("neg")
        return super().unary(node, value)

    def binary(self, node: syntax.Binary, left: Any, right: Any) -> Any:
        if not isinstance(left, RecipePiece) and not isinstance(right, RecipePiece):
            return super().binary(node, left, right)
        piece, number = (left, right) if isinstance(left, RecipePiece) else (right, left)
        if type(number) not in (int, float) or node.operator not in ("+", "*"):
            raise HfcError(
                "a weight can be shifted by a number or multiplied with one, the graph does the rest", node.span
            )
        return piece.computed("add" if node.operator == "+" else "mul", c=number)

    def index(self, node: syntax.Index) -> Any:
        value = self.evaluate(node.value)
        if not isinstance(value, RecipePiece):
            return self._conditions.index(node)
        for axis, part in enumerate(node.items):
            value = self._slice_axis(value, axis, part)
        return value

    def conditional(self, node: syntax.Conditional) -> Any:
        return self.evaluate(node.then if self._conditions.evaluate(node.condition) else node.otherwise)

    def _piece(self, node: syntax.Expression) -> RecipePiece:
        value = self.evaluate(node)
        if not isinstance(value, RecipePiece):
            raise HfcError(f"expected a tensor, found {show(value)}", node.span)
        return value

    def _whole(self, node: syntax.Expression) -> int:
        value = self._conditions.evaluate(node)
        if type(value) is not int or not 0 <= value < MAX_COUNT:
            raise HfcError(f"expected a whole number, found {show(value)}", node.span)
        return value

    def _slice_axis(self, piece: RecipePiece, axis: int, part: syntax.Expression) -> RecipePiece:
        if not isinstance(part, syntax.Slice):
            raise HfcError("a weight is cut by slices: [start:stop] or [:, start:stop]", part.span)
        if part.start is None and part.stop is None and part.step is None:
            return piece
        start = self._whole(part.start) if part.start else 0
        size = piece.shape[axis] if piece.shape is not None and axis < len(piece.shape) else None
        stop = self._whole(part.stop) if part.stop else size
        if stop is None:
            raise HfcError(
                "write the end of this slice: without a checkpoint the tensor's size is not known", part.span
            )
        if not 0 <= start < stop or (size is not None and stop > size):
            where = f"axis {axis} of {piece.recipe}, which has {size}"
            raise HfcError(f"slice {start}:{stop} does not fit {where}", part.span)
        if (start, stop) != (0, size):
            shape = piece.shape and (*piece.shape[:axis], stop - start, *piece.shape[axis + 1 :])
            piece = RecipePiece(apply("rows", piece.recipe, axis=axis, start=start, stop=stop), shape, piece.format)
        return self._every(piece, axis, part.step) if part.step else piece

    def _every(self, piece: RecipePiece, axis: int, node: syntax.Expression) -> RecipePiece:
        """The first of every `step` pieces along an axis."""
        step = self._whole(node)
        if step < 1:
            raise HfcError("the step of a slice must be above 0", node.span)
        shape = piece.shape and (*piece.shape[:axis], -(-piece.shape[axis] // step), *piece.shape[axis + 1 :])
        return RecipePiece(apply("every", piece.recipe, axis=axis, step=step), shape, piece.format)

    def _by_head(self, piece: RecipePiece, heads: int, span: Span) -> RecipePiece:
        shape = piece.shape
        if heads < 1 or shape is not None and (not shape or shape[0] % heads):
            raise HfcError(
                f"by_head: {piece.recipe} is {list(shape or ())}, whose rows are no multiple of {heads} heads", span
            )
        shape = shape and (heads, shape[0] // heads, *shape[1:])
        return RecipePiece(apply("by_head", piece.recipe, heads=heads), shape, piece.format)

    def _join(self, pieces: list[RecipePiece], span: Span) -> RecipePiece:
        """Rows one after another; all must be alike but for their number. GGUF may put axes of size 1 before the rows."""
        recipe, shapes = apply("join", *(piece.recipe for piece in pieces)), [_rows(piece.shape) for piece in pieces]
        known = [shape for shape in shapes if shape is not None]
        if len({(shape[1:], piece.format) for shape, piece in zip(known, pieces)}) > 1 or () in known:
            found = ", ".join(f"{piece.format}{list(piece.shape or ())}" for piece in pieces)
            raise HfcError(f"join: tensors must be alike but for their rows, found {found}", span)
        shape = (sum(one[0] for one in known), *known[0][1:]) if len(known) == len(pieces) else None
        return RecipePiece(recipe, shape, pieces[0].format)

    def _mxfp4(self, blocks: RecipePiece, scales: RecipePiece, span: Span) -> RecipePiece:
        """Both as gpt-oss's safetensors have them: [..., K / 32, 16] and [..., K / 32]."""
        recipe = apply("mxfp4", blocks.recipe, scales.recipe)
        if blocks.shape is None or scales.shape is None:
            return RecipePiece(recipe, None, "mxfp4")
        if blocks.shape != (*scales.shape, 16) or {blocks.format, scales.format} != {"u8"}:
            found = f"{blocks.format}{list(blocks.shape)} and {scales.format}{list(scales.shape)}"
            raise HfcError(f"mxfp4: blocks and scales are {found}; expected u8 [..., n, 16] and u8 [..., n]", span)
        return RecipePiece(recipe, (*scales.shape[:-1], 32 * scales.shape[-1]), "mxfp4")

    def _stack(self, node: syntax.CallExpression) -> RecipePiece:
        """stack(e in n, x): x for e = 0 .. n-1, as a new first axis."""
        over, item = node.arguments
        if not (isinstance(over, syntax.Binary) and over.operator == "in" and isinstance(over.left, syntax.Name)):
            raise HfcError('stack needs a variable and a count: stack(e in experts, "experts.{e}.weight")', over.span)
        pieces, scopes = [], (self.names, self._conditions.names)  # sizes in slices are evaluated in the latter
        for element in range(self._whole(over.right)):
            for names in scopes:
                names[over.left.name] = element
            pieces.append(self._piece(item))
        for names in scopes:
            names.pop(over.left.name, None)
        first = pieces[0]
        for piece in pieces:
            if (piece.shape, piece.format) != (first.shape, first.format):
                found = ", ".join(f"{p.recipe} is {p.format}{list(p.shape)}" for p in (first, piece))
                raise HfcError(f"stack: {found}", node.span)
        shape = first.shape and (len(pieces), *first.shape)
        return RecipePiece(apply("stack", *(p.recipe for p in pieces)), shape, first.format)
