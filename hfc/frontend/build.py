"""A model file + a config + a checkpoint's inventory -> the IR graph; a draft and its target -> one graph each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError, Span, unknown
from hfc.frontend import syntax
from hfc.frontend.calls import Operations
from hfc.frontend.config import settings_of
from hfc.frontend.evaluate import show
from hfc.frontend.model import ModelFile
from hfc.frontend.recipes import Inventory
from hfc.frontend.scope import DraftTarget, GraphScope, Surroundings
from hfc.frontend.weights import WeightTable
from hfc.ir.build import GraphBuilder
from hfc.ir.graph import Graph, Value
from hfc.ir.roles import is_product

LAST_HIDDEN = "last_hidden"  # a tap that every model has: what its head reads
HINT = "a draft serves the one target that it was trained with"
DRAFT = "draft."  # what the names of a draft's weights, states and values begin with


@dataclass(frozen=True)
class Described:
    """A model and what it is built from. source: "hf" | "gguf".  default_format: of matrices where there is no checkpoint."""

    model: ModelFile
    config: Mapping[str, Any]
    source: str
    checkpoint: Inventory | None = None
    default_format: str = "bf16"

    def surroundings(self, operations: Operations, owner: str = "") -> Surroundings:
        text = self.model.syntax
        settings = settings_of(text, self.config, self.source, self.checkpoint)
        weights = WeightTable(text, settings, self.source, self.checkpoint, self.default_format)
        return Surroundings(text, settings, weights, operations, owner=owner)


@dataclass(frozen=True)
class Pair:
    """A target that records its draft's inputs in each step, and the draft: tokens -> logits, chosen tokens.

    settings: the draft's."""

    target: Graph
    draft: Graph
    settings: Mapping[str, Any]


def build_graph(
    model: ModelFile,
    config: Mapping[str, Any],
    source: str,
    checkpoint: Inventory | None = None,
    default_format: str = "bf16",
    taps: Sequence[str] = (),
) -> Graph:
    """tokens i32[T] -> logits f32[T, vocab], then the asked taps ("hidden[3]", "last_hidden"), each [T, ...].

    config: config.json ("hf") or GGUF metadata ("gguf"). Without a checkpoint every matrix has default_format.
    Raises HfcError with the place in the model file for anything that does not fit together.
    """
    if model.syntax.observe:
        raise HfcError(
            f"{model.name} is a draft: it runs beside a target, not alone",
            model.syntax.span,
            "give the target, and this as --draft",
        )
    around = Described(model, config, source, checkpoint, default_format).surroundings(
        Operations(GraphBuilder(model.name))
    )
    logits = _run_graph(around)
    return _finish(around, logits, taps)


def build_pair(target: Described, draft: Described, taps: Sequence[str] = ()) -> Pair:
    """Both graphs. The draft's `observe` becomes part of the target's; states with the same name are the same states.

    Weights of the draft are made from tensors whose names begin with DRAFT_TENSORS (see hfc.formats.recipe)."""
    around = target.surroundings(Operations(GraphBuilder(target.model.name)))
    logits = _run_graph(around)
    observer = draft.surroundings(around.operations, DRAFT)
    _check_fit(around, observer)
    if draft.model.syntax.observe is None:
        raise HfcError(
            f"{draft.model.name} is no draft: it observes no target",
            draft.model.syntax.span,
            "drafts have `observe(tokens) { ... }`",
        )
    _call(replace(observer, target=DraftTarget(around.weights, around.taps)), draft.model.syntax.observe, returns=False)
    own = Operations(GraphBuilder(draft.model.name, around.operations.builder, DRAFT, is_chained=True))
    outputs = _run_draft(replace(observer, operations=own, target=DraftTarget(around.weights, {})))
    observer.weights.check_all_read()
    return Pair(_finish(around, logits, taps), _read_only(own.builder.finish(*outputs)), observer.settings)


