"""A checkpoint's config (config.json or GGUF metadata) -> the model's settings. No key is dropped silently."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from hfc.base.diagnostics import HfcError
from hfc.frontend import positions, syntax
from hfc.frontend.evaluate import Absent, Scope, names_in, parts_of, show, with_layer
from hfc.frontend.harmless import is_harmless, matches, prefixes

REQUIRED_SETTINGS = ("layers", "vocab", "context")  # what compiler and runtime ask of every model
MAX_LAYERS = 1024  # far above any model: a damaged config must not run for ever
MAX_SIZE = (1 << 31) - 1
FILE_NAMES = {"hf": "config.json", "gguf": "the GGUF metadata"}


def text_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The text model: `text_config` is entered where there is one; keys beside it stand in for missing ones."""
    inner = config.get("text_config")
    if not isinstance(inner, Mapping):
        return dict(config)
    return {**{key: value for key, value in config.items() if key != "text_config"}, **inner}


def settings_of(
    model: syntax.ModelSyntax, config: Mapping[str, Any], source: str, checkpoint: Any = None
) -> dict[str, Any]:
    """The model's own names -> values, plus the token ids that the checkpoint declares.

    source: "hf" (config.json) or "gguf" (metadata with full keys). checkpoint: an inventory for `shape("tensor")`.
    Raises HfcError for missing, unexpected or unknown keys.
    """
    arch = str(config.get("general.architecture", ""))
    block = _block(model, source, arch)
    keys = _keys(config, source, arch)
    for problem in _unmentioned(block, keys, source):
        raise problem
    expressions = [*(s.value for s in block.settings), *block.requires]
    scope = _ConfigScope(keys, source, checkpoint, config, names_in(expressions))
    for setting in block.settings:
        for name in setting.names:
            scope.settings[name] = scope.setting(setting)
    for condition in block.requires:
        scope.require(condition)
    for name in REQUIRED_SETTINGS:
        if name not in scope.settings:
            raise HfcError(f"every config block must set {', '.join(REQUIRED_SETTINGS)}; {name} is missing", block.span)
        value, limit = scope.settings[name], MAX_LAYERS if name == "layers" else MAX_SIZE
        if type(value) is not int or not 0 < value <= limit:
            found = f"{name} must be a whole number from 1 to {limit}, found {show(value)}"
            raise HfcError(f"{FILE_NAMES[source]} does not fit this model: {found}", block.span)
    return {**_token_ids(config, keys, source), **scope.settings}


def _keys(config: Mapping[str, Any], source: str, arch: str) -> dict[str, Any]:
    if source == "hf":
        return text_config(config)
    # Other namespaces are others' business: the tokenizer's, the file's, its maker's own.
    return {k.removeprefix(arch + "."): config[k] for k in config if k.startswith(arch + ".")}


def _block(model: syntax.ModelSyntax, source: str, arch: str) -> syntax.Config:
    blocks = [block for block in model.configs if block.source == source]
    for block in blocks:
        if source == "hf" or arch in block.names:
            return block
    expected = " or ".join(name for block in blocks for name in block.names) or f"a `config {source}` block"
    found = f"{source} {arch or 'checkpoints'}"
    raise HfcError(f"model {model.name} does not describe {found}; expected {expected}", model.span)


def _token_ids(config: Mapping[str, Any], keys: Mapping[str, Any], source: str) -> dict[str, Any]:
    if source == "hf":
        return {key: value for key, value in keys.items() if key.endswith("_token_id")}
    prefix = "tokenizer.ggml."
    return {k.removeprefix(prefix): v for k, v in config.items() if k.startswith(prefix) and k.endswith("_token_id")}


def key_problems(model: syntax.ModelSyntax, config: Mapping[str, Any], source: str) -> Iterable[HfcError]:
    """Every key that the model file does not mention."""
    arch = str(config.get("general.architecture", ""))
    return _unmentioned(_block(model, source, arch), _keys(config, source, arch), source)


