"""Schemas of clients: cleaned, loosened and told, or refused by name under strict; facts of the grammar library that this stands on."""

import json

import pytest
from serve_fakes import TOKENIZER, VOCAB, FakeModel
from test_serve_api import HELLO, app_of, call

from hfc.serve.errors import ApiError
from hfc.serve.grammar import GrammarCompiler
from hfc.serve.guides import NOT_ENFORCED
from hfc.serve.schema import bare, cleaned

COMPILER = GrammarCompiler(TOKENIZER, VOCAB)


def fails(schema):
    """What the library says of a schema; None when it compiles."""
    try:
        COMPILER.json_schema(schema, "x")
    except ApiError as error:
        return error.message
    return None


def takes(schema, text):
    matcher = COMPILER.json_schema(schema, "x")
    tokens = list(text.encode())
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


FACTS = [  # llguidance 1.9: schema, what it takes, what it does not though JSON Schema does (or the other way round)
    ({"type": "number", "maximum": 0.3}, ["0.3"], ["0.30", "3e-1"]),
    ({"type": "integer"}, ["1", "-0"], ["1e0", "1.0"]),
    ({"type": "integer", "maximum": 1000}, ["1000"], ["1e3", "1001", "1.0"]),
    ({"type": "number", "maximum": 1000}, ["1000.0", "1000"], ["1e3"]),
    ({"type": "number", "minimum": 0.1}, ["0.10", "0.1"], ["1e-1"]),
    ({"type": "number", "multipleOf": 0.5}, ["1.0"], ["0.50"]),
    ({"type": "number", "multipleOf": 2}, ["2"], ["2.0"]),
    ({"const": 1.0}, ["1"], ["1.0"]),
    ({"type": "integer", "minimum": 0}, ["0"], ["-0"]),
    ({"type": "integer", "maximum": (1 << 64) - 1}, [str((1 << 63) - 1)], [str(1 << 63)]),
    ({"type": "integer", "minimum": -(1 << 63) + 1025}, [str(-(1 << 63) + 1025)], [str(-(1 << 63))]),
    ({"type": "string", "pattern": r"^\d$"}, ['"7"'], ['"\u0663"']),
    ({"type": "string", "pattern": r"^\s$"}, ['" "', '"\u00a0"'], ['"x"']),
    ({"type": "string", "pattern": r"^\p{L}$"}, ['"\u00e9"'], ['"1"']),
    ({"type": "string", "format": "date"}, ['"2026-02-29"'], ['"2026-02-30"']),
    ({"type": "string"}, ['"\\t"', '"a"'], ['"\\u0061"', '"\\/"']),
    ({"type": "string", "maxLength": 1}, ['"\U0001f600"'], ['"ab"']),
    ({"type": "object", "properties": {"a": {}}, "additionalProperties": True}, ['{"b":1,"b":2}'], []),
    ({"type": "string", "minLenght": 3, "nullable": True, "contentEncoding": "base64"}, ['"a"'], ["null"]),
    ({"type": "integer", "format": "int32"}, ["99999999999"], []),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "good", "bad"), FACTS, ids=[json.dumps(s) for s, *_ in FACTS])
def test_facts_of_the_library(schema, good, bad):
    assert [text for text in good if not takes(schema, text)] == []
    assert [text for text in bad if takes(schema, text)] == []


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "propertyNames": {"type": "string"}}, {"type": "array", "uniqueItems": False}, {"not": {"type": "string"}},
        {"if": {}, "then": {}}, {"dependentRequired": {"a": ["b"]}}, {"contains": {}}, {"unevaluatedProperties": False},
        {"type": "string", "format": "binary"}, {"oneOf": [{"type": "number"}, {"type": "integer"}]},
        {"type": "string", "pattern": "(?=a)b"}, {"type": "string", "pattern": r"\bx"}, {"type": "string", "pattern": "a{,3}"},
        {"type": "string", "pattern": r"\cJ"}, {"type": "integer", "minimum": -(1 << 63)}, {"type": "number", "maximum": 1e308},
        {"type": "string", "minLength": 2.0}, {"type": "any"}, {"enum": []}, {"$ref": "http://json-schema.org/draft-07/schema#"},
        {"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a"], "minProperties": 2},
    ],
    ids=json.dumps,
)  # fmt: skip
def test_what_the_library_refuses_compiles_when_cleaned(schema):
    assert fails(schema), "the library has learned this: serve/schema.py need not change it any more"
    assert fails(cleaned(schema).schema) is None


