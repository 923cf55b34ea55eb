"""Tools of a request: checked, shown to the model in its own style, forced by a grammar where the client wants a call."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from hfc.serve.dialects import CHAT
from hfc.serve.errors import ApiError
from hfc.serve.history import with_calls_as_text
from hfc.serve.messages import Name
from hfc.serve.output import ToolParser
from hfc.serve.tolerance import Tolerant, listed
from hfc.serve.toolparse import CLOSE, OPEN, BareJson, JsonCall, Schemas, TaggedCalls, XmlCall
from hfc.serve.workers.child import JSON_OPTIONS

EMPTY = {"type": "object", "properties": {}, "additionalProperties": False}
MOST_TOOLS = 512


class Function(Tolerant, dialect=CHAT, noun="function"):
    """parameters: a JSON schema; left out, the function takes none.  strict: arguments follow it, whoever decides to call."""

    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Tolerant, dialect=CHAT, noun="tool"):
    type: Literal["function"]
    function: Function


class FunctionName(Tolerant, dialect=CHAT, noun="choice"):
    name: Name


class NamedChoice(Tolerant, dialect=CHAT, noun="choice"):
    type: Literal["function"]
    function: FunctionName


class AllowedNames(Tolerant, dialect=CHAT, noun="choice"):
    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedChoice], Field(min_length=1, max_length=MOST_TOOLS)]


class AllowedChoice(Tolerant, dialect=CHAT, noun="choice"):
    type: Literal["allowed_tools"]
    allowed_tools: AllowedNames


def chosen(choice: Any) -> Any:
    """Of other dialects: {"type": "auto"}, Mistral's and Anthropic's any, a name without its function around it."""
    if isinstance(choice, dict) and choice.get("type") in ("none", "auto", "required", "any"):
        choice = choice["type"]
    if choice == "any":
        return "required"
    is_flat = isinstance(choice, dict) and choice.get("type") in ("function", "tool") and "function" not in choice
    return {"type": "function", "function": {"name": choice.get("name")}} if is_flat else choice


def _as_tools(tools: Any) -> Any:
    return [_as_tool(tool) for tool in tools] if isinstance(tools, list) else tools


def _as_tool(tool: Any) -> Any:
    """Some editors send chats the tools of /v1/responses or of Anthropic."""
    if not isinstance(tool, dict) or tool.get("type", "function") not in ("function", None):
        return tool
    if "function" in tool or "name" not in tool:
        return {"type": "function", **{k: v for k, v in tool.items() if v is not None}} if "function" in tool else tool
    function = {k: tool[k] for k in ("name", "description", "parameters", "strict") if k in tool}
    return {"type": "function", "function": {"parameters": tool.get("input_schema"), **function}}


Tools = Annotated[listed(CHAT, "tool", {"function": Tool}), Field(max_length=MOST_TOOLS), BeforeValidator(_as_tools)]
ToolChoice = Annotated[Literal["none", "auto", "required"] | NamedChoice | AllowedChoice, BeforeValidator(chosen)]


def allowed(tools: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[Mapping[str, Any]]:
    """The tools of a request that its choice leaves to the model. ApiError 400 for a name that none of them has."""
    known = {tool["function"]["name"] for tool in tools}
    if missing := [name for name in names if name not in known]:
        text = f"tool_choice allows {missing[0]!r}, which is not among the tools"
        raise ApiError(400, text, "tool_choice", "invalid_value")
    return [tool for tool in tools if tool["function"]["name"] in names]


def style_of(template: str | None) -> str:
    """ "xml" (Qwen 3.5), "hermes", "json" (Llama 3); "none": a template that knows no tools, to which hfc explains Hermes'."""
    source = template or ""
    if "tools" not in source:
        return "none"
    if "<function=" in source:
        return "xml"
    return "hermes" if OPEN in source else "json"