def _unmentioned(block: syntax.Config, keys: Mapping[str, Any], source: str) -> Iterable[HfcError]:
    """Every key must be used, asserted or ignored by the block, or be harmless. A null value counts as absent."""
    expressions = [*(s.value for s in block.settings), *block.requires]
    named = used = names_in(expressions)
    if positions.FUNCTION in used:
        used = [*used, *positions.KEYS[source]]
    leaves = [*_leaves(keys)]
    absent = [name for name in used if name not in leaves]  # may be meant to be a key that is there
    for key in leaves:
        related = any(
            key == u or key.startswith(u + ".") or u.startswith(key + ".")
            for u in (named if positions.turns_a_part(keys, key) else used)
        )
        if related or any(matches(p, block.ignored) for p in prefixes(key)) or is_harmless(key, keys):
            continue
        near = difflib.get_close_matches(key, absent, n=1)
        hint = "is it another variant of the model? A harmless key belongs into `ignore`, one that counts into a setting or `require`"
        yield HfcError(
            f"{FILE_NAMES[source]} has the key {key!r}, which the model file does not mention",
            block.span,
            f"is {near[0]!r} meant to be {key!r}?" if near else hint,
        )


def _leaves(keys: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    for key, value in keys.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        elif value is not None:
            yield prefix + key


def _entered(value: Any, part: str) -> Any:
    """What lies under one part of a dotted key: an entry by name, or an element of a list by number."""
    if isinstance(value, Mapping):
        return value.get(part)
    if isinstance(value, list) and part.isdigit() and int(part) < len(value):
        return value[int(part)]
    return None


PATTERN = "sliding_window_pattern"  # of a GGUF: a truth for each layer, or n where each n-th layer sees everything


class _ConfigScope(Scope):
    """Names are the index of a per-layer list, settings made above, then config keys."""

    def __init__(
        self,
        keys: Mapping[str, Any],
        source: str,
        checkpoint: Any,
        config: Mapping[str, Any],
        mentioned: Iterable[str] = (),
    ):
        self._mentioned = frozenset(mentioned)
        self.settings: dict[str, Any] = {}
        self._keys = keys
        self._source = source
        self._checkpoint = checkpoint
        self._config = config
        self._index: dict[str, int] = {}

    def setting(self, setting: syntax.SettingSyntax) -> Any:
        if setting.index is None:
            return self._value(setting)
        layers = self.settings.get("layers")
        if layers is None:
            raise HfcError("a per-layer list needs `layers = ...` above it", setting.span)
        if type(layers) is not int or not 0 < layers <= MAX_LAYERS:
            raise HfcError(f"layers must be a whole number from 1 to {MAX_LAYERS}, found {show(layers)}", setting.span)
        values = []
        for layer in range(layers):
            self._index = {setting.index: layer}
            values.append(self._value(setting))
        self._index = {}
        return values

    def require(self, condition: syntax.Expression) -> None:
        if self.evaluate(condition):
            return
        found = {name: self._or_null(syntax.Name(name, condition.span)) for name in names_in(condition)}
        shown = ", ".join(f"{name} is {show(value)}" for name, value in found.items()) or "it is never true"
        hint = self._meant_logic(condition)
        raise HfcError(f"{FILE_NAMES[self._source]} does not fit this model: {shown}", condition.span, hint)

    def _meant_logic(self, node: Any) -> str | None:
        """Whether a condition failed since an `or` after a name stands for a default: the name is there, and false."""
        for part in parts_of(node):
            if isinstance(part, syntax.Binary) and part.operator == "or" and not isinstance(part.right, syntax.Literal):
                left = part.left
                if isinstance(left, syntax.Name) and self._or_null(left) is False and self._or_null(part.right):
                    return f"`{left.name} or ...` takes the right side only where {left.name} is missing: write `{left.name} == true or ...`"
        return None

    def name(self, node: syntax.Name) -> Any:
        for known in (self._index, self.settings):
            if node.name in known:
                return known[node.name]
        value: Any = self._keys
        if self._source == "gguf":
            value = self._keys.get(node.name, self._config.get(node.name))
            value = _same_in_all_layers(value, self._keys.get("block_count"))
        else:
            for part in node.name.split("."):
                value = _entered(value, part)
        if value is None:
            near = difflib.get_close_matches(node.name, [*_leaves(self._keys), *self.settings], n=1)
            hint = f"did you mean {near[0]!r}?" if near else _default_hint(node)
            raise Absent(f"{FILE_NAMES[self._source]} has no key {node.name!r}, which the model needs", node.span, hint)
        return value

    def call(self, node: syntax.CallExpression) -> Any:
        function = node.function.name if isinstance(node.function, syntax.Name) else ""
        if function == "shape":
            return self._tensor_shape(node)
        if function == positions.FUNCTION and len(node.arguments) <= 1:
            layers = self.evaluate(node.arguments[0]) if node.arguments else None
            return positions.rope_scaling(self._keys, self._source, layers, node.span, self._mentioned)
        if function == "scaled_context" and len(node.arguments) == 2:
            return positions.scaled_context(*map(self.evaluate, node.arguments))
        return super().call(node)

    def index(self, node: syntax.Index) -> Any:
        """One layer's element of a list or a mapping of the checkpoint; `x[i, "key"]` enters mappings by number and by name."""
        listed = self._raw(node.value.name) if isinstance(node.value, syntax.Name) else None
        if isinstance(listed, Mapping) or (len(node.items) > 1 and listed is None):
            return self._entry(node, listed)
        if self._source != "gguf" or len(node.items) != 1 or listed is None or isinstance(listed, str):
            return super().index(node)
        at = self.evaluate(node.items[0])
        if type(at) is int and type(listed) in (int, float):  # one number for all layers
            is_pattern = node.value.name.endswith(PATTERN) and listed > 0
            return at % listed < listed - 1 if is_pattern else listed
        if type(at) is not int or not 0 <= at < len(listed):
            raise HfcError(f"index {show(at)} is outside of a list of {len(listed)}", node.span)
        return listed[at]

    def _raw(self, name: str) -> Any:
        """The value of a key as it stands in the checkpoint's config; None where a setting of ours has the name."""
        if name in self.settings or name in self._index:
            return None
        if self._source == "gguf":
            return self._keys.get(name, self._config.get(name))
        value: Any = self._keys
        for part in name.split("."):
            value = _entered(value, part)
        return value

    def _entry(self, node: syntax.Index, value: Any) -> Any:
        for item in node.items:
            at = str(self.evaluate(item))
            value = _entered(value, at)
            if value is None:
                raise Absent(f"{FILE_NAMES[self._source]} has no {node.span.text.strip()!r} for {at!r}", node.span)
        return value

    def _tensor_shape(self, node: syntax.CallExpression) -> list[int]:
        name = self.evaluate(node.arguments[0]) if len(node.arguments) == 1 else None
        if isinstance(name, str):  # {i} is the layer of a list, as in weight tables
            name = re.sub(r"\{(\w+)\}", lambda match: str(self.name(syntax.Name(match[1], node.span))), name)
        else:
            raise HfcError('shape takes the name of one tensor: shape("token_embd.weight")', node.span)
        if self._checkpoint is None or name not in self._checkpoint.names():
            raise Absent(f"the checkpoint has no tensor {name!r}, whose shape the model needs", node.span)
        return list(self._checkpoint.info(name).shape)

    def _value(self, setting: syntax.SettingSyntax) -> Any:
        try:
            value = self.evaluate(setting.value)
        except Absent:
            raise
        except HfcError as error:
            raise with_layer(error, setting.value, self.settings) from None
        if isinstance(value, list) and setting.index is None:
            return tuple(value)
        return value


def _default_hint(node: syntax.Name) -> str:
    own = ", in a line of its own in place of `usual`" if node.name not in node.span.text else ""
    return f"where the modelling code has a default, write `{node.name} or DEFAULT`{own}"


def _same_in_all_layers(value: Any, layers: Any) -> Any:
    """A GGUF may give one number for each layer where one for all would do."""
    if isinstance(value, (list, tuple)) and len(value) > 1 and len(value) == layers and len(set(value)) == 1:
        return value[0]
    return value
