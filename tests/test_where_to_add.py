"""Each row of "Where to add" in docs/ARCHITECTURE.md, done: what it says is all that is needed."""

import importlib
import json
import re
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from random_maker import CONTEXT, MAX_ROWS, SLOTS, STEPS, VOCAB, Maker
from random_runs import on_host
from small_models import CONFIGS

from hfc import formats
from hfc.backend import gpu
from hfc.backend.compile import compile_job
from hfc.backend.host.build import host_source
from hfc.base import knobs
from hfc.cli import commands, doctor, main
from hfc.cli.usage import fit
from hfc.cli.usage.declare import option
from hfc.cli.usage.help import help_text
from hfc.cli.usage.parse import parse
from hfc.compiler import CompileOptions, emit_model, open_source, outline, settings_for
from hfc.formats.recipe import tensor
from hfc.frontend.model import builtin_folder
from hfc.ir.build import GraphBuilder
from hfc.ir.graph import TensorType
from hfc.ir.interpret import Interpreter
from hfc.ir.opdef import OPS, elementwise, reduction
from hfc.ir.ops.elementwise import same
from hfc.passes import pipeline
from hfc.passes.pipeline import Pass, run_passes
from hfc.passes.settings import Settings
from hfc.runtime import executor
from hfc.step import Step
from hfc.target import arch as archs

ROOT = Path(__file__).parent.parent
TRIED: dict[str, Callable[..., None]] = {}  # row of the table -> the test that does what it says
ELSEWHERE = {"kernel": "tests/test_skeletons.py::test_a_new_skeleton_is_one_folder"}


def adds(row: str):
    def keep(test):
        TRIED[row] = test
        return test

    return keep


def test_every_row_of_the_table_is_tried():
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text().partition("## Where to add")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([\w ]+) \|", text, re.MULTILINE)
    assert set(rows) - {"add"} == TRIED.keys() | ELSEWHERE.keys()
    for place in ELSEWHERE.values():
        file, _, name = place.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text()


def small_source(tmp_path, model_type: str = "llama", **more):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**CONFIGS["llama"], "model_type": model_type, **more}))
    return open_source(path)


def kernels(opened, arch: str, **choices):
    """The jobs of a model on an arch, and its regions."""
    settings = settings_for(opened, archs.find_arch(arch), CompileOptions(ctx=64, **choices))
    emitted, jobs = emit_model(opened, settings), {}
    gpu.list_launches(emitted, settings, jobs)
    return emitted, jobs


@adds("model")
def test_a_model_is_one_file(tmp_path, monkeypatch):
    text = (builtin_folder() / "llama.hfm").read_text()
    (tmp_path / "toy_type.hfm").write_text(text.replace("model llama", "model toy_type"))
    monkeypatch.setenv("HFC_MODELS", str(tmp_path))
    opened = small_source(tmp_path, "toy_type")
    assert opened.model.name == "toy_type"
    for name in ("host", "gfx906", "gfx1100", "sm_90"):
        assert outline(opened, settings_for(opened, archs.find_arch(name), CompileOptions(ctx=64))).weights


@adds("op")
def test_an_op_is_one_function(monkeypatch):
    """It is typed, interpreted, printed as text and as C, and fused behind the projection that it follows."""
    monkeypatch.setattr("hfc.ir.opdef.OPS", OPS)
    try:

        @elementwise(same, c="({0} * {0} * {0})")
        def cube(x):
            """x³"""
            return x * x * x

        b = GraphBuilder("toy")
        x = b.op("gather", b.weight("e", "f32", (9, 32), tensor("e")), b.input("t", "i32", ("T",)))
        y = b.op("cube", b.op("linear", x, b.weight("w", "f32", (32, 32), tensor("w"))))
        graph = b.finish(b.op("linear", y, b.weight("v", "f32", (32, 32), tensor("v"))))
        settings = Settings(archs.find_arch("gfx1100"), 16, 1, 8, 8, "f16", "f16")
        fused = run_passes(graph, settings)
        (region,) = (op for op in fused.ops_of("kernel") if any(inner.kind == "cube" for inner in op.inner))
        assert {"linear"} < {op.kind for op in region.inner}

        def weights(op):
            return np.random.default_rng(len(op.attrs["name"])).standard_normal(op.output.type.shape).astype(np.float32)

        one, other = (Interpreter(g, weights, context=16).run(Step.single([3, 1]))[0] for g in (graph, fused))
        assert np.array_equal(one, other)
        bound = next(b for b in gpu_regions(fused, settings).values() if b.stem == "linear")
        assert re.search(r"(\w+) \* \1 \* \1", host_source(bound, 16))
    finally:
        OPS.pop("cube", None)


