"""The matrix: which cells there are, how they end, what the page says; and the launches and bytes of official models."""

import json
import re
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

from hfc.backend import gpu
from hfc.backend.compile import Resources
from hfc.backend.emit import emit
from hfc.base.diagnostics import HfcError
from hfc.cli import main
from hfc.compiler import compile_model, open_source, settings_for
from hfc.formats import FORMATS, KV_FORMATS
from hfc.frontend.model import find_model
from hfc.matrix import cells as cells_module
from hfc.matrix.cells import Cell, Place, Planner, places, run, run_covering, run_in_turn
from hfc.matrix.models import REPRESENTATIVES, chosen_models, configs, shortened, source
from hfc.matrix.page import as_html, as_json, as_markdown
from hfc.matrix.predict import SpeedBound, bounds, works
from hfc.matrix.results import MatrixRecord, read_results, verdict
from hfc.passes.pipeline import run_passes
from hfc.plan import Plan
from hfc.runtime.null import NullModel
from hfc.step import Step
from hfc.target.arch import GPUS, find_arch

ROOT = Path(__file__).parent.parent
GFX1100 = find_arch("gfx1100")


def plan_of(model: str, weights: str = "q4_k", arch: str = "gfx1100", quick: bool = False) -> Plan:
    return Planner(quick).plan(Place(model, arch, weights, "f16"), find_arch(arch), {}).plan


def test_representatives_are_of_model_files():
    drafts = {
        path.stem for path in (ROOT / "models").glob("*.hfm") if re.search(r"^  observe\(", path.read_text(), re.M)
    }
    # no model by themselves: tests/test_draft_models.py compiles them with their targets
    assert {"dflash", "dflash2"} <= drafts
    described = {path.stem for path in (ROOT / "models").glob("*.hfm")} - drafts
    represented = {find_model(configs()[name]["model_type"]).path.stem for name in REPRESENTATIVES}
    assert represented <= described  # the families of docs/models.md have a test of their own, tests/test_families.py
    assert chosen_models([]) == list(REPRESENTATIVES) and chosen_models(["all"]) == list(configs())
    with pytest.raises(HfcError, match="did you mean 'Qwen3.5-9B'"):
        chosen_models(["Qwen3.5-9"])


@pytest.mark.parametrize("name", [name for name in configs() if name.startswith("Qwen3.5")])
def test_the_configs_are_the_official_ones(name):
    official = json.loads((ROOT / "tests/data/configs" / f"{name}.config.json").read_text())
    official = {**official, **official["text_config"]}
    assert {key: official.get(key) for key in configs()[name]} == configs()[name]


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", REPRESENTATIVES)
def test_a_shortened_model_needs_the_same_kernels(name):
    place, whole, short = Place(name, "gfx1100", "q8_0", "f16"), {}, {}
    Planner().plan(place, GFX1100, whole)
    Planner(quick=True).plan(place, GFX1100, short)
    assert whole.keys() == short.keys()
    assert shortened(configs()[name])["num_hidden_layers"] <= 6


@pytest.mark.parametrize("name", REPRESENTATIVES)
def test_what_the_passes_make_does_not_depend_on_the_arch(name):
    """The planner emits a model once for all archs."""
    found = []
    for arch in ("gfx906", "gfx1201", "sm_90"):
        opened = source(name, "q8_0", quick=True)
        settings = settings_for(opened, find_arch(arch))
        emitted = emit(run_passes(opened.graph(), settings), settings, gpu.MATRIX_LAYOUT)
        found.append([(call.bound.name, call.pointers, call.bytes, call.flops) for call in emitted.calls])
    assert found[0] == found[1] == found[2]


def test_every_combination_is_a_place_once():
    whole = places(REPRESENTATIVES, GPUS, list(FORMATS), list(KV_FORMATS))
    assert len(set(whole)) == len(whole) == len(GPUS) * len(REPRESENTATIVES) * len(FORMATS) * len(KV_FORMATS)


def covering(monkeypatch, models, archs, weights, kvs) -> list[Cell]:
    """What a quick run would compile. SmolLM2's rows have 576 elements."""

    def compiled(wanted, quick, report):
        refuses = lambda place: place.model == "SmolLM2-135M" and 576 % FORMATS[place.weights].block  # noqa: E731
        return [Cell(place, "refused" if refuses(place) else "compiled") for place in wanted]

    monkeypatch.setattr(cells_module, "run", compiled)
    return list(run_covering(models, archs, weights, kvs, quick=True))


