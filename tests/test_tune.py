"""`hfc tune`: what counts as faster, the user's table and who follows it, and the whole of it on software cards."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hip_double.build import environment, library_folder

from hfc.backend.skeletons import geometry
from hfc.backend.skeletons.linear import choices
from hfc.backend.skeletons.linear.candidates import candidates, launches_as
from hfc.backend.skeletons.linear.choices import Choice, candidate, own_choices, read_rows, write_rows
from hfc.backend.skeletons.linear.region import LinearRegion
from hfc.base.diagnostics import HfcError
from hfc.compiler import CompileOptions, chosen_settings, emit_model, open_source, settings_for
from hfc.compiler import _key as cache_key
from hfc.target.arch import find_arch
from hfc.tune.compare import Comparison, Tuned
from hfc.tune.part import part_of

DATA = Path(__file__).parent / "data"
CONFIG = DATA / "configs/Qwen3.5-0.8B.config.json"
SMALL = DATA / "models/llama/config.json"
SPLIT = candidate("skinny split=2 resident=4")


def emitted(arch, form="q4_k"):
    opened = open_source(CONFIG, default_format=form)
    return emit_model(opened, settings_for(opened, find_arch(arch), CompileOptions(ctx=512, profile="fast")))


@pytest.fixture(scope="module")
def hopper():
    return emitted("sm_90")


def down(found):
    return next(b for b in found.kernels.values() if isinstance(b.region, LinearRegion) and b.region.k == 3584)


def compared(way, one, eight=100.0, sixteen=200.0):
    return Comparison(candidate(way), {1: one, 8: eight, 16: sixteen}, {1: 50.0, 8: 100.0, 16: 200.0})


@pytest.fixture
def table(tmp_path, monkeypatch):
    path = tmp_path / "deep/choices.csv"
    monkeypatch.setenv("HFC_CHOICES", str(path))
    return path


def test_only_what_is_faster_and_never_slower_takes_the_defaults_place(hopper):
    assert compared("skinny split=1 resident=2", 48.9).pays and not compared("skinny split=1 resident=2", 49.1).pays
    assert not compared("skinny split=1 resident=2", 40.0, sixteen=205.0).pays
    ways = (compared("skinny split=8 resident=3", 40.0, eight=103.0), compared("skinny split=2 resident=4", 45.0))
    tuned = Tuned(down(hopper).region, "down", ways, {})
    row = tuned.row("sm_90", "Some card")
    assert (row.best, row.best_us, row.second, row.card) == (SPLIT, 45.0, ways[0].candidate, "Some card")
    assert Tuned(down(hopper).region, "down", ways[:1], {}).row("sm_90", "Some card") is None


def test_candidates_choose_everything_and_stay_within_a_block(hopper):
    arch = find_arch("sm_90")
    for bound in hopper.kernels.values():
        if not isinstance(bound.region, LinearRegion):
            continue
        found = candidates(bound, arch)
        default = geometry(bound, arch, "decode")
        assert sum(launches_as(bound, arch, way) == default for way in found) == 1, "which is not compared with itself"
        assert len(set(found)) == len(found) and all(candidate(str(way)) == way for way in found)
        for way in found:
            *several_rows, one = launches_as(bound, arch, way)
            assert {shape.params.split for shape in (*several_rows[1:], one)} == {way.split}
            assert (one.params.resident, one.params.ahead, one.block) == (
                way.resident,
                way.ahead,
                32 * (way.waves or 8),
            )


def test_compilations_follow_the_users_table_and_its_row_alone(hopper, table):
    arch, bound = find_arch("sm_90"), down(hopper)
    before = [shape.params for shape in geometry(bound, arch, "decode")]
    opened = open_source(CONFIG, default_format="q4_k")
    chosen = chosen_settings(opened, ["sm_90"], CompileOptions(ctx=512))
    key = cache_key(opened, chosen)
    row = Choice(
        "sm_90", "linear", "q4_k", 3584, bound.region.outputs, SPLIT, 5.0, candidate("skinny"), 6.0, "Some card"
    )
    write_rows(table, [replace(row, k=1024), row, replace(row, best_us=4.0)])
    assert own_choices() == read_rows(table) and [r.best_us for r in own_choices()] == [5.0, 4.0]
    one = geometry(bound, arch, "decode")[-1].params
    assert (one.split, one.resident, one.ahead) == (2, 4, False)
    assert "measured on Some card" in choices.chosen_by(bound, arch) and str(table) in choices.chosen_by(bound, arch)
    assert cache_key(opened, chosen) != key, "a bundle in the cache was made without the table"
    other = replace(bound, region=replace(bound.region, k=3840))
    assert geometry(other, arch, "decode")[-1].params.split == before[-1].split  # no row of its own
    table.unlink()
    assert own_choices() == () and [shape.params for shape in geometry(bound, arch, "decode")] == before


@pytest.mark.parametrize(
    "text, message",
    (
        ("arch,k\n", ":1: the columns are"),
        ("sm_90,linear,q4_k,8,8,quick,1,skinny,2,", ":2: 'quick' is no way to multiply"),
        ("sm_91,linear,q4_k,8,8,skinny,1,skinny,2,", ":2: sm_91, linear of"),
        ("sm_90,linear,q4_k,8,x,skinny,1,skinny,2,", ":2: invalid literal"),
        ("sm_90,linear,q4_k,8", ":2:"),
    ),
)
def test_a_damaged_table_is_named_with_its_line(table, text, message):
    table.parent.mkdir()
    table.write_text(text if text.startswith("arch") else ",".join(choices.COLUMNS) + "\n" + text + "\n")
    with pytest.raises(HfcError) as found:
        own_choices()
    assert f"{table}{message}" in str(found.value) and "hfc tune" in found.value.hint


def test_a_part_reads_as_many_layers_as_caches_cannot_hold(hopper):
    name = down(hopper).name
    few, every = part_of(hopper, name, beyond=1), part_of(hopper, name, beyond=1 << 40)
    assert len({call.pointers for call in every.calls}) == 24 and len(few.calls) == 1
    assert len(every.calls) == 72, "so that the card takes longer than the host"
    assert {ref.pointer for ref in few.emitted.weights} == {p for p in few.calls[0].pointers if p.kind == "weight"}
    assert not few.emitted.states and few.read and few.written


# In a process of its own, as for a card, but each matrix two ways and in steps of two numbers of rows: the emulator takes its time.
TUNE = """
import sys
from hfc.tune import compare
compare.ROWS, compare.STEPS, every = (1, 2), 1, compare.candidates
compare.candidates = lambda bound, arch: every(bound, arch)[:2]
from hfc.cli import main
main(sys.argv[1:])
"""


@pytest.mark.long
def test_a_software_card_is_tuned(tmp_path):
    """Through rocm-bindings-hip. Its times mean nothing, so what is written is what they happen to say."""
    pytest.importorskip("rocm.bindings.hip", reason="rocm-bindings-hip is not installed")
    path, device = tmp_path / "choices.csv", {"HIP_DOUBLE_DEVICES": "gfx1100:1G", "HIP_DOUBLE_FAULTS": ""}
    words = ["tune", str(SMALL), "--format", "q8_0", "--device", "hip", "-r", "1", "-o", str(path), "--json"]
    done = subprocess.run(
        [sys.executable, "-c", TUNE, *words],
        capture_output=True,
        text=True,
        env=environment(library_folder(tmp_path / "hip")) | device,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    ways = {c["way"] for matrix in found for c in matrix["candidates"]}
    assert ways == {"dot split=1 outputs=2"}, "beside the default, which asks for inputs first"
    assert not any(matrix["left_out"] for matrix in found), "all of them give the default's results"
    assert all(min(c["us"].values()) > 0 for matrix in found for c in matrix["candidates"])
    rows = read_rows(path)
    assert len(rows) == sum(matrix["taken"] is not None for matrix in found)
    assert all((row.arch, row.card) == ("gfx1100", "RX 7900 XTX in software") for row in rows)