def test_a_norm_and_a_reduction_are_one_function_each():
    """A norm is fused into the product that reads it, a reduction with what divides by it; host kernels give the interpreter's numbers."""

    def peak_c(elements, op, value, index, row):
        return elements.reduced(op, index, row, "max", "hfc_abs({x})", "r")

    def peak_norm_c(elements, op, value, index, row):
        size = elements.reduced(op, index, row, "max", "hfc_abs({x})", f"1.0f / (r + {op.attrs['eps']!r}f)")
        return f"({elements.element(op.inputs[0], index, row)} * {size})"

    try:

        @reduction(lambda x: TensorType("f32", (*x.shape[:-1], 1)), reads=("rows",), element=peak_c)
        def peak(x):
            """max |x| over the last axis, which stays with size 1"""
            return np.abs(x).max(axis=-1, keepdims=True)

        @reduction(lambda x, *, eps: TensorType("f32", x.shape), reads=("rows",), element=peak_norm_c)
        def peak_norm(x, *, eps):
            """x / (max |x| + eps)"""
            return x / (np.abs(x).max(axis=-1, keepdims=True) + np.float32(eps))

        m = Maker(3, "toy")
        b, x = m.builder, m.fresh(64)
        y = b.op("linear", b.op("peak_norm", x, eps=0.5), m.matrix(64, 64))
        z = b.op("linear", b.op("div", y, b.op("peak", y)), m.matrix(64, 64))
        graph = b.finish(b.op("linear", z, m.matrix(VOCAB, 64)))
        for arch in ("host", "gfx1100"):
            settings = Settings(archs.find_arch(arch), CONTEXT, SLOTS, MAX_ROWS, 8, "f32", "f32")
            regions = [{op.kind for op in region.inner} for region in run_passes(graph, settings).ops_of("kernel")]
            assert any({"peak_norm", "linear"} <= kinds for kinds in regions)
            assert any({"peak", "div"} <= kinds for kinds in regions)
        settings = Settings(archs.find_arch("host"), CONTEXT, SLOTS, MAX_ROWS, 8, "f32", "f32")
        model, reference = on_host(graph, m.store, settings), Interpreter(graph, m.store.value, SLOTS, CONTEXT)
        for step in STEPS:
            assert np.allclose(model.forward(step), reference.run(step)[0][step.output_rows], rtol=1e-3, atol=1e-3)
        model.close()
    finally:
        for kind in ("peak", "peak_norm"):
            OPS.pop(kind, None)


def gpu_regions(graph, settings):
    return importlib.import_module("hfc.backend.emit").emit(graph, settings, gpu.MATRIX_LAYOUT).kernels


@adds("fusion pass")
def test_a_pass_is_a_function_and_a_row(tmp_path, monkeypatch):
    def keep_as_it_is(graph, settings):
        return graph

    first, *rest = pipeline.PIPELINE
    monkeypatch.setattr(pipeline, "PIPELINE", (first, Pass(keep_as_it_is, "to see that it runs"), *rest))
    opened, ran = small_source(tmp_path), []
    run_passes(
        opened.graph(),
        settings_for(opened, archs.find_arch("host"), CompileOptions(ctx=64)),
        after=lambda name, _: ran.append(name),
    )
    assert ran[:2] == [first.name, "keep_as_it_is"] and len(ran) == len(rest) + 2


@adds("arch")
def test_an_arch_is_one_row(tmp_path, monkeypatch):
    monkeypatch.setitem(archs.ARCHS, "gfx1177", replace(archs.ARCHS["gfx1100"], name="gfx1177"))
    _, known = kernels(small_source(tmp_path), "gfx1100")
    _, jobs = kernels(small_source(tmp_path), "gfx1177")
    assert jobs.keys() == known.keys() and all(job.arch.name == "gfx1177" for job in jobs.values())


def discovered(tmp_path, monkeypatch, package, of: str, name: str):
    """The FORMAT of a copy of a shipped file under another name, found as the package finds its own."""
    text = Path(importlib.import_module(f"{package.__name__}.{of}").__file__).read_text()
    room = tmp_path / "toy_formats"
    room.mkdir(exist_ok=True)
    (room / "__init__.py").write_text("")
    (room / f"{name}.py").write_text(text.replace(f'"{of}"', f'"{name}"'))
    monkeypatch.syspath_prepend(tmp_path)
    found = formats._discover(types.SimpleNamespace(__name__="toy_formats", __path__=[str(room)]))
    monkeypatch.delitem(sys.modules, f"toy_formats.{name}")
    monkeypatch.delitem(sys.modules, "toy_formats")
    return found[name]


