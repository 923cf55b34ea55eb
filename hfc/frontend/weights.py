"""Weight tables + settings + a checkpoint's inventory -> each weight's format, shape and recipe."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError, Span, nearest, unknown
from hfc.formats import READABLE, loaded_format
from hfc.formats.checkpoint.evaluate import same_elements
from hfc.formats.recipe import Recipe
from hfc.frontend import syntax
from hfc.frontend.evaluate import Absent, show, strings_in, with_layer
from hfc.frontend.recipes import COMPUTED, HF_PREFIXES, Inventory, RecipePiece, RecipeScope, SettingScope


@dataclass(frozen=True)
class Weight:
    """name: unique in the graph, e.g. "layers.3.q_proj".  format: as stored, f32 where the recipe calculates."""

    name: str
    format: str
    shape: tuple[int, ...]
    recipe: Recipe
    span: Span


class _Tensors:
    """An inventory with a fast membership test."""

    def __init__(self, inventory: Inventory):
        self.names = frozenset(inventory.names())
        self.info = inventory.info
        self.equal = getattr(inventory, "equal", lambda first, second: True)  # a list of names has no values to differ

    def __contains__(self, name: str) -> bool:
        return name in self.names


class WeightTable:
    """All weights of one model with one config. Weights are resolved when the graph first reads them."""

    def __init__(
        self,
        model: syntax.ModelSyntax,
        settings: Mapping[str, Any],
        source: str,
        checkpoint: Inventory | None,
        default_format: str,
    ):
        self._model = model
        self._settings = settings
        self._source = source
        self._tensors = _Tensors(checkpoint) if checkpoint is not None else None
        self._default_format = default_format
        self._rows: dict[str, list[tuple[syntax.Weights, syntax.Row]]] = {}
        for table in model.weights:
            for row in table.rows:
                for name in row.names:
                    self._add(name, table, row)
        self._found: dict[tuple[str, int | None], Weight | None] = {}
        self._by_content: dict[tuple, Weight] = {}
        self._copies: set[str] = set()  # tensors that repeat the one that they are tied to

    def _add(self, name: str, table: syntax.Weights, row: syntax.Row) -> None:
        others = self._rows.setdefault(name, [])
        for other, first in others:
            if None in (table.where, other.where) or table.index != other.index:
                raise HfcError(f"weight {name} is declared twice", row.span, f"first in line {first.span.line}")
        others.append((table, row))

    @property
    def names(self) -> list[str]:
        return list(self._rows)

    def declared(self) -> Iterator[tuple[str, int | None, syntax.Row]]:
        """Every weight that the tables declare, with its layer."""
        for name, found in self._rows.items():
            for table, row in found:
                if table.index is None:
                    yield name, None, row
                    continue
                for layer in range(self._settings["layers"]):
                    scope = SettingScope(self._settings, {table.index: layer})
                    if table.where is None or scope.evaluate(table.where):
                        yield name, layer, row

    def index_variable(self, name: str) -> str | None:
        """The variable that says which layer's weight `name` means; None for a weight of the whole model."""
        return self._rows[name][0][0].index

    def resolve(self, name: str, layer: int | None, span: Span) -> Weight | None:
        """The weight, or None where its table says null. Raises HfcError if the checkpoint lacks or contradicts it."""
        if (name, layer) not in self._found:
            self._found[name, layer] = self._resolve(name, layer, span)
        return self._found[name, layer]

    def check_all_read(self) -> None:
        """Every tensor of the checkpoint must have been read, or be ignored by the model file."""
        if self._tensors is None:
            return
        read = self._copies.union(*(weight.recipe.tensors() for weight in self._by_content.values()))
        ignored = self._ignored()
        unread = sorted(t for t in self._tensors.names - read if not any(fnmatchcase(t, p) for p in ignored))
        if unread:
            more = f" (and {len(unread) - 1} more)" if len(unread) > 1 else ""
            row = self._row_like(unread[0])
            unused = [name for name in row.names if all(found != name for found, _ in self._found)] if row else []
            if row and unused:
                raise HfcError(
                    f"the graph does not read {' and '.join(unused)}, which this row declares: the checkpoint has the tensor {unread[0]!r}{more}",
                    row.span,
                    "use it where the modelling code does; a tensor that is harmless belongs into `weights ignore`",
                )
            if row:
                raise HfcError(
                    f"the checkpoint has the tensor {unread[0]!r}{more}, one more of those that this row reads: the config "
                    "counts fewer layers or experts than the checkpoint has",
                    row.span,
                    "are config and tensors of one model? Tensors that are harmless belong into `weights ignore`",
                )
            raise HfcError(
                f"the checkpoint has the tensor {unread[0]!r}{more}, which model {self._model.name} does not read",
                self._model.span,
                "is it another variant of the model? A harmless tensor belongs into `weights ignore`",
            )

    def _row_like(self, tensor: str) -> syntax.Row | None:
        """The row that names such a tensor, but for its numbers."""
        for table in self._model.weights:
            for row in table.rows:
                for text in strings_in(row.columns[self._source]):
                    pattern = re.sub(r"\\\{\w+\\\}", r"\\d+", re.escape(text.removeprefix("/")))
                    if re.search(rf"(^|\.){pattern}$", tensor):
                        return row
        return None

    def _ignored(self) -> list[str]:
        scope, patterns = SettingScope(self._settings, {}), []
        for node in self._model.ignored_tensors[self._source]:
            if not isinstance(node, syntax.Literal) or not isinstance(node.value, str):
                raise HfcError("`weights ignore` takes strings", node.span)
            text = scope.fill(node.value, node.span)
            prefixes = HF_PREFIXES if self._source == "hf" and not text.startswith("/") else ("",)
            patterns += [prefix + text.removeprefix("/") for prefix in prefixes]
        return patterns

    def _resolve(self, name: str, layer: int | None, span: Span) -> Weight | None:
        table, row = self._row(name, layer, span)
        index = {table.index: layer} if table.index else {}
        sizes = SettingScope(self._settings, index)
        if row.alias and sizes.evaluate(row.alias_if):
            if row.alias not in self._rows:
                raise unknown("weight", row.alias, self._rows, row.span)
            if not self._overrules(name, table, row):
                return self.resolve(row.alias, layer, row.span)
        shape = tuple(_size(sizes, node) for node in row.shape)
        if not row.columns[self._source]:
            hint = "write it, or null where there is none"
            raise HfcError(f"weight {name} has no {self._source} name", row.span, hint)
        scope = RecipeScope(self._settings, index, self._source, self._tensors)
        piece = self._evaluate(scope, name, shape, row)
        if piece is None:
            return None
        format = self._format(row, piece, shape)
        weight = Weight(name if layer is None else f"layers.{layer}.{name}", format, shape, piece.recipe, row.span)
        return self._by_content.setdefault((piece.recipe, format, shape), weight)

    def own_aliases(self) -> tuple[str, ...]:
        """Weights of the whole model that say `= other if condition`, where the checkpoint holds values of their own."""
        rows = [(name, *row) for name, found in self._rows.items() for row in found if row[0].index is None]
        sizes = SettingScope(self._settings, {})
        tied = [row for row in rows if row[2].alias and sizes.evaluate(row[2].alias_if)]
        return tuple(name for name, table, row in tied if self._overrules(name, table, row))

    def _overrules(self, name: str, table: syntax.Weights, row: syntax.Row) -> bool:
        """Has the checkpoint a tensor for a tied weight, with other values? Then it is not tied, as in transformers."""
        if self._tensors is None or table.index is not None or row.alias not in self._rows:
            return False
        _, other = self._row(row.alias, None, row.span)
        own, tied = (self._tensor_of(n, r) for n, r in ((name, row), (row.alias, other)))
        if own is None or tied is None or own == tied:
            return False
        if not self._tensors.equal(own, tied):
            return True
        self._copies.add(own)
        return False

    def _tensor_of(self, name: str, row: syntax.Row) -> str | None:
        """The one tensor that a weight of the whole model is made of; None if the checkpoint lacks it."""
        scope = RecipeScope(self._settings, {}, self._source, self._tensors)
        try:
            piece = scope.evaluate(row.columns[self._source][row.names.index(name)])
        except Absent:
            return None
        tensors = piece.recipe.tensors() if isinstance(piece, RecipePiece) else []
        return tensors[0] if len(tensors) == 1 else None

    def _evaluate(self, scope: RecipeScope, name: str, shape: tuple[int, ...], row: syntax.Row) -> RecipePiece | None:
        """The weight's expression, checked against the declared shape.

        Axes of size 1 do not count: conv1d.weight is [channels, 1, taps] in HF and [channels, taps] in GGUF. A vector stands for a
        matrix of f32 with as many elements, row after row, and the other way round: norms of groups are either."""
        node = row.columns[self._source][row.names.index(name)]
        try:
            piece = scope.evaluate(node)
        except Absent as error:
            hint = error.hint or self._alike(error.message, shape, scope.layers)
            raise HfcError(f"weight {name} {list(shape)}: {error.message}", error.span, hint) from None
        if piece is not None and not isinstance(piece, RecipePiece):
            raise HfcError(f"weight {name}: this is {show(piece)}, not a tensor", node.span)
        is_plain = len([n for n in shape if n != 1]) <= 1 or row.format == COMPUTED
        if piece and piece.shape is not None and not same_elements(piece.shape, shape, is_plain):
            found = f"{piece.recipe} is {list(piece.shape)} in the checkpoint"
            raise HfcError(f"weight {name}: {found}, expected {list(shape)}", node.span)
        return piece

    def _alike(self, message: str, shape: tuple[int, ...], layers: Sequence[int]) -> str | None:
        """Names in the checkpoint that a row may have meant: of its shape, of its layer, spelled most like the one it asked for."""
        if self._tensors is None:
            return None
        sizes = [n for n in shape if n != 1]
        near = [t for t in self._tensors.names if all(re.search(rf"\.{layer}\.", t) for layer in layers)]
        fits = [t for t in near if [n for n in self._tensors.info(t).shape if n != 1] == sizes]
        quoted = re.search(r"'(.*)'", message)
        likeliest = nearest(quoted[1] if quoted else "", fits, 3, 0.3)
        return f"of this shape it has {', '.join(likeliest)}" if likeliest else None

    def _row(self, name: str, layer: int | None, span: Span) -> tuple[syntax.Weights, syntax.Row]:
        for table, row in self._rows[name]:
            if table.where is None or SettingScope(self._settings, {table.index: layer}).evaluate(table.where):
                return table, row
        where = self._rows[name][0][0].where.span
        hint = f"line {where.line} declares it with: {where.text.strip()}"
        raise HfcError(f"layer {layer} has no weight {name}", span, hint)

    def _format(self, row: syntax.Row, piece: RecipePiece, shape: tuple[int, ...]) -> str:
        if row.format not in (None, COMPUTED):
            kept = "left in the checkpoint's format"
            raise HfcError(f"a weight is declared as f32 or {kept}, not {row.format}", row.span)
        found = piece.format or self._default_format
        if found not in READABLE:
            hint = "supported: " + ", ".join(READABLE)
            raise HfcError(f"{piece.recipe} is stored as {found}, which is not supported", row.span, hint)
        is_vector = sum(n != 1 for n in shape) <= 1  # a few bytes: not worth a format of its own
        return COMPUTED if row.format or is_vector else loaded_format(found)


def _size(scope: SettingScope, node: syntax.Expression) -> int:
    try:
        size = scope.evaluate(node)
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise HfcError(f"a size must be a whole number above 0, found {show(size)}", node.span)
    except HfcError as error:
        raise with_layer(error, node, scope.names) from None
    return size
