"""Every shipped family equals transformers on a tiny checkpoint: in the interpreter, under its GGUF names, on the host, as machine code.

It walks over tests/data/families; a new family needs no line here. Two families run on the host in the ordinary suite, all in the long tests.
"""

import re
import sys
from pathlib import Path

import pytest
from family_fixture import NAMES, Fixture
from model_reference import MODELS, TOLERANCE, state_errors

from hfc.compiler import open_source
from hfc.frontend.model import builtin_folder
from hfc.step import Step

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
import show_families  # noqa: E402

BOUND = 5e-3  # f16 keys and values
ORDINARY = {"qwen2", "cohere2"}  # on the host
ON_DEVICES = ("host", "gfx1100", "gfx906", "gfx1201")  # that every family was measured on
MOST_LINES, MEDIAN_LINES = 200, 90  # DeepSeek V4, Gemma 3n and 4 are the longest


@pytest.mark.parametrize("name", NAMES)
def test_the_interpreter_equals_transformers(name):
    fixture, model = Fixture(name), Fixture(name).interpreted()
    found = fixture.compare(model)
    assert found.worst <= TOLERANCE, found
    states = {key.removeprefix("state."): value for key, value in fixture.reference.items() if key.startswith("state.")}
    model.forward(Step.single(fixture.reference["tokens"]))
    errors = state_errors(model.interpreter, states, len(fixture.reference["tokens"])) if states else {}
    assert all(error <= TOLERANCE for error in errors.values()), errors


@pytest.mark.parametrize("name", [name for name in NAMES if Fixture(name).gguf])
def test_the_file_of_llama_cpp_s_converter_is_the_same_model(name):
    fixture = Fixture(name)
    found = fixture.compare(fixture.interpreted(fixture.gguf), fixture.gguf_reference)
    assert found.worst <= TOLERANCE, found


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in ORDINARY else pytest.mark.long) for n in NAMES])
def test_the_host_equals_transformers(name):
    model = Fixture(name).on("host")
    found = Fixture(name).compare(model)
    model.close()
    assert found.worst <= BOUND, found


@pytest.mark.long
@pytest.mark.parametrize("arch", ("gfx1100", "gfx906"))
@pytest.mark.parametrize("name", NAMES)
def test_its_machine_code_equals_transformers(name, arch):
    found = Fixture(name).compare(Fixture(name).on(arch))
    assert found.worst <= BOUND, found


def test_the_table_of_docs_models_is_what_was_measured():
    """scripts/show_families.py --table writes it again."""
    page = show_families.PAGE.read_text(encoding="utf-8")
    assert show_families.page_with(show_families.table()) == page
    for name in NAMES:
        shown = show_families.recorded(Fixture(name))
        assert {"interpret", *ON_DEVICES} <= set(shown), f"{name}: scripts/show_families.py {name}"
        assert shown["interpret"] <= TOLERANCE and max(shown[device] for device in ON_DEVICES) <= BOUND, name
        assert ("gguf" in shown) == (Fixture(name).gguf is not None), name


@pytest.mark.sampled(6)
@pytest.mark.parametrize("name", NAMES)
def test_the_launches_of_docs_models_are_what_passes_make(name):
    """scripts/show_families.py --launches counts them again."""
    recorded = show_families.recorded(Fixture(name))
    assert {key: recorded[key] for key in show_families.LAUNCHES} == show_families.launches(Fixture(name))


def test_every_model_file_has_a_checkpoint_it_was_compared_with():
    described = {
        path.stem for path in builtin_folder().glob("*.hfm") if not re.search(r"^  observe\(", path.read_text(), re.M)
    }
    folders = [*map(Fixture, NAMES)]
    compared = {fixture.source.model.path.stem for fixture in folders}
    compared |= {
        open_source(path.parent).model.path.stem
        for path in MODELS.glob("*/config.json")
        if path.parent.name in described
    }
    assert compared == described
    lines = sorted({fixture.source.model.path: fixture.lines for fixture in folders}.values())
    assert lines[-1] <= MOST_LINES and lines[len(lines) // 2] <= MEDIAN_LINES
