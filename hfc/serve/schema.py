"""JSON schemas of clients as the grammar library takes them: what says nothing goes, what it cannot enforce is left out and told.

Every text that the cleaned schema allows is valid by the schema as it came, as far as `loosened` is empty."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from hfc.base.dataclass import dataclass
from hfc.serve.errors import ApiError
from hfc.serve.schema_keywords import (
    ANNOTATIONS,
    BOUNDS,
    COUNTS,
    DEEPEST,
    ENFORCED,
    FORMATS,
    KNOWN,
    LISTS,
    MAPS,
    MOST,
    MOST_NUMBER,
    OTHER_TYPES,
    TYPES,
    UNENFORCED,
)

# what the library's regular expressions lack: look-around, references back, word boundaries, {,n} and control escapes
_BEYOND_REGEX = re.compile(r"\(\?(?:[=!]|<[=!])|\\[bBGAzZc]|\\[1-9]|\\k<|\{,")


@dataclass(frozen=True)
class Cleaned:
    """loosened: places that are not enforced, "properties.tags: uniqueItems"."""

    schema: dict[str, Any]
    loosened: tuple[str, ...] = ()


def cleaned(schema: Any) -> Cleaned:
    """ApiError 400 for what is no schema or nested too deeply."""
    cleaner = _Cleaner(schema)
    return Cleaned(cleaner.schema(schema, (), 0), tuple(dict.fromkeys(cleaner.loosened)))


def bare(schema: Any) -> Any:
    """The shape of a cleaned schema alone, for one that does not compile: types, properties, required, items and values."""
    if not isinstance(schema, Mapping):
        return schema
    kept = (
        "type",
        "properties",
        "required",
        "items",
        "enum",
        "const",
        "anyOf",
        "additionalProperties",
        "$ref",
        "$defs",
        "definitions",
    )
    out = {k: v for k, v in schema.items() if k in kept}
    if "patternProperties" in schema:  # names that it allows are additional now
        out.pop("additionalProperties", None)
    if "$ref" in out:  # the library follows no circle of references that have keys beside them
        out = {k: v for k, v in out.items() if k in ("$ref", "$defs", "definitions")}
    if "properties" in out:
        out["properties"] = {name: bare(inner) for name, inner in out["properties"].items()}
    for key in ("$defs", "definitions"):
        if key in out:
            out[key] = {name: _bare_definition(inner) for name, inner in out[key].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(out.get(key), Mapping):
            out[key] = bare(out[key])
    if "anyOf" in out:
        out["anyOf"] = [bare(inner) for inner in out["anyOf"]]
    return out


def _bare_definition(definition: Any) -> Any:
    if isinstance(definition, Mapping) and _is_group(definition):
        return {name: _bare_definition(inner) for name, inner in definition.items()}
    return bare(definition)


class _Cleaner:
    def __init__(self, root: Any):
        self.loosened: list[str] = []
        self._groups: set[tuple[str, ...]] = set()  # places of groups of definitions
        self._root = root
        self._entered = _entered(root)
        self._closes = not _is_composed(root)

    def schema(self, schema: Any, place: tuple[str, ...], depth: int) -> Any:
        if schema is True or (schema is False and depth):
            return {} if schema else False
        if not isinstance(schema, Mapping):
            raise ApiError(400, f"{'.'.join(place) or 'the schema'} should be an object", None, "invalid_schema")
        if depth > DEEPEST:
            raise ApiError(400, f"the schema is nested more than {DEEPEST} deep", None, "invalid_schema")
        is_definition = place[-2:-1] in (("$defs",), ("definitions",)) or place[:-1] in self._groups
        if is_definition and (_is_group(schema) or place in self._entered and _has_objects(schema)):
            self._groups.add(place)
            return {
                name: self.schema(inner, (*place, name), depth + 1) for name, inner in schema.items()
            }  # a group of them
        out: dict[str, Any] = {}
        for key, value in schema.items():
            if key in UNENFORCED:
                if not _says_nothing(key, value, schema):
                    self._unenforced(key, value, schema, out, place)
            elif key in ENFORCED:
                self._enforced(key, value, schema, out, place, depth)
            elif key not in ANNOTATIONS and (near := difflib.get_close_matches(key, ENFORCED, 1, 0.85)):
                self._loosen(place, f"{key} (did you mean {near[0]}?)")
        self._unite(schema, out, place, depth)
        self._count_properties(out, place)
        return _closed(out) if self._closes else out

    def _loosen(self, place: Iterable[str], what: str) -> None:
        self.loosened.append(f"{'.'.join(place)}: {what}" if place else what)

    def _enforced(
        self, key: str, value: Any, schema: Mapping[str, Any], out: dict[str, Any], place: tuple[str, ...], depth: int
    ) -> None:
        """Put a keyword into `out`, in the library's form."""
        here = (*place, key)
        if key in MAPS and isinstance(value, Mapping):
            if key == "patternProperties" and any(map(_BEYOND_REGEX.search, value)):
                self._loosen(place, key)
                return
            out[key] = {name: self.schema(inner, (*here, name), depth + 1) for name, inner in value.items()}
        elif key in LISTS and isinstance(value, list):
            if value or key == "prefixItems":
                out[key] = [self.schema(inner, (*here, str(i)), depth + 1) for i, inner in enumerate(value)]
        elif key in ("items", "additionalProperties", "additionalItems"):
            self._inner(key, value, out, here, depth)
        elif key == "type":
            self._type(value, out, place)
        elif key in COUNTS:
            if isinstance(value, (int, float)) and not isinstance(value, bool) and value == int(value) and value >= 0:
                if value:
                    out[key] = int(value)
            else:
                self._loosen(place, key)
        elif key in BOUNDS:
            self._bound(key, value, MOST if schema.get("type") == "integer" else MOST_NUMBER, out, place)
        elif key == "format" and value not in FORMATS:
            if "string" in (_types(schema) or ("string",)):
                self._loosen(place, f"format {value}")
        elif key == "pattern" and (not isinstance(value, str) or _BEYOND_REGEX.search(value)):
            self._loosen(place, key)
        elif key == "required":
            names = [n for n in value if isinstance(n, str)] if isinstance(value, list) else []
            if names:
                out[key] = names
            if not isinstance(value, list):
                self._loosen(place, key)
        elif key == "multipleOf" and not (isinstance(value, (int, float)) and 0 < value < MOST_NUMBER / 100):
            self._loosen(place, key)
        elif key == "$ref" and not self._names_something(value):
            self._loosen(place, f"{key} {value}")
        elif key == "enum" and not (isinstance(value, list) and value):
            self._loosen(place, key)
        elif key not in ("oneOf", "$schema", "$id", "$anchor"):
            out[key] = value

    def _inner(self, key: str, value: Any, out: dict[str, Any], here: tuple[str, ...], depth: int) -> None:
        if isinstance(value, bool):
            if not value or key != "items":
                out[key] = value
        elif isinstance(value, list):  # before draft 2020-12 these were prefixItems
            out[key] = [self.schema(inner, (*here, str(i)), depth + 1) for i, inner in enumerate(value)]
        else:
            out[key] = self.schema(value, here, depth + 1)

    def _type(self, value: Any, out: dict[str, Any], place: tuple[str, ...]) -> None:
        given = value if isinstance(value, list) else [value]
        names = [OTHER_TYPES.get(str(name).lower(), str(name).lower()) for name in given]
        known = list(dict.fromkeys(name for name in names if name in TYPES))
        if len(known) < len(set(names)):
            if "any" not in names:
                self._loosen(place, f"type {value}")
            return
        out["type"] = known if len(known) > 1 else known[0]

    def _bound(self, key: str, value: Any, most: int, out: dict[str, Any], place: tuple[str, ...]) -> None:
        """A bound that the library cannot count to is one that it can: few values are lost, none is wrong."""
        if isinstance(value, bool):  # draft 4
            out[key] = value
        elif isinstance(value, (int, float)) and not math.isnan(value):
            if abs(value) < most or _narrows(key, value):
                out[key] = max(-most, min(most, value))
            else:
                self._loosen(place, key)
        else:
            self._loosen(place, key)

    def _unenforced(
        self, key: str, value: Any, schema: Mapping[str, Any], out: dict[str, Any], place: tuple[str, ...]
    ) -> None:
        """Say it another way where there is one, else leave it out."""
        plain = not any(k in schema for k in ("$ref", "anyOf", "oneOf", "allOf", "if", "patternProperties"))
        if key == "unevaluatedProperties" and value is False and plain:
            out["additionalProperties"] = False
        elif (
            key == "propertyNames"
            and plain
            and (pattern := _names_pattern(value)) is not None
            and not schema.get("properties")
        ):
            others = schema.get("additionalProperties", True)
            out["patternProperties"] = {
                pattern: {} if others is True else self.schema(others, (*place, "additionalProperties"), 1)
            }
            out["additionalProperties"] = False
        else:
            self._loosen(place, key)

    def _unite(self, schema: Mapping[str, Any], out: dict[str, Any], place: tuple[str, ...], depth: int) -> None:
        """oneOf as anyOf, which is as good where no value satisfies two of them."""
        if out.get("patternProperties") and "propertyNames" in schema and not schema.get("patternProperties"):
            out["additionalProperties"] = False  # the keyword's own value came later
        branches = schema.get("oneOf")
        if not isinstance(branches, list) or not branches:
            return
        if not self._are_disjoint(branches):
            self._loosen(place, "oneOf (as anyOf)")
        united = [self.schema(inner, (*place, "oneOf", str(i)), depth + 1) for i, inner in enumerate(branches)]
        if "anyOf" in out:
            out["allOf"] = [*out.get("allOf", ()), {"anyOf": united}]
        else:
            out["anyOf"] = united

    def _count_properties(self, out: dict[str, Any], place: tuple[str, ...]) -> None:
        """The library counts properties where all that are listed are required."""
        names, required = out.get("properties") or {}, set(out.get("required", ()))
        if required.issuperset(names):
            return
        least, most = out.pop("minProperties", 0), out.pop("maxProperties", None)
        if least > len(required):
            self._loosen(place, "minProperties")
        is_closed = out.get("additionalProperties") is False and "patternProperties" not in out
        if most is not None and not (is_closed and most >= len(names)):
            self._loosen(place, "maxProperties")

    def _are_disjoint(self, branches: list[Any]) -> bool:
        """By type, or by a required property whose values differ."""
        found = [self._resolved(branch) for branch in branches]
        types = [_types(branch) for branch in found]
        if all(types) and sum(map(len, types)) == len(frozenset().union(*types)):
            return not {"number", "integer"} <= frozenset().union(*types)
        keys = [_values(branch) for branch in found]
        shared = set(keys[0]).intersection(*keys[1:])
        return any(
            sum(len(k[name]) for k in keys) == len(frozenset().union(*(k[name] for k in keys))) for name in shared
        )

    def _names_something(self, reference: Any) -> bool:
        """Whether a reference stays inside the document and hits something."""
        if not isinstance(reference, str) or not reference.startswith("#"):
            return False
        return not reference.startswith("#/") or self._at(reference) is not None

    def _at(self, reference: str) -> Any:
        """What a JSON pointer names; None for nothing."""
        target = self._root
        for part in unquote(reference).removeprefix("#").strip("/").split("/"):
            part = part.replace("~1", "/").replace("~0", "~")
            if isinstance(target, list) and part.isdecimal() and int(part) < len(target):
                target = target[int(part)]
            else:
                target = target.get(part) if isinstance(target, Mapping) else None
        return target

    def _resolved(self, schema: Any) -> Any:
        """What a reference inside of the document names."""
        for _ in range(8):
            if not isinstance(schema, Mapping) or not isinstance(schema.get("$ref"), str):
                return schema
            schema = self._at(schema["$ref"])
        return schema


