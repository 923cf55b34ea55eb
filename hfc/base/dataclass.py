"""`dataclass` of the standard library, made in a third of the time: a start makes a hundred of them before it does anything.

CPython before 3.13 compiles six texts for each frozen class, four million instructions; here one is, `__init__`, and what else a
class gets are closures over its fields. Options beside `frozen` and `eq` are left to the library.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(plain: type | None = None, /, *, frozen: bool = False, eq: bool = True, **others: Any) -> Any:
        """As `dataclasses.dataclass`: what it says of fields, defaults, `replace` and inheritance holds."""

        def made(cls: type) -> type:
            if others:
                return dataclasses.dataclass(frozen=frozen, eq=eq, **others)(cls)
            inherits = frozen and any(
                dataclasses.is_dataclass(base) for base in cls.__mro__[1:]
            )  # the library asks that both are
            return with_methods(
                dataclasses.dataclass(init=False, repr=False, eq=False, frozen=inherits)(cls), frozen, eq
            )

        return made if plain is None else made(plain)


def with_methods(cls: type, frozen: bool, eq: bool) -> type:
    """The class with the methods that it does not define itself."""
    fields = dataclasses.fields(cls)
    made: dict[str, Any] = {"__init__": init_of(cls, fields, frozen), "__repr__": repr_of_fields}
    if eq:
        key = key_of([field.name for field in fields if field.compare])
        made["__eq__"] = eq_of(key)
        own = vars(cls).get("__hash__")
        if own is None or "__eq__" in vars(cls):  # a class with __eq__ alone has None there
            made["__hash__"] = hash_of(key) if frozen else None
    if frozen:
        made |= refusals(cls, frozenset(field.name for field in fields))
    for name, method in made.items():
        if name not in vars(cls) or (name == "__hash__" and vars(cls)[name] is None):
            setattr(cls, name, method)
    vars(cls)["__dataclass_params__"].frozen = frozen
    return cls


def init_of(cls: type, fields: tuple[Field[Any], ...], frozen: bool) -> Callable[..., None]:
    """`__init__`, the one method whose speed asks for code of its own."""
    known: dict[str, Any] = {"_set": object.__setattr__, "_made": MISSING}
    taken, lines = ["self"], []
    in_order = sorted(fields, key=lambda field: field.kw_only)
    for field in in_order:
        if field.kw_only and "*" not in taken:
            taken.append("*")
        name, value = field.name, field.name
        if field.default_factory is not MISSING:
            known[f"_new_{name}"] = field.default_factory
            value = f"_new_{name}() if {name} is _made else {name}" if field.init else f"_new_{name}()"
        elif field.default is not MISSING:
            known[f"_of_{name}"] = field.default
        if field.init:
            is_made = field.default_factory is not MISSING
            default = "=_made" if is_made else f"=_of_{name}" if field.default is not MISSING else ""
            taken.append(name + default)
        elif field.default_factory is MISSING:
            continue  # the class has its default
        lines.append(f"_set(self, {name!r}, {value})" if frozen else f"self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    body = "\n    ".join(lines or ["pass"])
    exec(f"def __init__({', '.join(taken)}):\n    {body}", known)
    init = known["__init__"]
    init.__qualname__, init.__module__ = f"{cls.__qualname__}.__init__", cls.__module__
    init.__annotations__ = {field.name: field.type for field in fields if field.init} | {"return": None}
    return init


@recursive_repr()
def repr_of_fields(self: Any) -> str:
    said = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in dataclasses.fields(self) if field.repr)
    return f"{type(self).__qualname__}({said})"


def key_of(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    """What objects of a class are compared by."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda found: tuple(getattr(found, name) for name in names)


def eq_of(key: Callable[[Any], tuple[Any, ...]]) -> Callable[[Any, Any], Any]:
    def __eq__(self: Any, other: Any) -> Any:
        return key(self) == key(other) if type(other) is type(self) else NotImplemented

    return __eq__


def hash_of(key: Callable[[Any], tuple[Any, ...]]) -> Callable[[Any], int]:
    def __hash__(self: Any) -> int:
        return hash(key(self))

    return __hash__


def refusals(cls: type, names: frozenset[str]) -> dict[str, Callable[..., None]]:
    """A frozen class sets and deletes no attribute; a class made from it may have others."""

    def __setattr__(self: Any, name: str, value: Any) -> None:
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        super(cls, self).__setattr__(name, value)

    def __delattr__(self: Any, name: str) -> None:
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot delete field {name!r}")
        super(cls, self).__delattr__(name)

    return {"__setattr__": __setattr__, "__delattr__": __delattr__}