CLEANED = [
    ({"propertyNames": {"type": "string"}, "type": "object"}, {"type": "object"}, ()),
    ({"type": "array", "uniqueItems": True, "maxItems": 1}, {"type": "array", "maxItems": 1}, ()),
    ({"type": "array", "uniqueItems": True}, {"type": "array"}, ("uniqueItems",)),
    ({"if": {"type": "string"}}, {}, ()),
    ({"dependentRequired": {}}, {}, ()),
    ({"unevaluatedProperties": True}, {}, ()),
    ({"type": "object", "properties": {"a": {}}, "unevaluatedProperties": False}, {"type": "object", "properties": {"a": {}}, "additionalProperties": False}, ()),
    ({"type": "integer", "minimum": -(1 << 63), "maximum": (1 << 63) - 1}, {"type": "integer", "minimum": -(1 << 63) + 1025, "maximum": (1 << 63) - 1025}, ()),
    ({"type": "number", "minimum": -1e308}, {"type": "number", "minimum": -(10**17)}, ()),
    ({"type": "integer", "minimum": 1 << 70}, {"type": "integer"}, ("minimum",)),
    ({"type": "string", "minLength": 2.0}, {"type": "string", "minLength": 2}, ()),
    ({"type": "string", "format": "binary"}, {"type": "string"}, ("format binary",)),
    ({"type": "integer", "format": "int32"}, {"type": "integer"}, ()),
    ({"type": "string", "pattern": "(?!a)b"}, {"type": "string"}, ("pattern",)),
    ({"type": "dict"}, {"type": "object"}, ()),
    ({"type": "string", "maxLenght": 3}, {"type": "string"}, ("maxLenght (did you mean maxLength?)",)),
    ({"$ref": "#/definitions/nothing"}, {}, ("$ref #/definitions/nothing",)),
    ({"oneOf": [{"type": "string"}, {"type": "null"}]}, {"anyOf": [{"type": "string"}, {"type": "null"}]}, ()),
    ({"oneOf": [{"type": "string"}, {"enum": ["a"]}]}, {"anyOf": [{"type": "string"}, {"enum": ["a"]}]}, ("oneOf (as anyOf)",)),
    ({"type": "object", "properties": {"a": {"not": {"const": 1}}}, "required": ["a"]},
     {"type": "object", "properties": {"a": {}}, "required": ["a"], "additionalProperties": False}, ("properties.a: not",)),
    ({"type": "object", "propertyNames": {"enum": ["a.b", "c"]}, "additionalProperties": {"type": "integer"}},
     {"type": "object", "patternProperties": {r"^(a\.b|c)$": {"type": "integer"}}, "additionalProperties": False}, ()),
    ({"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a"], "minProperties": 1, "maxProperties": 1},
     {"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a"], "additionalProperties": False}, ("maxProperties",)),
    ({"type": "object", "properties": {"a": {}}, "minProperties": 1}, {"type": "object", "properties": {"a": {}}, "additionalProperties": False}, ("minProperties",)),
    ({"$ref": "#/definitions/f", "definitions": {"f": {"instanceof": "Function"}}}, {"$ref": "#/definitions/f", "definitions": {"f": {}}}, ()),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "clean", "loosened"), CLEANED, ids=[json.dumps(s) for s, *_ in CLEANED])
def test_what_says_nothing_goes_and_what_is_not_enforced_is_told(schema, clean, loosened):
    found = cleaned(schema)
    assert (found.schema, found.loosened) == (clean, loosened) and fails(found.schema) is None


def test_branches_that_a_value_tells_apart_are_one_of():
    branch = lambda kind: {"type": "object", "properties": {"kind": {"const": kind}}, "required": ["kind"]}  # noqa: E731
    schema = {"oneOf": [{"$ref": "#/$defs/a"}, branch("b")], "$defs": {"a": branch("a")}}
    found = cleaned(schema)
    assert found.loosened == () and takes(found.schema, '{"kind":"a"}') and not takes(found.schema, '{"kind":"c"}')


def test_groups_of_definitions_keep_their_members():
    schema = {
        "$ref": "#/definitions/group/name",
        "definitions": {"group": {"name": {"type": "string", "format": "path"}}},
    }
    found = cleaned(schema)
    assert (
        found.loosened == ("definitions.group.name: format path",)
        and takes(found.schema, '"x"')
        and not takes(found.schema, "1")
    )


def test_members_of_a_group_may_be_called_like_keywords():
    """lerna's own schema has definitions of options, two of them named description and dependencies."""
    text, names = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
    group = {"access": text, "description": text, "dependencies": names}
    schema = {
        "type": "object", "properties": {"a": {"$ref": "#/$defs/options/create/access"}, "b": {"$ref": "#/$defs/options/create/dependencies"}},
        "$defs": {"options": {"create": group}},
    }  # fmt: skip
    found = cleaned(schema)
    assert found.loosened == () and takes(found.schema, '{"a":"x","b":["y"]}') and not takes(found.schema, '{"a":1}')