def test_a_quick_run_has_every_model_arch_and_format_and_little_more(monkeypatch):
    cells = covering(monkeypatch, REPRESENTATIVES, GPUS, list(FORMATS), list(KV_FORMATS))
    found = [cell.place for cell in cells if cell.status == "compiled"]
    assert {p.model for p in found} == set(REPRESENTATIVES) and {p.arch for p in found} == {arch.name for arch in GPUS}
    assert {p.weights for p in found} == set(FORMATS) and {p.kv for p in found} == set(KV_FORMATS)
    alone = {arch.name for arch in GPUS if not arch.twin}
    assert sum(p.arch in alone for p in found) == len(FORMATS), "one cell a format, the longest of the lists"
    for twin in (arch for arch in GPUS if arch.twin):
        mine, theirs = ({(p.model, p.weights, p.kv) for p in found if p.arch == a} for a in (twin.name, twin.twin))
        assert mine == theirs, "no kernel is compiled for a twin alone"


@pytest.mark.parametrize("weights", (["q8_0"], ["q4_k", "q8_0", "q6_k"]))
def test_a_quick_run_of_a_choice_has_all_of_it(weights, monkeypatch):
    archs = [find_arch("gfx1201"), GFX1100]
    found = [c.place for c in covering(monkeypatch, ["Qwen3-4B"], archs, weights, ["f16"]) if c.status == "compiled"]
    assert {p.arch for p in found} == {"gfx1201", "gfx1100"} and {p.weights for p in found} == set(weights)
    (cell,) = covering(monkeypatch, ["SmolLM2-135M"], [GFX1100], ["q4_k"], ["f16"])
    assert cell.status == "refused"


def test_cells_compile_or_are_refused_with_the_reason():
    wanted = places(["SmolLM2-135M"], [GFX1100], ["q8_0", "q4_k"], ["f16"])
    compiled, refused = run(wanted, quick=False)
    assert compiled.status == "compiled" and compiled.why == ""
    assert 0 < compiled.lds_bytes <= 65536 and 4 <= compiled.waves <= 16 and 0 < compiled.vgprs <= 256
    assert compiled.launches <= 7 * 30 + 4 and len(compiled.bounds) == len(GFX1100.cards)
    assert refused.status == "refused" and "a row of 576 elements" in refused.why and "256" in refused.why


def test_what_a_library_multiplies_is_no_kernel_of_a_cell():
    """gfx942 has a program of prefill with rocBLAS for 16-bit weights."""
    arch = find_arch("gfx942")
    (cell,) = run(places(["SmolLM2-135M"], [arch], ["bf16"], ["f16"]), quick=True)
    assert cell.status == "compiled" and cell.kernels


def test_in_turn_every_format_is_compiled_on_every_arch(monkeypatch):
    """What SmolLM2 refuses is left to another model."""
    resources = Resources(8, 0, 8, 0, 0, 0, 16)
    monkeypatch.setattr(cells_module, "compile_job", lambda job: SimpleNamespace(resources=resources))
    monkeypatch.setenv("HFC_JOBS", "1")  # other processes would not know of the line above
    archs, formats, kvs = [GFX1100, find_arch("gfx906")], ["q8_0", "q4_k", "q6_k"], ["f16", "q8", "f32", "q4"]
    cells = list(run_in_turn(["SmolLM2-135M", "Qwen3-4B"], archs, formats, kvs, quick=True))
    compiled = [(c.place.arch, c.place.weights) for c in cells if c.status == "compiled"]
    assert sorted(compiled) == sorted((a.name, w) for a in archs for w in formats)
    assert {c.place.model for c in cells if c.status == "refused"} == {"SmolLM2-135M"}
    assert {c.place.model for c in cells if c.status == "compiled"} == {"SmolLM2-135M", "Qwen3-4B"}
    assert len({c.place.kv for c in cells}) > 2


def test_products_by_a_library_are_no_kernels_of_a_cell(monkeypatch):
    monkeypatch.setattr(
        cells_module, "compile_job", lambda job: SimpleNamespace(resources=Resources(8, 0, 8, 0, 0, 0, 16))
    )
    gfx942 = find_arch("gfx942")
    (cell,) = run([Place("Qwen3-4B", "gfx942", "bf16", "f16")], quick=True)
    assert cell.status == "compiled" and cell.kernels > 10
    plan = Planner(quick=True).plan(cell.place, gfx942, {}).plan
    assert any(launch.product for launches in plan.programs.values() for launch in launches)


