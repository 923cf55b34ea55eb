"""What is shown of a compilation: a kernel's texts, the page, a dump, the difference of two bundles, HFC_DEBUG and timings."""

import base64
import json
import re
import zlib

import pytest
from letters import letters_folder
from small_models import CONFIGS

from hfc.backend.assembly import code_of, loop_lines
from hfc.base.diagnostics import HfcError
from hfc.bundles import load_bundle
from hfc.cli import main
from hfc.compiler import CompileOptions, emit_model, open_source, settings_for
from hfc.ir.text import parse_graph
from hfc.passes.pipeline import PIPELINE
from hfc.target.arch import find_arch
from hfc.workbench.diff import differences
from hfc.workbench.dump import begin_dump
from hfc.workbench.kernel import block_formats
from hfc.workbench.launches import folded
from hfc.workbench.remade import Remade


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return letters_folder(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture(scope="module")
def made(folder, tmp_path_factory):
    """The bundle, its dump, and what its compilation printed of its parts."""
    place = tmp_path_factory.mktemp("made")
    words = [
        "--arch",
        "host",
        "--arch",
        "gfx1100",
        "--ctx",
        "64",
        "-o",
        str(place / "m.hfp"),
        "--dump",
        str(place / "dump"),
    ]
    with pytest.raises(SystemExit) as end:
        main(["compile", str(folder), *words])
    assert end.value.code == 0
    return place


@pytest.fixture
def hfc(capfd):
    def run(*arguments) -> tuple[int, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in arguments])
        return end.value.code or 0, *capfd.readouterr()

    return run


@pytest.fixture(scope="module")
def remade(made):
    bundle = load_bundle(made / "m.hfp")
    return {arch: Remade.of(bundle, plan) for arch, plan in bundle.plans.items()}


def test_a_plan_is_made_again_as_it_was_compiled(made, remade):
    """Also in the profile of its prompts, which decides on kernels."""
    bundle = load_bundle(made / "m.hfp")
    for arch, plan in bundle.plans.items():
        assert set(remade[arch].symbols) == {kernel.symbol for kernel in plan.kernels}
    assert bundle.plans["gfx1100"].profile == "fast"
    for kernel in bundle.plans["gfx1100"].kernels:
        assert remade["gfx1100"].object(kernel.symbol) == bundle.files[kernel.file]


def test_a_kernel_is_shown_as_ir_reasons_source_and_assembly(hfc, made, remade):
    symbol = next(s for s in remade["gfx1100"].symbols if s.startswith("linear") and s.endswith("_matrix"))
    shown = ("explain", made / "m.hfp", "--arch", "gfx1100", "--kernel", symbol)
    code, ir, _ = hfc(*shown, "--ir")
    assert code == 0 and "kernel linear -> %" in ir and "= linear(" in ir
    assert hfc(*shown, "--source")[1].strip() == remade["gfx1100"].jobs[symbol].source.strip()
    asm = hfc(*shown, "--asm")[1]
    assert re.search(r"; \d+ vector and \d+ scalar registers, \d+ of 65536 bytes of LDS, 0 of scratch", asm)
    assert f"{symbol}:" in asm and "v_wmma" in asm and "s_endpgm" in asm and ".amdgpu_metadata" not in asm
    why = hfc(*shown, "--why")[1]
    assert re.search(r"taken\n +mma_stage: \d+ VGPRs.*\n +linear_mma: \d+ VGPRs, .* instructions, \d+ in loops", why)
    assert re.search(r"not: it comes after the one that is taken\n +linear_tiled: \d+ VGPRs", why)
    assert hfc(*shown)[1] == f"{ir}\n{why}"


def test_the_hosts_kernels_are_shown_too(hfc, made, remade):
    symbol = next(s for s in remade["host"].symbols if s.startswith("attend"))
    shown = ("explain", made / "m.hfp", "--arch", "host", "--kernel", "attend")  # a part that one kernel has
    assert f"void {symbol}(" in hfc(*shown, "--source")[1]
    asm = hfc(*shown, "--asm")[1]
    assert asm.count(f"\n{symbol}:") == 1 and asm.count(f"\n{symbol}_chunk:") == 1 and "bytes of stack" in asm
    assert f"{symbol} for the host: skeletons/attend/host.c.j2" in hfc(*shown, "--why")[1]
    listed = hfc(*shown[:-2])[1].splitlines()
    assert all(line.split()[1:7] == ["-"] * 6 for line in listed if line.startswith(symbol))  # no registers, no blocks