def _is_group(schema: Mapping[str, Any]) -> bool:
    """Definitions under a name of their own."""
    return not KNOWN.intersection(schema) and _has_objects(schema)


def _has_objects(schema: Mapping[str, Any]) -> bool:
    return bool(schema) and all(isinstance(value, Mapping) for value in schema.values())


def _entered(root: Any) -> set[tuple[str, ...]]:
    """Places of which references name a member that is no keyword: groups, be one of their members called "description"."""
    found: set[tuple[str, ...]] = set()
    left = [root]
    while left:
        value = left.pop()
        if isinstance(value, list):
            left += value
        elif isinstance(value, Mapping):
            left += value.values()
            reference = value.get("$ref")
            if isinstance(reference, str) and reference.startswith("#/"):
                parts = tuple(unquote(reference)[2:].split("/"))
                found |= {parts[:at] for at in range(1, len(parts)) if parts[at] not in KNOWN}
    return found


def _closed(out: dict[str, Any]) -> dict[str, Any]:
    """An object that says which properties it has grows no others: a valid text, and what its author meant."""
    names = out.get("properties")
    if names is None or any(k in out for k in ("additionalProperties", "patternProperties", "minProperties")):
        return out
    missing = [n for n in out.get("required", ()) if n not in names]
    return out if missing else {**out, "additionalProperties": False}


