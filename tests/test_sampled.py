"""What stays in the ordinary run of a product of parameters: one case in n, every function, every architecture of a file."""

from itertools import product
from types import SimpleNamespace

import pytest
from sampled import sample


class Case:
    """As much of a pytest.Item as is looked at."""

    def __init__(self, function: str, *marks: pytest.MarkDecorator, **params):
        self.nodeid = f"{function}[{'-'.join(map(str, params.values()))}]"
        self.marks = {mark.name: mark.mark for mark in marks}
        self.callspec = SimpleNamespace(params=params)

    def get_closest_marker(self, name: str) -> pytest.Mark | None:
        return self.marks.get(name)

    def add_marker(self, mark: pytest.MarkDecorator) -> None:
        self.marks[mark.name] = mark.mark


def cases(function: str, share: int, archs: str, formats: str, *marks) -> list[Case]:
    return [Case(function, pytest.mark.sampled(share), *marks, arch=a, format=f) for a, f in product(archs, formats)]


def ordinary(found: list[Case]) -> list[tuple[str, ...]]:
    sample(found)
    return [tuple(case.callspec.params.values()) for case in found if "long" not in case.marks]


def test_one_case_in_n_stays_and_they_show_as_many_values_as_they_can():
    kept = ordinary(cases("a.py::test", 5, "ABCDE", "0123456789"))
    assert len(kept) == 10
    assert {format for _, format in kept} == set("0123456789")
    assert sorted(arch for arch, _ in kept) == list("AABBCCDDEE")


def test_the_choice_does_not_depend_on_the_order_of_collection():
    there, back = (cases("a.py::test", 7, "ABCD", "01234") for _ in range(2))
    assert set(ordinary(there)) == set(ordinary(back[::-1]))


def test_every_function_keeps_a_case_and_what_is_named_alone_runs():
    assert len(ordinary(cases("a.py::test", 100, "AB", "01"))) == 2  # one, and another for the other architecture
    assert len(ordinary(cases("a.py::test", 100, "A", "01"))) == 1
    assert len(ordinary(cases("a.py::test", 100, "AB", "01")[2:3])) == 1


def test_every_architecture_of_a_file_stays_somewhere_in_it():
    found = cases("a.py::one", 8, "ABCDEFGH", "0") + cases("a.py::two", 8, "ABCDEFGH", "0")
    assert {arch for arch, _ in ordinary(found)} == set("ABCDEFGH")
    shown = [Case("a.py::whole", arch=arch) for arch in "ABCDEFGH"]
    assert len(ordinary(shown + cases("a.py::one", 8, "ABCDEFGH", "0"))) == 8 + 1
    elsewhere = [Case("b.py::whole", arch=arch) for arch in "ABCDEFGH"]
    assert len(ordinary(elsewhere + cases("a.py::one", 8, "ABCDEFGH", "0"))) == 8 + 8


def test_what_is_long_or_not_marked_stays_as_it_is():
    assert not ordinary(cases("a.py::test", 2, "AB", "01", pytest.mark.long))
    assert len(ordinary([Case("a.py::test", arch=arch) for arch in "ABCD"])) == 4
