"""`hfc.base.dataclass` makes what `dataclasses.dataclass` makes, with fewer instructions."""

import dataclasses
import inspect
import pickle
import re
from dataclasses import FrozenInstanceError, field, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import pytest

from hfc.base.dataclass import dataclass as ours


def made_by(dataclass):
    """Classes of every shape that is in use."""

    @dataclass(frozen=True)
    class Point:
        x: int
        y: list = field(default_factory=list)
        name: str = field(default="p", repr=False)
        seen: int = field(default=0, compare=False)
        made: str = field(default="", init=False)
        kind: ClassVar[str] = "point"
        only: int = field(default=3, kw_only=True)

        def __post_init__(self):
            if self.x < 0:
                raise ValueError("negative")

        @cached_property
        def twice(self):
            return 2 * self.x

    @dataclass(frozen=True)
    class Inherited(Point):
        z: float = 1.5

    @dataclass
    class Plain:
        a: int
        b: dict = field(default_factory=dict)

    @dataclass(frozen=True, eq=False)
    class Identity:
        a: int

    @dataclass
    class Own:
        a: int

        def __eq__(self, other):
            return True

        def __repr__(self):
            return "own"

        def __hash__(self):
            return 7

    @dataclass(frozen=True)
    class Empty:
        pass

    @dataclass(frozen=True, slots=True)
    class Slots:
        a: int = 1

    return Point, Inherited, Plain, Identity, Own, Empty, Slots


def told(dataclass):
    """What the classes do, as text."""
    Point, Inherited, Plain, Identity, Own, Empty, Slots = made_by(dataclass)
    p, q = Point(1, name="q"), Inherited(2, [3], only=4, z=0.5)
    yield [repr(v) for v in (p, q, Plain(1), Identity(2), Own(3), Empty(), Slots())]
    yield [[(n, v.kind) for n, v in inspect.signature(c).parameters.items()] for c in (Point, Inherited, Plain, Empty)]
    yield (
        p == Point(1, name="q", seen=9),
        p == Point(1),
        p == q,
        p.__eq__(3),
        Point(1) == Inherited(1),
        Empty() == Empty(),
    )
    yield replace(p, x=5, name="r"), replace(q, z=9.0), dataclasses.asdict(q), dataclasses.astuple(Plain(1, {2: 3}))
    yield hash(Slots()) == hash(Slots()), hash(Empty()) == hash(Empty()), Plain.__hash__, hash(Own(1))
    yield Identity(1) == Identity(1), hash(Identity(1)) == hash(Identity(1)), Own(1) == 5, Point.__match_args__
    yield p.twice, p.kind, p.made, [f.name for f in dataclasses.fields(q)], p.y is Point(1).y
    for action in (
        lambda: setattr(p, "x", 2),
        lambda: delattr(p, "x"),
        lambda: setattr(p, "other", 2),
        lambda: setattr(Empty(), "other", 2),
        lambda: setattr(q, "x", 2),
        lambda: hash(p),
        lambda: hash(Plain(1)),
        lambda: Point(-1),
        lambda: Point(),
        lambda: Point(1, 2, "", 0, 3),
        lambda: setattr(Slots(), "b", 1),
    ):
        with pytest.raises(Exception) as caught:
            action()
        yield caught.type
    derived = type("Derived", (Point,), {})(1)
    derived.free = 1
    with pytest.raises(FrozenInstanceError):
        derived.x = 2
    Library = dataclasses.make_dataclass("Library", [("more", int, 2)], bases=(Empty,), frozen=True)
    yield (
        Library(),
        Library.__dataclass_params__.frozen,
        Point.__dataclass_params__.frozen,
        Plain.__dataclass_params__.frozen,
    )
    with pytest.raises(TypeError):
        dataclass(type("Loose", (Point,), {"__annotations__": {"a": "int"}}))
    recursive = Plain(1)
    recursive.b["self"] = recursive
    yield repr(recursive)


def test_a_class_does_what_the_librarys_does():
    assert [repr(part) for part in told(ours)] == [repr(p) for p in told(dataclasses.dataclass)]


@ours(frozen=True)
class Kept:
    """One that pickle finds by its name."""

    a: int
    b: tuple = ()


def test_what_is_written_and_read_is_equal():
    found = pickle.loads(pickle.dumps(Kept(1, (2,))))
    assert found == Kept(1, (2,)) and hash(found) == hash(Kept(1, (2,))) and found != Kept(1)


def test_every_module_makes_its_classes_so():
    """A start makes a hundred; with the library's they are a fifth of it."""
    root = Path(__file__).parent.parent / "hfc"
    library = re.compile(r"^from dataclasses import .*\bdataclass\b|^@dataclasses\.dataclass", re.M)
    found = {p.relative_to(root).as_posix() for p in root.rglob("*.py") if library.search(p.read_text("utf-8"))}
    assert not found
