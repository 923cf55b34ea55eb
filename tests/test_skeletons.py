"""Skeletons as rooms: what a template uses is what its dataclasses declare, and a new folder is all that a new skeleton needs."""

import dataclasses
import re
import sys
import typing
from pathlib import Path

import pytest
from hip_cases import CASES, CONTEXT, MAX_ROWS, SLOTS
from jinja2 import ChoiceLoader, FileSystemLoader, PrefixLoader

from hfc.backend import skeletons, template
from hfc.backend.compile import compile_kernel
from hfc.backend.hip import STANDARD, hip_source
from hfc.backend.render import environment, variables_of
from hfc.backend.skeleton import ROWS_CLASSES
from hfc.backend.skeletons import SKELETONS, geometry
from hfc.backend.spec import KernelRegion
from hfc.ir.opdef import OPS
from hfc.target.arch import GPUS, find_arch

BACKEND = Path(template.__file__).parent
TEMPLATES = [(skeleton, made) for skeleton in SKELETONS.values() for made in skeleton.templates]


def names(kind) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}


@pytest.mark.parametrize("skeleton, made", TEMPLATES, ids=[made.name for _, made in TEMPLATES])
def test_a_template_s_variables_are_the_declared_parameters(skeleton, made):
    used, own, region = variables_of(made.file), names(made.params), names(skeleton.region)
    assert used <= own | region | STANDARD, "used and not declared"
    assert own <= used, "declared and not used"
    assert not own & (region | STANDARD), "one name, one thing"


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=list(SKELETONS))
def test_every_field_of_a_region_is_used(skeleton):
    used = set().union(*(variables_of(made.file) for made in skeleton.templates))
    used |= variables_of(skeleton.host) if skeleton.host else set()
    code = "\n".join(path.read_text() for path in (BACKEND / "skeletons" / skeleton.stem).rglob("*.py"))
    used |= {name for name in names(skeleton.region) if hasattr(KernelRegion, name)}  # code around all skeletons asks
    assert all(name in used or re.search(rf"\b(region|self)\.{name}\b", code) for name in names(skeleton.region))


@pytest.mark.parametrize("skeleton, made", TEMPLATES, ids=[made.name for _, made in TEMPLATES])
def test_parameters_are_plain_data(skeleton, made):
    """No functions and no dictionaries of anything: a template's text depends on values that print."""
    for kind in (made.params, skeleton.region):
        hints = typing.get_type_hints(kind)
        assert kind.__dataclass_params__.frozen
        assert not [name for name, hint in hints.items() if "Callable" in str(hint) or "Any" in str(hint)]


def test_a_root_s_skeleton_knows_it():
    """An op's definition names its skeleton, and the skeleton its roots; what a pass makes (a rotation) is nobody's root."""
    stems = {kind: OPS[kind].stem for kind in OPS if OPS[kind].stem and not OPS[kind].internal}
    assert not {kind: stem for kind, stem in stems.items() if kind not in SKELETONS[stem].roots}
    assert {root for skeleton in SKELETONS.values() for root in skeleton.roots} == stems.keys()


MOST_LINES, MOST_COLUMNS, MOST_NESTED = 150, 120, 3
FILES = sorted(BACKEND.rglob("*.j2"))


def nested(text: str) -> int:
    """The deepest nesting of Jinja's for and if; a macro begins anew."""
    deepest, stack = 0, []
    for word in re.findall(r"(?://%|\{%)-?\s*(\w+)", text):
        if word in ("for", "if", "macro"):
            stack.append(word)
            within = stack[::-1].index("macro") if "macro" in stack else len(stack)
            deepest = max(deepest, within)
        elif word in ("endfor", "endif", "endmacro"):
            stack.pop()
    assert not stack
    return deepest


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(BACKEND).as_posix())
def test_templates_read_as_kernels(path):
    lines = path.read_text().splitlines()
    assert len(lines) <= MOST_LINES, "split it by noun, or move what never changes to device/*.h"
    assert not [f"line {n}: {len(line)}" for n, line in enumerate(lines, 1) if len(line) > MOST_COLUMNS]
    assert nested(path.read_text()) <= MOST_NESTED, "a macro, or a C++ template in device/*.h"


CHOSEN = re.compile(r"(?://%|\{%)-?\s*for (\w+) in [^%\n]*? if ([^%\n]*)")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(BACKEND).as_posix())
def test_a_loop_over_some_is_not_counted_as_one_over_all(path):
    """`for part in parts if part.reads` counts those that it keeps: loop.index0 is not the part's number."""
    text = path.read_text()
    for match in CHOSEN.finditer(text):
        if not re.search(rf"\b{match[1]}\b", match[2]):
            continue
        words, depth = re.finditer(r"(?://%|\{%)-?\s*(for|endfor)\b", text[match.start() :]), 0
        own = []  # text of this loop that no inner loop has
        last = match.end() - match.start()
        for word in words:
            if depth == 1:
                own.append(text[match.start() + last : match.start() + word.start()])
            depth += 1 if word[1] == "for" else -1
            last = max(last, word.end())
            if not depth:
                break
        assert "loop.index" not in "".join(own), f"line {text[: match.start()].count(chr(10)) + 1}"