def test_objects_that_composition_shares_stay_open():
    part = {"type": "object", "properties": {"a": {"type": "integer"}}}
    other = {"type": "object", "properties": {"b": {"type": "integer"}}}
    found = cleaned({"allOf": [part, other]})
    assert found.loosened == () and takes(found.schema, '{"a":1,"b":2}')
    assert not takes(cleaned(part).schema, '{"a":1,"b":2}')


def test_schemas_that_are_too_deep_are_refused():
    schema = {}
    for _ in range(300):
        schema = {"items": schema}
    with pytest.raises(ApiError, match="nested"):
        cleaned(schema)


@pytest.fixture(scope="module")
def app():
    with app_of(FakeModel(context=4096)) as (app, _):
        yield app


PARAMETERS = {
    "type": "object",
    "properties": {"t": {"type": "array", "items": {"enum": ["x"]}, "uniqueItems": True, "maxItems": 2}},
}


def tool(name="f", **more):
    return {"type": "function", "function": {"name": name, **more}}


def test_tools_are_loosened_and_the_response_says_so(app):
    body = {**HELLO, "max_tokens": 100, "tools": [tool(parameters=PARAMETERS)], "tool_choice": "required"}
    for stream in (False, True):
        response = call(app, "POST", "/v1/chat/completions", json={**body, "stream": stream})
        assert response.status_code == 200 and response.headers[NOT_ENFORCED] == "f: properties.t: uniqueItems"


def test_strict_refuses_by_name(app):
    refused = call(
        app, "POST", "/v1/chat/completions", json={**HELLO, "tools": [tool(parameters=PARAMETERS, strict=True)]}
    )
    assert (
        refused.status_code == 400
        and "f: strict cannot be kept" in refused.text
        and "properties.t: uniqueItems" in refused.text
    )
    format = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": PARAMETERS}}
    refused = call(app, "POST", "/v1/chat/completions", json={**HELLO, "response_format": format}).json()["error"]
    assert refused["param"] == "response_format.json_schema.schema" and "uniqueItems" in refused["message"]
    format["json_schema"]["strict"] = False
    response = call(app, "POST", "/v1/chat/completions", json={**HELLO, "max_tokens": 60, "response_format": format})
    assert response.status_code == 200 and NOT_ENFORCED in response.headers


@pytest.mark.parametrize(
    "parameters", [None, {"type": "object", "properties": {}}, {"type": "object", "properties": {}, "required": []}]
)
def test_forced_calls_of_tools_without_parameters_have_no_arguments(app, parameters):
    tools = [tool(**({} if parameters is None else {"parameters": parameters}))]
    for choice in ("required", {"type": "function", "function": {"name": "f"}}):
        body = {**HELLO, "max_tokens": 120, "tools": tools, "tool_choice": choice, "parallel_tool_calls": False}
        choice = call(app, "POST", "/v1/chat/completions", json=body).json()["choices"][0]
        assert [c["function"]["arguments"] for c in choice["message"]["tool_calls"]] == ["{}"]
        assert choice["finish_reason"] == "tool_calls"


def test_a_schema_that_does_not_compile_keeps_its_shape(app):
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string", "minLength": 5, "maxLength": 2}},
        "required": ["a"],
    }
    format = {"type": "json_schema", "json_schema": {"schema": schema}}
    response = call(app, "POST", "/v1/chat/completions", json={**HELLO, "max_tokens": 9, "response_format": format})
    assert response.status_code == 200 and response.headers[NOT_ENFORCED] == "all but the shape"


def test_shapes_keep_circles_and_groups_of_groups():
    """References that lead back with keys beside them, and definitions two names deep."""
    circle = {
        "type": "object",
        "properties": {"a": {"type": "object", "minProperties": 1, "$ref": "#"}},
        "required": [],
    }
    assert fails(cleaned(circle).schema) is not None and takes(bare(cleaned(circle).schema), '{"a":{"a":{}}}')
    groups = {
        "$ref": "#/definitions/steps/told/run",
        "definitions": {"steps": {"told": {"run": {"type": "string", "format": "path"}}}},
    }
    found = cleaned(groups)
    assert found.loosened == ("definitions.steps.told.run: format path",)
    for schema in (found.schema, bare(found.schema)):
        assert takes(schema, '"x"') and not takes(schema, "1")


def test_the_shape_of_names_that_patterns_allow_leaves_them_room():
    schema = {
        "type": "object", "required": ["xa"], "properties": {"a": {"type": "integer"}},
        "patternProperties": {"^x": {}}, "additionalProperties": False,
    }  # fmt: skip
    shape = bare(cleaned(schema).schema)
    assert takes(shape, '{"a":1,"xa":2}') and not takes(shape, '{"xa":2,"a":"1"}')