def test_formats_in_blocks_are_those_of_tables_and_caches_too(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**CONFIGS["llama"], "model_type": "llama"}))
    opened = open_source(path, default_format="q8_0")
    emitted = emit_model(opened, settings_for(opened, find_arch("host"), CompileOptions(ctx=64, kv="q4/q8")))
    found = {name: block_formats(bound) for name, bound in emitted.kernels.items()}
    assert next(found[name] for name in found if "gather" in name) == ["q8_0"]
    assert next(found[name] for name in found if "kv_append" in name) == ["q4", "q8"]
    assert all(found[name] == ["q8_0"] for name in found if name.startswith("linear"))


def test_kernels_of_no_region_say_what_they_do(hfc, made):
    asked = ("explain", made / "m.hfp", "--arch", "gfx1100", "--kernel")
    symbols = re.findall(r"sample_v\w+", hfc(*asked, "sample")[2])
    assert len(symbols) == 2, "one scans, one chooses"
    for symbol in symbols:
        assert "chooses each sequence's next token" in hfc(*asked, symbol)[1]


@pytest.mark.parametrize(
    "words, message",
    [
        (("--kernel", "linear_mtrix"), r"unknown kernel of gfx1100 'linear_mtrix'\n  hint: nearest: linear_\w+_matrix, "),
        (("--kernel", "linear"), r"'linear' is a part of \d+ kernels of gfx1100\n  hint: linear_"),
        (("--asm",), r"--asm without --kernel NAME\n  hint: hfc explain MODEL lists"),
    ],
)  # fmt: skip
def test_a_kernel_that_is_not_there_lists_the_nearest(hfc, made, words, message):
    code, _, err = hfc("explain", made / "m.hfp", "--arch", "gfx1100", *words)
    assert code == 2 and re.search(message, err)


def test_a_dump_holds_the_graph_after_each_pass_sources_and_assembly(made, remade):
    for arch, suffix in (("gfx1100", ".hip"), ("host", ".c")):
        place = made / "dump" / arch
        names = [path.name for path in sorted((place / "ir").iterdir())]
        assert names == [f"{i:02}-llama-{n}.ir" for i, n in enumerate(["built", *(p.name for p in PIPELINE)])]
        assert parse_graph((place / "ir" / names[-1]).read_text()).ops_of("kernel")
        symbols = remade[arch].symbols
        for kind, end in (("source", suffix), ("assembly", ".s")):
            assert [p.name for p in sorted((place / kind).iterdir())] == [
                f"{i:02}-{s}{end}" for i, s in enumerate(symbols)
            ]