@pytest.mark.parametrize("path", sorted(BACKEND.glob("skeletons/**/*.hip.j2")), ids=lambda path: path.name)
def test_every_kernel_waits_for_its_inputs(path):
    text = path.read_text()
    assert "hfc_begin();" in text or "hfc_wait_for_inputs();" in text, "it may start before the kernel ahead has ended"


def test_nesting_is_counted_within_macros():
    assert nested("{% for a in b %}{% if a %}//% for c in d\n//% endfor\n{% endif %}{% endfor %}") == 3
    assert nested("//% for a in b\n//% macro m()\n//% if a\n//% endif\n//% endmacro\n//% endfor") == 1


@pytest.mark.parametrize("arch", GPUS, ids=lambda arch: arch.name)
def test_the_last_variant_serves_what_the_others_refuse(arch):
    for bound in CASES:
        for rows_class in ROWS_CLASSES:
            reasons = [reason for _variant, reason in skeletons.verdicts(bound, arch, rows_class)]
            assert reasons[-1] is None and all(reason is None or len(reason) > 10 for reason in reasons)


HALVE = """
from dataclasses import dataclass

from hfc.backend.shape import Geometry
from hfc.backend.skeleton import Skeleton, always
from hfc.backend.spec import Arg, Bound, KernelRegion
from hfc.backend.template import LITTLE_WORK, Params, KernelTemplate


@dataclass(frozen=True)
class HalveRegion(KernelRegion):
    size: int


@dataclass(frozen=True)
class HalveParams(Params):
    by: float{more}


HALVE = KernelTemplate("toy/halve.hip.j2", LITTLE_WORK, HalveParams)


def launches(bound, arch):
    return (Geometry(HALVE, bound.name, ("T", "1", "1"), 64, HalveParams(0.5{values})),)


SKELETON = Skeleton("halve", (), HalveRegion, None, always(launches), (HALVE,), 0.0)
BOUND = Bound("halve", "halve", (Arg("y", "buffer", "float", None, written=True),), "T", HalveRegion(64))
"""
TEXT = """{{ preface }}
extern "C" __global__ __launch_bounds__({{ block }})
void {{ symbol }}({{ params }}) {
  const int row = hfc_block_x();
  if (row < {{ row_count }}) y[row * {{ size }} + hfc_thread()] *= {{ by | f32 }};
}
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A skeleton in a folder of its own, found as those of hfc are."""

    def bound(more: str = "", values: str = ""):
        room = tmp_path / "halve"
        room.mkdir()
        (room / "__init__.py").write_text(HALVE.replace("{more}", more).replace("{values}", values))
        (room / "halve.hip.j2").write_text(TEXT)
        found = skeletons.discover([str(tmp_path)], "")
        monkeypatch.setitem(SKELETONS, "halve", found["halve"])
        return sys.modules["halve"].BOUND

    monkeypatch.syspath_prepend(tmp_path)
    loaders = [environment().loader, PrefixLoader({"toy": FileSystemLoader(tmp_path / "halve")})]
    monkeypatch.setattr(environment(), "loader", ChoiceLoader(loaders))
    variables_of.cache_clear()
    yield bound
    sys.modules.pop("halve", None)


def source(bound) -> str:
    arch = find_arch("gfx1100")
    return hip_source(bound, arch, geometry(bound, arch, "decode")[0], MAX_ROWS, CONTEXT, SLOTS)


def test_a_new_skeleton_is_one_folder(toy):
    text = source(toy())
    assert "y[row * 64 + hfc_thread()] *= 0.5f;" in text
    assert compile_kernel(text, find_arch("gfx1100"), "halve").resources.spills == 0


def test_a_parameter_that_the_template_does_not_use_is_refused(toy):
    bound = toy(more="\n    rows: int", values=", 3")
    with pytest.raises(AssertionError, match="toy/halve.hip.j2: declared and not used: rows"):
        source(bound)


def test_a_variable_that_nothing_declares_is_refused(toy, tmp_path):
    bound = toy()
    (tmp_path / "halve" / "halve.hip.j2").write_text(TEXT.replace("by | f32", "factor | f32"))
    with pytest.raises(AssertionError, match="declared and not used: by"):
        source(bound)
    (tmp_path / "halve" / "halve.hip.j2").write_text(TEXT.replace("by | f32", "by * factor"))
    variables_of.cache_clear()
    with pytest.raises(AssertionError, match="used and not declared: factor"):
        source(bound)
