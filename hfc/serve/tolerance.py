"""Request objects of any dialect: what would change the answer is honoured or refused by name, all else is ignored and logged once.

A dialect's table (dialects.py) names what hfc cannot do; a field that neither the class nor the table knows has no effect."""

from __future__ import annotations

import functools
from collections.abc import Callable, Container, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import field
from typing import Annotated, Any, ClassVar, Union, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from hfc.base.dataclass import dataclass
from hfc.serve.limits import ServerLimits
from hfc.serve.log import log_once

_OTHER = "any other"
# Of one object, in the request that is being read: each is looked at, and a million of them takes seconds.
FIELDS: ContextVar[int] = ContextVar("fields", default=ServerLimits().json_fields)


@dataclass(frozen=True)
class Refused:
    """Why hfc cannot do what a field asks for. neutral: values that ask for what happens anyway, as nothing at all does.

    code: of the error; clients know some."""

    reason: str
    neutral: tuple[Any, ...] = ()
    code: str = "unsupported_parameter"

    def is_asked(self, value: Any) -> bool:
        return not any(
            value == other and isinstance(value, bool) == isinstance(other, bool)
            for other in (None, False, "", [], {}, *self.neutral)
        )


@dataclass(frozen=True)
class Dialect:
    """refused: "noun.field" -> why.  silent: "noun.field" that clients always send, not worth a line in the log.

    kinds: noun -> type -> why an object of this type is refused where a list may hold several; unknown types are left out."""

    name: str
    refused: Mapping[str, Refused] = field(default_factory=dict)
    silent: Container[str] = frozenset()
    kinds: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


class Tolerant(BaseModel):
    """A request object. class X(Tolerant, dialect=..., noun=...) says where it stands in the tables; null is as good as absent, and 5.0 is
    5 where a number of things is meant: clients without integers write it."""

    model_config = ConfigDict(extra="ignore", strict=True, protected_namespaces=())
    dialect: ClassVar[Dialect] = Dialect("hfc")
    noun: ClassVar[str] = "request"

    def __init_subclass__(cls, dialect: Dialect | None = None, noun: str | None = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.dialect, cls.noun = dialect or cls.dialect, noun or cls.noun

    @model_validator(mode="wrap")
    @classmethod
    def _tolerate(cls, data: Any, validate: Callable[[Any], Any]) -> Any:
        """What is ignored is said once the object is one of this class: of several that a value may be, the others ignore it too."""
        if not isinstance(data, dict):
            return validate(data)
        if len(data) > FIELDS.get():
            raise refusal(f"an object with {len(data)} fields is not read", next(reversed(data)), "invalid_value")
        known = {name: f for key, f in cls.model_fields.items() for name in (key, f.alias or key)}
        kept, ignored = {}, []
        for name, value in data.items():
            if name not in known:
                ignored += [name] if _is_told(cls.dialect, cls.noun, name, value) else []
            elif value is not None or known[name].is_required():
                is_whole = isinstance(value, float) and value.is_integer() and name in whole_fields(cls)
                kept[name] = int(value) if is_whole else value
        made = validate(kept)
        for name in ignored:
            log_once(f"{cls.dialect.name}: {name[:80]!r} of {_a(cls.noun)} has no effect here and is ignored")
        return made


@functools.cache
def whole_fields(cls: type[Tolerant]) -> frozenset[str]:
    """The fields that are whole numbers and no others."""
    kinds = {field.alias or name: set(_types(field.annotation)) for name, field in cls.model_fields.items()}
    return frozenset(name for name, found in kinds.items() if int in found and float not in found)


def _types(annotation: Any) -> Iterator[Any]:
    """Those that a value itself may be of: not those of what is in it."""
    parts = get_args(annotation)
    if isinstance(annotation, type) or not parts:
        yield annotation
    elif parts and getattr(annotation, "__metadata__", None) is not None:
        yield from _types(parts[0])
    elif getattr(annotation, "__origin__", None) not in (list, dict, tuple):
        for part in parts:
            yield from _types(part)


def _is_told(dialect: Dialect, noun: str, name: str, value: Any) -> bool:
    """Whether a field that is ignored is worth a line. PydanticCustomError for one that would change the answer."""
    place = f"{noun}.{name}"
    if place in dialect.refused:
        if (refused := dialect.refused[place]).is_asked(value):
            raise refusal(refused.reason, name, refused.code)
        return False
    return value is not None and place not in dialect.silent


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


class Other(BaseModel):
    """An object of a type that hfc does not know."""

    model_config = ConfigDict(extra="allow")


def listed(
    dialect: Dialect, noun: str, classes: Mapping[str, type], key: str = "type", usual: str | None = None
) -> Any:
    """The type of a list of objects told apart by `key`: those of `classes` stay, others are refused or left out, as the table says.

    usual: of an object that does not name its type."""

    def tag_of(item: Any) -> str | None:
        kind = item.get(key, usual) if isinstance(item, dict) else getattr(item, key, usual)
        if not isinstance(kind, str):
            return None
        return kind if kind in classes else _OTHER

    def without_others(items: list[Any]) -> list[Any]:
        kept = []
        for i, item in enumerate(items):
            if not isinstance(item, Other):
                kept.append(item)
                continue
            kind = (item.model_extra or {})[key]
            if (reason := dialect.kinds.get(noun, {}).get(kind)) is not None:
                raise refusal(reason, i, "unsupported_content")
            log_once(f"{dialect.name}: {_a(noun)} of type {kind[:80]!r} has no effect here and is left out")
        return kept

    members = [Annotated[cls, Tag(name)] for name, cls in (*classes.items(), (_OTHER, Other))]
    discriminator = Discriminator(
        tag_of, custom_error_type="untyped", custom_error_message=f"Input should be an object with a {key}"
    )
    return Annotated[
        list[Annotated[Union[tuple(members)], discriminator]], Field(fail_fast=True), AfterValidator(without_others)
    ]


def refusal(reason: str, place: str | int, code: str) -> PydanticCustomError:
    return PydanticCustomError("refused", "{reason}", {"reason": reason, "place": place, "code": code})