@adds("quant or KV format")
def test_a_format_is_one_file(tmp_path, monkeypatch):
    weights = discovered(tmp_path, monkeypatch, formats.quant, "q8_0", "toy8")
    cache = discovered(tmp_path, monkeypatch, formats.kv, "q8", "toykv")
    monkeypatch.setitem(formats.FORMATS, "toy8", weights)
    monkeypatch.setitem(formats.READABLE, "toy8", weights)
    monkeypatch.setitem(formats.KV_FORMATS, "toykv", cache)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**CONFIGS["llama"], "model_type": "llama"}))
    emitted, jobs = kernels(open_source(path, default_format="toy8"), "gfx1100", kv="toykv")
    assert any("toy8" in name for name in jobs) and any("toykv" in name for name in jobs)
    append = next(job for name, job in jobs.items() if "kv_append" in name)
    assert "hfc_kv_toykv_put(" in append.source and compile_job(append).resources.spills == 0
    linear = next(bound for bound in emitted.kernels.values() if bound.stem == "linear")
    assert linear.region.weight_formats == (weights,)


@adds("device")
def test_a_device_is_a_driver_that_opens(monkeypatch):
    opened = types.SimpleNamespace(info=types.SimpleNamespace(arch="gfx1100", name="Toy"))
    monkeypatch.setitem(executor.OPENERS, "toy", lambda index: opened)
    monkeypatch.setattr(executor, "DEVICES", (*executor.DEVICES, "toy"))
    assert executor.split_device("toy:1") == ("toy", "1") and executor.arch_of_device("toy:1") == "gfx1100"


@adds("endpoint")
def test_an_endpoint_is_one_file(tmp_path, monkeypatch):
    client = pytest.importorskip("starlette.testclient", reason="the test extra brings httpx")
    api, app = importlib.import_module("hfc.serve.api"), importlib.import_module("hfc.serve.app")
    models, served = importlib.import_module("hfc.serve.models"), importlib.import_module("hfc.serve.served")
    (tmp_path / "toy.py").write_text(
        "from fastapi import APIRouter\n\nROUTE = APIRouter(tags=['toy'])\n\n\n@ROUTE.get('/v1/toy')\nasync def toy() -> dict[str, str]:\n    return {'says': 'hello'}\n"
    )
    monkeypatch.setattr(api, "__path__", [*api.__path__, str(tmp_path)])
    made = app.make_app(models.Models([]), served.ServerSettings())
    try:
        assert client.TestClient(made, base_url="http://127.0.0.1").get("/v1/toy").json() == {"says": "hello"}
        assert "/v1/toy" in app.openapi_document(made)["paths"]
    finally:
        sys.modules.pop("hfc.serve.api.toy", None)


@adds("command")
def test_a_command_is_a_row_and_two_modules(monkeypatch, capsys):
    usage, does = types.ModuleType("hfc.cli.usage.toy"), types.ModuleType("hfc.cli.toy")
    usage.USAGE = fit.USAGE.__class__("Greet.", (option("--name", str, "Whom.", "you"),))
    does.command = lambda name: print(f"hello {name}")
    monkeypatch.setitem(sys.modules, usage.__name__, usage)
    monkeypatch.setitem(sys.modules, does.__name__, does)
    row = commands.Command("toy", "Greet somebody")
    monkeypatch.setitem(commands.COMMANDS, "toy", row)
    monkeypatch.setitem(commands.GROUPS, "Look inside", (*commands.GROUPS["Look inside"], row))
    for words, out in (
        (["toy", "--name", "Ada"], "hello Ada\n"),
        (["--help"], "Greet somebody"),
        (["toy", "--help"], "Whom."),
    ):
        with pytest.raises(SystemExit) as end:
            main(words)
        assert not end.value.code and out in capsys.readouterr().out


@adds("option")
def test_an_option_is_one_row():
    usage = replace(fit.USAGE, parameters=(*fit.USAGE.parameters, option("--toys", int, "How many.", 3, least=1)))
    assert parse("fit", usage, ["m"], {})["toys"] == 3 and parse("fit", usage, ["m", "--toys", "7"], {})["toys"] == 7
    assert "--toys" in help_text("fit", usage) and "How many." in help_text("fit", usage)


@adds("knob")
def test_a_knob_is_one_row(monkeypatch):
    monkeypatch.setitem(knobs.KNOBS, "HFC_TOY", knobs.Knob("HFC_TOY", 1, int, "a number", "counts toys"))
    monkeypatch.setenv("HFC_TOY", "5")
    assert knobs.knob("HFC_TOY") == 5 and ("knob HFC_TOY", "5: counts toys") in doctor.facts()
