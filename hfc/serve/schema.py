"""JSON schemas of clients as the grammar library takes them: what says nothing goes, what it cannot enforce is left out and told.

Every text that the cleaned schema allows is valid by the schema as it came, as far as `loosened` is empty."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from hfc.base.dataclass import dataclass
from hfc.serve.errors import ApiError
from hfc.serve.schema_facts import (
    BEYOND_REGEX,
    closed,
    entered,
    has_objects,
    is_composed,
    is_group,
    names_pattern,
    narrows,
    says_nothing,
    types_of,
    values_of,
)
from hfc.serve.schema_keywords import (
    ANNOTATIONS,
    BOUNDS,
    COUNTS,
    DEEPEST,
    ENFORCED,
    FORMATS,
    LISTS,
    MAPS,
    MOST,
    MOST_NUMBER,
    OTHER_TYPES,
    TYPES,
    UNENFORCED,
)


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
    if isinstance(definition, Mapping) and is_group(definition):
        return {name: _bare_definition(inner) for name, inner in definition.items()}
    return bare(definition)


class _Cleaner:
    def __init__(self, root: Any):
        self.loosened: list[str] = []
        self._groups: set[tuple[str, ...]] = set()  # places of groups of definitions
        self._root = root
        self._entered = entered(root)
        self._closes = not is_composed(root)

    def schema(self, schema: Any, place: tuple[str, ...], depth: int) -> Any:
        if schema is True or (schema is False and depth):
            return {} if schema else False
        if not isinstance(schema, Mapping):
            raise ApiError(400, f"{'.'.join(place) or 'the schema'} should be an object", None, "invalid_schema")
        if depth > DEEPEST:
            raise ApiError(400, f"the schema is nested more than {DEEPEST} deep", None, "invalid_schema")
        is_definition = place[-2:-1] in (("$defs",), ("definitions",)) or place[:-1] in self._groups
        if is_definition and (is_group(schema) or place in self._entered and has_objects(schema)):
            self._groups.add(place)
            return {
                name: self.schema(inner, (*place, name), depth + 1) for name, inner in schema.items()
            }  # a group of them
        out: dict[str, Any] = {}
        for key, value in schema.items():
            if key in UNENFORCED:
                if not says_nothing(key, value, schema):
                    self._unenforced(key, value, schema, out, place)
            elif key in ENFORCED:
                self._enforced(key, value, schema, out, place, depth)
            elif key not in ANNOTATIONS and (near := difflib.get_close_matches(key, ENFORCED, 1, 0.85)):
                self._loosen(place, f"{key} (did you mean {near[0]}?)")
        self._unite(schema, out, place, depth)
        self._count_properties(out, place)
        return closed(out) if self._closes else out

    def _loosen(self, place: Iterable[str], what: str) -> None:
        self.loosened.append(f"{'.'.join(place)}: {what}" if place else what)

    def _enforced(
        self, key: str, value: Any, schema: Mapping[str, Any], out: dict[str, Any], place: tuple[str, ...], depth: int
    ) -> None:
        """Put a keyword into `out`, in the library's form."""
        here = (*place, key)
        if key in MAPS and isinstance(value, Mapping):
            if key == "patternProperties" and any(map(BEYOND_REGEX.search, value)):
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
            if "string" in (types_of(schema) or ("string",)):
                self._loosen(place, f"format {value}")
        elif key == "pattern" and (not isinstance(value, str) or BEYOND_REGEX.search(value)):
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
            if abs(value) < most or narrows(key, value):
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
            and (pattern := names_pattern(value)) is not None
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
        types = [types_of(branch) for branch in found]
        if all(types) and sum(map(len, types)) == len(frozenset().union(*types)):
            return not {"number", "integer"} <= frozenset().union(*types)
        keys = [values_of(branch) for branch in found]
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