@pytest.mark.long
def test_several_processes_give_the_cells_of_one_in_order(monkeypatch):
    wanted = places(["SmolLM2-135M"], [find_arch("gfx1031"), find_arch("gfx1030")], ["q8_0", "q4_k"], ["f16", "q8"])
    found, reports = {}, []
    for jobs in ("1", "3"):
        monkeypatch.setenv("HFC_JOBS", jobs)
        found[jobs] = run(wanted, True, lambda done, total: reports.append((done, total)))
    assert [cell.place for cell in found["3"]] == wanted and found["3"] == found["1"]
    assert {cell.status for cell in found["3"]} == {"compiled", "refused"}
    assert reports == 2 * [(4, 8), (8, 8)]


def test_rotated_weights_take_no_launch_more_in_decode():
    plain, rotated = (launches_of("Qwen3-4B", weights) for weights in ("hfq4g256", "mq4g256"))
    assert 0 < rotated <= plain


def launches_of(model: str, weights: str) -> int:
    """Of one decoded token."""
    counted = NullModel(plan_of(model, weights, quick=True), "decode")
    counted.forward(Step.single([1], position=1))
    return counted.count.launches


def test_one_bad_kernel_fails_its_cells_and_no_others(monkeypatch):
    compile_job = cells_module.compile_job

    def broken(job):
        if job.name.startswith("attend_f32"):
            raise HfcError(f"kernel {job.name} for {job.arch.name}: 4 scratch bytes, the limit is 0\nmore")
        return compile_job(job)

    monkeypatch.setattr(cells_module, "compile_job", broken)
    wanted = places(["SmolLM2-135M"], [GFX1100], ["q8_0"], ["f16", "f32"])
    good, bad = run(wanted, quick=True)
    assert (good.status, bad.status) == ("compiled", "failed")
    assert "attend_f32" in bad.why and bad.why.endswith("the limit is 0")


@pytest.fixture
def some_cells():
    bound = (SpeedBound("RX 7900 XTX", 170.2, 4299.0), SpeedBound("RX 7900 GRE", None, None))
    return [
        Cell(Place("A-9B", "gfx1100", "q4_k", "f16"), "compiled", "", 16, 118, 16896, 10, 171, bound),
        Cell(Place("A-9B", "gfx1100", "q4_k", "f32"), "failed", "kernel x | y: 3 spilled registers"),
        Cell(Place("A-9B", "gfx1100", "q8_0", "f16"), "refused", "K = 576 < 577"),
        Cell(Place("A-9B", "gfx906", "q4_k", "f16"), "compiled", "", 16, 68, 16896, 3, 171),
    ]


def test_the_page_says_it_all(some_cells):
    records = [
        MatrixRecord("emulated", "equal", arch="gfx906"),
        MatrixRecord("measured", "equal", "gfx1100", "A-9B", "q4_k", "f16", "RX 7900 XTX", 93.1),
    ]
    page = as_markdown(some_cells, records)
    assert "4 cells: 2 compiled, 1 refused, 1 failed." in page
    assert "| gfx1100 | f16 ✓M f32 ✗ | – |" in page and "| gfx906 | ✓e |" in page
    assert "kernel x \\| y: 3 spilled registers" in page
    assert "| A-9B | q8_0 | f16 | gfx1100 | K = 576 < 577 |" in page
    assert "| A-9B | gfx1100 | 16 | 118 | 16896 | 10 | 171 |" in page
    assert "| RX 7900 XTX | gfx1100 | 170 / 4299 |" in page and "| RX 7900 GRE | gfx1100 |  |" in page
    assert "| RX 7900 XTX | A-9B | q4_k | f16 | 93.1 |" in page
    assert "K = 576 &lt; 577" in as_html(some_cells, records)
    rows = json.loads(as_json(some_cells, records))
    assert (
        rows[0]["bounds"][0]["decode_tok_s"] == 170.2
        and rows[0]["measured"] == "equal"
        and rows[3]["emulated"] == "kernels"
    )


def test_kv_formats_that_stand_out_are_named():
    cells = [Cell(Place("A-9B", "gfx1100", "q4_k", kv), "compiled") for kv in ("f16", "f32", "q8", "q4")]
    failed = [Cell(Place("A-9B", "gfx906", "q4_k", kv), "failed") for kv in ("q8", "q4")]
    records = [MatrixRecord("measured", "timed", "gfx1100", "A-9B", "q4_k", "f16")]
    page = as_markdown([*cells, *failed], records)
    assert "| gfx1100 | ✓ f16 ✓M |" in page and "| gfx906 | ✗ |" in page