def test_a_folder_that_exists_is_not_written_over(tmp_path):
    begin_dump(tmp_path / "new", False, "first")
    with pytest.raises(HfcError, match="the folder exists"):
        begin_dump(tmp_path / "new", False, "second")
    (tmp_path / "new" / "old.ir").write_text("x")
    begin_dump(tmp_path / "new", True, "second")
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["hfc-dump.txt"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("years")
    with pytest.raises(HfcError, match="holds other things than a dump"):
        begin_dump(tmp_path / "other", True, "third")
    assert (tmp_path / "other" / "thesis.txt").read_text() == "years"


def test_equal_bundles_differ_in_nothing(hfc, made):
    code, out, _ = hfc("diff", made / "m.hfp", made / "m.hfp")
    assert code == 0 and "the same model, plans and code" in out


def test_what_differs_is_named(hfc, folder, made, tmp_path):
    assert hfc("compile", folder, "--arch", "gfx1100", "--ctx", 32, "--kv", "q8", "-o", tmp_path / "other.hfp")[0] == 0
    code, out, _ = hfc("diff", made / "m.hfp", tmp_path / "other.hfp")
    assert code == 1
    for line in ("  context: 64 -> 32", "host: only in the first bundle", "caches with k in q8, v in q8: - -> ", "- kernel attend_f16", "+ kernel attend_q8"):  # fmt: skip
        assert line in out
    assert re.search(r"~ kernel map_rope_kv_append: (\d+ -> \d+ \w+, )?", out)


def test_a_changed_model_file_is_shown_by_its_lines(made):
    bundle = load_bundle(made / "m.hfp")
    text = bundle.files["model.hfm"].replace(b"silu(linear", b"gelu(linear")
    changed = type(bundle)(bundle.model, bundle.plans, {**bundle.files, "model.hfm": text})
    lines = differences(bundle, changed)
    assert lines[0] == "model.hfm:" and [line[:12].strip()[:1] for line in lines[1:]] == ["-", "+"]


def test_parts_of_a_compilation_have_their_seconds(hfc, folder, tmp_path):
    out = hfc("compile", folder, "--arch", "gfx1100", "--ctx", 64, "-o", tmp_path / "m.hfp", "--timings")[1]
    rows = dict(reversed(line.split(maxsplit=1)) for line in out.splitlines() if re.match(r"[\d.]+ ", line))
    assert {f"pass {row.name}" for row in PIPELINE} < rows.keys() and {"bind regions", "render sources", "compile kernels for gfx1100"} < rows.keys()  # fmt: skip
    assert float(rows.pop("all")) == pytest.approx(sum(map(float, rows.values())), abs=0.02)


def test_levels_of_debugging_tell_more_and_more(hfc, folder, tmp_path, monkeypatch):
    texts = []
    for level in range(5):
        monkeypatch.setenv("HFC_DEBUG", str(level))
        texts.append(hfc("compile", folder, "--arch", "gfx1100", "--ctx", 64, "-o", tmp_path / "m.hfp")[2])
    marks = (None, "s  pass fuse_norm", "VGPRs, ", "# after fuse_norm\ngraph llama(", "; assembly of map_gather")
    for level, mark in enumerate(marks[1:], 1):
        assert [mark in text for text in texts] == [at >= level for at in range(5)], mark
    monkeypatch.setenv("HFC_DEBUG", "5")
    assert "HFC_DEBUG='5' is not a valid value; it must be a number from 0 to 4" in hfc("compile", folder, "-o", "x")[2]


def test_repeats_are_folded():
    assert [(r.first, "".join(r.items), r.times) for r in folded("eabcabcabcz")] == [(0, "e", 1), (1, "abc", 3), (10, "z", 1)]  # fmt: skip
    assert [("".join(r.items), r.times) for r in folded("aaaabaaaab")] == [("aaaab", 2)]
    assert sum(len(r.items) * r.times for r in folded("xyxzzzxyxzzzq")) == 13


def test_code_is_what_the_machine_runs():
    text = "k: ; @k\n; %bb.0:\n\ts_load_b32 s0, s[0:1], 0x0\n.LBB0_1:\n\tv_add_f32 v0, v0, v1\n\ts_cbranch_scc0 .LBB0_1\n\ts_endpgm\n.Lfunc_end0:\n\t.size k, 1\n"
    assert code_of(text, "k").split("\n")[1:] == ["        s_load_b32 s0, s[0:1], 0x0", ".LBB0_1:", "        v_add_f32 v0, v0, v1", "        s_cbranch_scc0 .LBB0_1", "        s_endpgm"]  # fmt: skip
    assert [line for _, line in loop_lines(".LBB0_2:\n\taddq $1, %rax\n\tjne .LBB0_2\n\tretq\n")] == ["addq $1, %rax", "jne .LBB0_2"]  # fmt: skip


def test_the_page_holds_everything_and_asks_for_nothing(hfc, made, remade, tmp_path):
    code, out, _ = hfc("explain", made / "m.hfp", "--html", tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert code == 0 and "opens in any browser" in out and len(text) < 500_000
    assert not re.search(r"https?://|<link(?! rel=\"icon\" href=\"data:)|src=|url\(|@import|fetch\(", text)
    data = json.loads(zlib.decompress(base64.b64decode(re.search(r'id="data">([^<]*)<', text)[1])))
    assert [plan["arch"] for plan in data["plans"]] == ["host", "gfx1100"]
    plan = data["plans"][1]
    assert set(plan["kernels"]) == set(remade["gfx1100"].symbols)
    for name, kernel in plan["kernels"].items():
        runs = kernel["source"]
        lines = [data["lines"][n + i] for n, count in zip(runs[::2], runs[1::2]) for i in range(count)]
        assert "\n".join(lines) == remade["gfx1100"].source(name)
    decode = next(p for p in plan["programs"] if p["name"].startswith("decode"))
    assert sum(g["times"] * len(g["launches"]) for g in decode["groups"]) == decode["count"]
    places = {tuple(op["at"][:2]) for region in plan["regions"].values() for op in region["ops"]}
    assert {file for file, _ in places} == set(data["files"]) == {"model.hfm"}
    source = data["files"]["model.hfm"].splitlines()
    assert any("attention(" in source[line - 1] for _, line in places)