def _is_composed(schema: Any) -> bool:
    """Whether properties of one object may stand in several schemas: each alone must stay open then."""
    if isinstance(schema, list):
        return any(map(_is_composed, schema))
    if not isinstance(schema, Mapping):
        return False
    others = ("anyOf", "oneOf", "$ref", "if", "dependentSchemas")
    return (
        "allOf" in schema
        or ("properties" in schema and any(k in schema for k in others))
        or any(map(_is_composed, schema.values()))
    )


def _says_nothing(key: str, value: Any, schema: Mapping[str, Any]) -> bool:
    if key == "propertyNames":
        return value in (True, {}, {"type": "string"})
    if key == "uniqueItems":
        return value is not True or (isinstance(schema.get("maxItems"), int) and schema["maxItems"] <= 1)
    if key == "if":
        return "then" not in schema and "else" not in schema
    if key == "contains":
        return schema.get("minContains") == 0 and "maxContains" not in schema
    if key in ("dependentRequired", "dependentSchemas", "dependencies"):
        return not value or (isinstance(value, Mapping) and not any(value.values()))
    if key in ("unevaluatedProperties", "unevaluatedItems"):
        return value in (True, {})
    return key == "not" and value is False


def _narrows(key: str, value: float) -> bool:
    """Whether a bound beyond what can be counted leaves the values that can be."""
    return value > 0 if key in ("maximum", "exclusiveMaximum") else value < 0


