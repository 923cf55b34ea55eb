"""Keywords of JSON Schema by what becomes of them: enforced by the grammar library, left out and told, or said for people."""

from __future__ import annotations

FORMATS = frozenset(
    ("date", "date-time", "time", "duration", "email", "uri", "uuid", "ipv4", "ipv6", "hostname", "unknown")
)
TYPES = frozenset(("string", "number", "integer", "boolean", "object", "array", "null"))
OTHER_TYPES = {  # names of programming languages, as people write them into tools
    "str": "string", "text": "string", "int": "integer", "long": "integer", "float": "number", "double": "number",
    "bool": "boolean", "dict": "object", "map": "object", "list": "array", "tuple": "array", "none": "null",
}  # fmt: skip
MAPS = ("properties", "patternProperties", "$defs", "definitions")  # name -> schema
LISTS = ("anyOf", "allOf", "prefixItems")  # of schemas
COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
ENFORCED = frozenset(
    (*MAPS, *LISTS, *COUNTS, *BOUNDS, "type", "enum", "const", "items", "additionalProperties", "additionalItems", "required",
     "multipleOf", "pattern", "format", "$ref", "oneOf", "$id", "$schema", "$anchor")
)  # fmt: skip
ANNOTATIONS = frozenset(
    ("title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly", "$comment", "$vocabulary",
     "$dynamicAnchor", "$recursiveAnchor", "id", "discriminator", "nullable", "xml", "externalDocs", "then", "else", "minContains",
     "maxContains", "contentMediaType", "contentSchema")
)  # fmt: skip
UNENFORCED = (
    "not", "if", "contains", "uniqueItems", "propertyNames", "dependentRequired", "dependentSchemas", "dependencies",
    "unevaluatedProperties", "unevaluatedItems", "$dynamicRef", "$recursiveRef", "contentEncoding",
)  # fmt: skip
MOST = (1 << 63) - 1025  # the library's integers end here
MOST_NUMBER = 10**17
KNOWN = ENFORCED | ANNOTATIONS | frozenset(UNENFORCED)
DEEPEST = 120