def _run_graph(around: Surroundings) -> Value:
    """The logits."""
    logits = _call(around, around.model.graph)
    if not isinstance(logits, Value):
        raise HfcError(f"the graph must return one tensor, the logits; found {_shown(logits)}", around.model.graph.span)
    around.taps[LAST_HIDDEN] = _head_input(around.operations.builder.graph, logits, around.model.graph.span)
    return logits


def _run_draft(around: Surroundings) -> list[Value]:
    function = around.model.graph
    results = _call(around, function)
    if not isinstance(results, list) or [type(r) for r in results] != [Value, Value] or results[1].type.shape != ("T",):
        raise HfcError(
            f"the graph of a draft must return its logits and the chosen tokens; found {_shown(results)}", function.span
        )
    return results


def _call(around: Surroundings, function: syntax.FunctionSyntax, returns: bool = True) -> Any:
    """Run a function of the step's tokens."""
    if len(function.parameters) != 1:
        raise HfcError(f"the {function.name} takes one parameter, the tokens", function.span)
    builder, name = around.operations.builder, function.parameters[0]
    scope = GraphScope(around)
    scope.assign(name, next(iter(builder.graph.inputs), None) or builder.input("tokens", "i32", ("T",)), function.span)
    return scope.run(function, returns)


def _finish(around: Surroundings, logits: Value, taps: Sequence[str]) -> Graph:
    for tap in taps:
        if tap not in around.taps:
            raise unknown("tap", tap, around.taps, around.model.graph.span)
    around.weights.check_all_read()
    return _read_only(around.operations.builder.finish(logits, *(around.taps[tap] for tap in taps)))


def _read_only(graph: Graph) -> Graph:
    """Without weights that nothing reads."""
    read = {value for op in graph.ops for value in op.inputs}
    return graph.with_ops(op for op in graph.ops if not op.is_weight or op.output in read)


def _check_fit(target: Surroundings, draft: Surroundings) -> None:
    """The draft was made for this target, as far as sizes tell."""
    name, span = draft.model.name, draft.model.span
    for key in ("hidden", "block"):
        if key not in draft.settings:
            raise HfcError(f"the config block of a draft must set {key}", span)
    expected = {"hidden": "hidden size", "vocab": "vocabulary"}
    for key, word in expected.items():
        have, want = target.settings.get(key), draft.settings[key]
        if have != want:
            raise HfcError(
                f"the draft {name} was made for a target with a {word} of {want}; {target.model.name} has {have}",
                hint=HINT,
            )
    layers = target.settings["layers"]
    made_for = draft.settings.get("target_total") or layers
    if made_for != layers:
        raise HfcError(
            f"the draft {name} was made for a target with {made_for} layers; {target.model.name} has {layers}",
            hint=HINT,
        )
    beyond = [i for i in draft.settings.get("target_layers") or () if not 0 <= i < layers]
    if beyond:
        raise HfcError(
            f"the draft {name} reads layer {beyond[0]} of its target; {target.model.name} has layers 0 to {layers - 1}",
            hint=HINT,
        )
    _check_block(draft)


def _check_block(draft: Surroundings) -> None:
    block, mask = draft.settings["block"], draft.settings.get("mask_token")
    if type(block) is not int or block < 2:
        raise HfcError(
            f"the draft {draft.model.name} has blocks of {show(block)}; a block is a token and one draft or more"
        )
    if mask is not None and not (type(mask) is int and 0 <= mask < draft.settings["vocab"]):
        vocab = draft.settings["vocab"]
        raise HfcError(
            f"the draft {draft.model.name} names the mask token {show(mask)}, which is not in a vocabulary of {vocab}"
        )


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_shown, value))
    return str(value.type) if isinstance(value, Value) else show(value)


def _head_input(graph: Graph, logits: Value, span: Span) -> Value:
    """The rows that the last matrix multiplies: the model's last hidden state, normed."""
    producers, value = graph.producers(), logits
    while (op := producers.get(value)) is not None:
        if is_product(op):
            return op.inputs[0]
        value = next((v for v in op.inputs if v.type.shape[:1] == ("T",)), None)
    raise HfcError("the graph's logits come from no linear", span)