def _names_pattern(names: Any) -> str | None:
    """A regular expression of the property names that a schema allows."""
    if not isinstance(names, Mapping) or set(names) - {"type", "enum", "pattern", "$schema", "description"}:
        return None
    if isinstance(names.get("enum"), list) and "pattern" not in names:
        return "^(" + "|".join(_escaped(str(name)) for name in names["enum"]) + ")$"
    pattern = names.get("pattern")
    return pattern if isinstance(pattern, str) and not _BEYOND_REGEX.search(pattern) else None


def _types(schema: Any) -> frozenset[str]:
    """The types that a schema allows; none when it does not say."""
    if not isinstance(schema, Mapping):
        return frozenset()
    kind = schema.get("type")
    if isinstance(kind, (str, list)):
        return frozenset([kind] if isinstance(kind, str) else map(str, kind))
    values = schema["enum"] if isinstance(schema.get("enum"), list) else [schema["const"]] if "const" in schema else []
    return frozenset("string" if isinstance(v, str) else "other" for v in values)


def _values(schema: Any) -> dict[str, frozenset[str]]:
    """Required properties of an object that have given values, and these as JSON."""
    if not isinstance(schema, Mapping) or not isinstance(schema.get("properties"), Mapping):
        return {}
    required, out = schema.get("required") or (), {}
    for name, inner in schema["properties"].items():
        if (
            name in required
            and isinstance(inner, Mapping)
            and ("const" in inner or isinstance(inner.get("enum"), list))
        ):
            out[name] = frozenset(json.dumps(v) for v in ([inner["const"]] if "const" in inner else inner["enum"]))
    return out


def _escaped(text: str) -> str:
    """For the library's regular expressions, which do not know all of Python's escapes."""
    return "".join(c if c.isalnum() or c in "_ -" else f"\\{c}" for c in text)
