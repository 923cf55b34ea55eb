"""What a JSON schema says, asked one question at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from hfc.serve.schema_keywords import KNOWN

# what the library's regular expressions lack: look-around, references back, word boundaries, {,n} and control escapes
BEYOND_REGEX = re.compile(r"\(\?(?:[=!]|<[=!])|\\[bBGAzZc]|\\[1-9]|\\k<|\{,")


def is_group(schema: Mapping[str, Any]) -> bool:
    """Definitions under a name of their own."""
    return not KNOWN.intersection(schema) and has_objects(schema)


def has_objects(schema: Mapping[str, Any]) -> bool:
    return bool(schema) and all(isinstance(value, Mapping) for value in schema.values())


def entered(root: Any) -> set[tuple[str, ...]]:
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


def closed(out: dict[str, Any]) -> dict[str, Any]:
    """An object that says which properties it has grows no others: a valid text, and what its author meant."""
    names = out.get("properties")
    if names is None or any(k in out for k in ("additionalProperties", "patternProperties", "minProperties")):
        return out
    missing = [n for n in out.get("required", ()) if n not in names]
    return out if missing else {**out, "additionalProperties": False}


def is_composed(schema: Any) -> bool:
    """Whether properties of one object may stand in several schemas: each alone must stay open then."""
    if isinstance(schema, list):
        return any(map(is_composed, schema))
    if not isinstance(schema, Mapping):
        return False
    others = ("anyOf", "oneOf", "$ref", "if", "dependentSchemas")
    return (
        "allOf" in schema
        or ("properties" in schema and any(k in schema for k in others))
        or any(map(is_composed, schema.values()))
    )


def says_nothing(key: str, value: Any, schema: Mapping[str, Any]) -> bool:
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


def narrows(key: str, value: float) -> bool:
    """Whether a bound beyond what can be counted leaves the values that can be."""
    return value > 0 if key in ("maximum", "exclusiveMaximum") else value < 0


def names_pattern(names: Any) -> str | None:
    """A regular expression of the property names that a schema allows."""
    if not isinstance(names, Mapping) or set(names) - {"type", "enum", "pattern", "$schema", "description"}:
        return None
    if isinstance(names.get("enum"), list) and "pattern" not in names:
        return "^(" + "|".join(_escaped(str(name)) for name in names["enum"]) + ")$"
    pattern = names.get("pattern")
    return pattern if isinstance(pattern, str) and not BEYOND_REGEX.search(pattern) else None


def types_of(schema: Any) -> frozenset[str]:
    """The types that a schema allows; none when it does not say."""
    if not isinstance(schema, Mapping):
        return frozenset()
    kind = schema.get("type")
    if isinstance(kind, (str, list)):
        return frozenset([kind] if isinstance(kind, str) else map(str, kind))
    values = schema["enum"] if isinstance(schema.get("enum"), list) else [schema["const"]] if "const" in schema else []
    return frozenset("string" if isinstance(v, str) else "other" for v in values)


def values_of(schema: Any) -> dict[str, frozenset[str]]:
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