def test_recorded_results_are_matched_by_what_they_name(tmp_path):
    place = Place("A-9B", "gfx1100", "q4_k", "f16")
    (tmp_path / "a.json").write_text(
        json.dumps([{"kind": "emulated", "status": "equal", "arch": "gfx1100", "model": "A-9B"}])
    )
    (tmp_path / "b.json").write_text(
        json.dumps([{"kind": "emulated", "status": "different", "weights": "q8_0", "what": "x"}])
    )
    records = read_results(tmp_path)
    assert verdict(records, "emulated", place) == "equal" and verdict(records, "measured", place) == ""
    assert verdict(records, "emulated", Place("A-9B", "gfx906", "q4_k", "f16")) == ""
    assert verdict(records, "emulated", Place("A-9B", "gfx1100", "q8_0", "f16")) == "different"
    assert verdict([MatrixRecord("measured", "timed", model="A-9B", decode_tok_s=9)], "measured", place) == "timed"
    assert read_results(tmp_path / "nowhere") == []


def test_the_recorded_results_of_this_project_can_be_read():
    records = read_results(ROOT / "docs/matrix-results")
    assert {r.kind for r in records} == {"emulated", "measured"}
    assert all(r.model in configs() for r in records if r.model) and all(find_arch(r.arch) for r in records)


def test_a_sweep_becomes_records(tmp_path):
    """An arch with every format equal is one record; a failure is named, and what passed stays with its pairs."""
    sys.path.insert(0, str(ROOT / "scripts"))
    from record_emulated import outcomes, records

    case = '<testcase name="{}[{}]">{}</testcase>'
    linears = [case.format("test_linears", f"long rows-{w}-{a}", "") for w in FORMATS for a in ("gfx906", "gfx1100")]
    attention = [
        case.format("test_attention_and_cache_writes", f"x-{kv}-{a}", "")
        for kv in (*KV_FORMATS, "q8/q4")
        for a in ("gfx906", "gfx1100")
    ]
    wrong = [
        case.format("test_linears", "zipped-q4_k-gfx906", "<failure/>"),
        case.format("test_linears", "zipped-q4_k-gfx1201", "<skipped/>"),
    ]
    path = tmp_path / "sweep.xml"
    path.write_text(f"<testsuites><testsuite>{''.join(linears + attention + wrong)}</testsuite></testsuites>")
    found = records(outcomes(ElementTree.parse(path)))
    (whole,) = [r for r in found if r["arch"] == "gfx1100"]
    assert whole["status"] == "equal" and "weights" not in whole
    pairs = [r for r in found if r["status"] == "equal" and r["arch"] == "gfx906"]
    assert len(pairs) == (len(FORMATS) - 1) * (len(KV_FORMATS) + 1) and all(r["weights"] != "q4_k" for r in pairs)
    assert [(r["arch"], r["weights"]) for r in found if r["status"] == "different"] == [("gfx906", "q4_k")]
    (tmp_path / "emulated.json").write_text(json.dumps(found))
    assert len(read_results(tmp_path)) == len(found)


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "cannot be read as JSON"),
        ("{}", "expected a list"),
        ('[{"kind": "emulated"}]', "needs kind .* and status"),
        ('[{"kind": "emulated", "status": "equal", "archs": 1}]', "unknown field 'archs'"),
    ],
)
def test_bad_records_are_named(tmp_path, text, message):
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(HfcError, match=f"(?s)bad.json.*{message}"):
        read_results(tmp_path)


def test_bounds_follow_from_bytes_and_operations():
    plan = plan_of("Qwen3.5-9B")
    bound = {b.card: b for b in bounds(plan, GFX1100, {})}
    # 4.7 GB a token at 960 GB/s is 203 tokens a second without launch costs
    assert 150 < bound["RX 7900 XTX"].decode_tok_s < 203
    # 16 billion operations a token at 61 Tflop/s f32 are 4400; with matrix units it is more
    assert 3500 < bound["RX 7900 XTX"].prefill_tok_s < 4400
    matrix = {launch.kernel: "wmma_f16" for launch in plan.programs["prefill"]}
    faster = {b.card: b for b in bounds(plan, GFX1100, matrix)}["RX 7900 XTX"].prefill_tok_s
    assert faster > 1.5 * bound["RX 7900 XTX"].prefill_tok_s
    whole = {b.card: b for b in bounds(plan_of("Qwen3.5-9B", "f32"), GFX1100, {})}
    assert whole["RX 7900 XTX"].decode_tok_s is None and whole["Radeon Pro W7900"].decode_tok_s > 20