def schemas_of(tools: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """ApiError 400 for two tools of one name."""
    schemas = {t["function"]["name"]: t["function"].get("parameters") or EMPTY for t in tools}
    if len(schemas) != len(tools):
        raise ApiError(400, "two tools have the same name", "tools", "invalid_value")
    return schemas


def parser_of(style: str, schemas: Schemas) -> ToolParser:
    if style == "json":
        return BareJson(schemas)
    if style == "xml":
        return TaggedCalls(lambda index: XmlCall(index, schemas), (OPEN, "<function="))
    return TaggedCalls(lambda index: JsonCall(index, schemas), (OPEN,))


def forced_grammar(style: str, schemas: Schemas, several: bool) -> str:
    """Lark of an answer that is nothing but calls of these tools."""
    opening = "" if style == "json" else f"{json.dumps(OPEN)} "
    rules = [f"start: {opening}call{f' (_NL {opening}call)*' if several and style != 'json' else ''}", r"_NL: /\n/"]
    return "\n".join(rules + _call_rules(style, schemas))


def free_grammar(style: str, schemas: Schemas, strict: Container[str], opening: str = json.dumps(OPEN)) -> str:
    """Lark of an answer with calls where the model wants them. strict: tools whose arguments follow their schemas; others'
    are any object.  opening: the tag as Lark names it, `<tool_call>` without quotes where it is a control token."""
    schemas = {name: schema if name in strict else {"type": "object"} for name, schema in schemas.items()}
    if style == "json":  # an answer is one call or none; white space before its brace would leave that open
        rules = ["start: call | TEXT?", r"TEXT: /([^{\s<]|<[^|])(.|\n)*/"]
    elif opening.startswith('"'):
        rules = ["start: (opened call)* TEXT", f"opened[lazy]: TEXT {opening}", r"TEXT: /(.|\n)*/"]
    else:
        rules = [f"start: (TEXT {opening} call)* TEXT", r"TEXT: /(.|\n)*/"]
    return "\n".join(rules + _call_rules(style, schemas, strict))


def _call_rules(style: str, schemas: Schemas, strict: Container[str] | None = None) -> list[str]:
    """`call`: one of the tools, after the opening tag if the style has one."""
    rules = ["call: " + " | ".join(f"call_{i}" for i in range(len(schemas)))]
    for i, (name, schema) in enumerate(schemas.items()):
        if style == "xml":
            rules += _xml_rules(i, name, schema) if strict is None or name in strict else _xml_free(i, name)
            continue
        key = "parameters" if style == "json" else "arguments"
        head, tail = f'{{"name": {json.dumps(name)}, "{key}": ', "}"
        if style != "json":
            head, tail = f"\n{head}", f"{tail}\n{CLOSE}"
        rules += [f"call_{i}: {json.dumps(head)} args_{i} {json.dumps(tail)}", f"args_{i}: {_json_rule(schema)}"]
    return rules


def _xml_free(i: int, name: str) -> list[str]:
    """Any text up to the closing tag."""
    return [
        f"call_{i}: {json.dumps(f'{chr(10)}<function={name}>{chr(10)}')} rest_{i}",
        f"rest_{i}[suffix={json.dumps(CLOSE)}]: /(?s:.*)/",
    ]


def _xml_rules(i: int, name: str, schema: Mapping[str, Any]) -> list[str]:
    required = schema.get("required") or []
    parts, rules = [], []
    for j, (parameter, kind) in enumerate((schema.get("properties") or {}).items()):
        rule = f"value_{i}_{j}"
        head, tail = json.dumps(f"<parameter={parameter}>\n"), "\n</parameter>\n"
        if isinstance(kind, dict) and kind.get("type") == "string" and "enum" not in kind:
            rules.append(f"{rule}[suffix={json.dumps(tail)}]: /(?s:.*)/")
            part = f"{head} {rule}"
        elif isinstance(kind, dict) and kind.get("type") == "string":
            rules.append(f"{rule}: " + " | ".join(json.dumps(v) for v in kind["enum"]))
            part = f"{head} {rule} {json.dumps(tail)}"
        else:
            rules.append(f"{rule}: {_json_rule(_with_definitions(kind, schema))}")
            part = f"{head} {rule} {json.dumps(tail)}"
        parts.append(part if parameter in required else f"({part})?")
    head, tail = json.dumps(f"\n<function={name}>\n"), json.dumps(f"</function>\n{CLOSE}")
    return [f"call_{i}: {head} {' '.join(parts)} {tail}", *rules]


def _json_rule(schema: Any) -> str:
    """What Lark's rule of a value is; no arguments at all are written in one way."""
    if isinstance(schema, Mapping) and schema.get("type") == "object" and not schema.get("properties"):
        if schema.get("additionalProperties") is False and not schema.get("patternProperties"):
            return '"{}"'
    options = {"x-guidance": JSON_OPTIONS} if isinstance(schema, Mapping) else {}
    return f"%json {json.dumps({**schema, **options} if options else schema)}"


def _with_definitions(kind: Any, schema: Mapping[str, Any]) -> Any:
    """A part of a schema with what its references name."""
    named = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    return {**named, **kind} if named and "$ref" in json.dumps(kind) else kind


def explained(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Messages for a template that knows no tools: definitions in the system message, calls and results as text."""
    out = with_calls_as_text(messages)
    if not tools:
        return out
    lines = "\n".join(json.dumps(t, ensure_ascii=False) for t in tools)
    text = (
        f"You can call functions. Their definitions:\n<tools>\n{lines}\n</tools>\n"
        f'To call one, answer with:\n{OPEN}\n{{"name": "its name", "arguments": {{its arguments}}}}\n{CLOSE}'
    )
    if out and out[0]["role"] == "system":
        out[0] = {"role": "system", "content": f"{out[0]['content']}\n\n{text}"}
        return out
    return [{"role": "system", "content": text}, *out]
