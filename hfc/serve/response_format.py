"""The `response_format` of a chat, as an Ask wants it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from hfc.serve.dialects import CHAT
from hfc.serve.parameters import Text
from hfc.serve.tolerance import Tolerant, refusal


class JsonSchema(Tolerant, dialect=CHAT, noun="response_format"):
    name: str | None = None
    description: str | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


class TextFormat(Tolerant, dialect=CHAT, noun="response_format"):
    type: Literal["text"]


class JsonObjectFormat(Tolerant, dialect=CHAT, noun="response_format"):
    """schema: llama.cpp's, of the object."""

    type: Literal["json_object"]
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None


class JsonSchemaFormat(Tolerant, dialect=CHAT, noun="response_format"):
    """schema: llama.cpp's place for it."""

    type: Literal["json_schema"]
    json_schema: JsonSchema | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None

    @model_validator(mode="after")
    def _has_one(self) -> JsonSchemaFormat:
        if self.json_schema is None and self.schema_ is None:
            raise refusal("missing parameter: a format of type json_schema has one", "json_schema", "missing_parameter")
        return self


class RegexFormat(Tolerant, dialect=CHAT, noun="response_format"):
    """Beyond OpenAI: the answer matches a regular expression."""

    type: Literal["regex"]
    pattern: Text


class LarkFormat(Tolerant, dialect=CHAT, noun="response_format"):
    """Beyond OpenAI: the answer follows a Lark grammar (llguidance's dialect) with a rule `start`."""

    type: Literal["lark"]
    grammar: Text


ResponseFormat = Annotated[
    TextFormat | JsonObjectFormat | JsonSchemaFormat | RegexFormat | LarkFormat, Field(discriminator="type")
]


def format_of(format: ResponseFormat | None) -> dict[str, Any] | None:
    """As Ask wants it."""
    if isinstance(format, JsonObjectFormat):
        return {"type": "json_schema", "schema": format.schema_ or {"type": "object"}}
    if isinstance(format, JsonSchemaFormat):
        if format.json_schema is None:
            return {"type": "json_schema", "schema": format.schema_, "param": "response_format.schema"}
        given = format.json_schema
        param = "response_format.json_schema.schema"
        return {
            "type": "json_schema",
            "schema": given.schema_ or {"type": "object"},
            "strict": given.strict,
            "param": param,
        }
    return None if format is None or isinstance(format, TextFormat) else format.model_dump()