def test_experts_are_read_at_most_once_a_step():
    plan = plan_of("Qwen3.5-35B-A3B")
    decode, prefill = (
        sum(w.bytes for w in works(plan, p, {}, rows, 512)) for p, rows in (("decode", 1), ("prefill", 512))
    )
    # 3 of 35 billion weights a token; for a prompt all of them, and the activations of 512 rows between the launches
    assert 1.5e9 < decode < 2.5e9 and 19e9 < prefill < 30e9
    counted = NullModel(plan, "prefill")
    counted.forward(Step.single(list(range(512)), 0, outputs="last"))
    assert 19e9 < counted.count.bytes < 33e9  # and the cache by every row of its own


def moved_and_needed(name: str, weights: str) -> tuple[NullModel, float, float]:
    """The null device after one step at depth 4096, its bytes, and what no decoder can do without."""
    opened = open_source(ROOT / f"tests/data/configs/{name}.config.json", default_format=weights)
    settings = settings_for(opened, GFX1100)
    emitted, programs = gpu.list_launches(emit(run_passes(opened.graph(), settings), settings, "rows"), settings, {})
    plan = gpu.make_plan(emitted, settings, (), programs)
    model = NullModel(plan, "decode")
    model.forward(Step.single([1], 4095, outputs="last"))
    read = {p for launch in programs["decode"] if launch.bytes["step"] for p in launch.pointers}  # not what is gathered
    needed = sum(works_bytes for works_bytes in (_bytes(plan, p) for p in read))
    recurrent = sum(b for s in plan.states for p, b in s.planes.items() if p == "")
    cache = sum(b for s in plan.states for p, b in s.planes.items() if p != "")
    return model, model.count.bytes, needed + 2 * recurrent + cache  # recurrent state is read and written


def _bytes(plan: Plan, pointer: str) -> int:
    weight = next((w for w in plan.weights if w.pointer == pointer), None)
    if weight is None:
        return 0
    total = FORMATS[weight.format].row_bytes(weight.shape[-1])
    for n in weight.shape[:-1]:
        total *= n
    return total


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name, most", [("Qwen3.5-0.8B", 7 * 24), ("Qwen3.5-27B", 450)])
@pytest.mark.parametrize("weights", ["bf16", "q4_k"])
def test_launches_and_bytes_of_a_decoded_token(name, most, weights):
    model, moved, needed = moved_and_needed(name, weights)
    assert model.count.launches + 1 <= most  # and the sample
    assert needed <= moved <= 1.05 * needed


def test_the_command(tmp_path, monkeypatch, capsys):
    def invoke(arguments) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["matrix", *arguments])
        return end.value.code, *capsys.readouterr()

    chosen = ["--arch", "gfx1100", "--model", "SmolLM2-135M", "--kv", "f16", "--quick"]
    out = tmp_path / "page.md"
    assert invoke([*chosen, "--weights", "q8_0", "--md", "-o", str(out)])[0] == 0
    assert "1 compiled, 0 refused, 0 failed" in out.read_text()
    code, text, _ = invoke([*chosen, "--weights", "q4_k"])
    assert code == 0 and "refused: a row of 576" in text

    def failing(job):
        raise HfcError("no")

    monkeypatch.setattr(cells_module, "compile_job", failing)
    assert invoke([*chosen, "--weights", "q8_0", "--json"])[0] == 1
    for wrong in (["--arch", "host"], ["--json", "--md"], ["--weights", "q4"], ["--arch", "gfx1109"]):
        code, text, error = invoke(wrong)
        assert (code, text) == (2, "") and error.startswith("error: "), wrong


@pytest.mark.long
def test_one_model_compiles_cold_for_one_arch_within_a_minute(tmp_path, monkeypatch):
    monkeypatch.setenv("HFC_CACHE", str(tmp_path))
    start = time.perf_counter()
    compile_model(ROOT / "tests/data/configs/Qwen3.5-9B.config.json", ["gfx1100"])
    assert time.perf_counter() - start < 60
