"""Tensor parallelism: every layer shared out among equal devices, against one device."""

import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from model_reference import MODELS, relative_error, weights_of
from ranked import InterpretedRanks, rank_graphs
from test_stages import run, walk

from hfc.base.diagnostics import HfcError
from hfc.bundles import read_bundle
from hfc.bundles.ranks import check_ranks
from hfc.cli.device import rank_devices
from hfc.compiler import CompileOptions, compile_model, open_source
from hfc.emulated import EmulatedModel
from hfc.formats import weight_format
from hfc.formats.checkpoint.evaluate import evaluate
from hfc.formats.recipe import apply, tensor
from hfc.ir.interpret import Interpreter
from hfc.passes.pipeline import run_passes
from hfc.passes.settings import Settings
from hfc.passes.shares import BLOCKS, FREE, HEADS, AxisRun, cut, free_share, in_units, pieces, united
from hfc.runtime.executor import load, plans_for
from hfc.runtime.ranks.meeting import Meeting
from hfc.runtime.ranks.model import ranked
from hfc.runtime.slots import slot_states
from hfc.runtime.upload import CheckpointWeights
from hfc.step import Step
from hfc.target.arch import find_arch

CONTEXT = 64
OPTIONS = CompileOptions(ctx=CONTEXT, slots=3, max_rows=32, journal_rows=16, taps=("hidden[0]", "last_hidden"))
FAMILIES = MODELS.parent / "families"
ERROR = 5e-3  # relative, of logits: sums over ranks add in another order, and caches round what comes of it
# what no rank can have a part of is whole on all of them: the model still computes the same
NOT_SHARED = {"deepseek_v2", "deepseek_v3", "falcon_h1_norm", "glm4_moe_lite", "gpt_oss", "kimi_linear", "minimax_m2", "olmo2", "olmo3", "olmoe"}  # fmt: skip


def compiled(name, archs, ranks=1, **options):
    return compile_model(MODELS / name, archs, replace(OPTIONS, tensor_parallel=ranks, **options))


long = pytest.mark.long
CASES = [
    ("qwen3_5_text", 2, "f16"),
    pytest.param("llama", 4, "q8", marks=long),
    pytest.param("qwen3_5_moe_text", 2, "asym3", marks=long),
    pytest.param("gemma3_text", 2, "q4", marks=long),
    pytest.param("qwen3", 2, "fwht4", marks=long),
]


@pytest.mark.parametrize(("name", "ranks", "kv"), CASES)
def test_ranks_on_the_host_write_the_tokens_of_one_device(name, ranks, kv):
    one, bundle = load(compiled(name, ["host"], kv=kv), "host", 1), compiled(name, ["host"], ranks, kv=kv)
    bundle = read_bundle(bundle.pack(), "b")
    assert list(bundle.plans) == [f"host:rank{n}" for n in range(ranks)]
    assert len({tuple(k.symbol for k in plan.kernels) for plan in bundle.plans.values()}) == 1, (
        "equal parts have equal kernels"
    )
    several = load(bundle, ",".join(["host"] * ranks), 1)
    found = walk(several)
    for expected, have in zip(walk(one), found, strict=True):
        assert relative_error(have, expected) < ERROR
        np.testing.assert_array_equal(have.argmax(-1), expected.argmax(-1))
    for before, again in zip(found, walk(several), strict=True):
        np.testing.assert_array_equal(again, before)  # the same bits each time
    # what was read of one slot stands in another, of all ranks
    states = slot_states(several)
    states.write_kv(2, 0, states.read_kv(1, 0, 30), 30, 30)
    states.write_recurrent(2, states.read_recurrent(1))
    step = Step.single([5, 6], position=30, slot=1)
    moved = replace(step, segments=(step.segments[0]._replace(slot=2),))
    np.testing.assert_array_equal(several.forward(step), several.forward(moved))
    sizes = [sum(sum(s.planes.values()) for s in plan.states) for plan in (one.plan, *bundle.plans.values())]
    assert sizes[1] * ranks == sizes[0] or kv != "f16", "every rank has its heads of the caches"
    with pytest.raises(HfcError, match="rows"):
        several.forward(Step.single(np.zeros(OPTIONS.max_rows + 1, np.int32)))
    several.close()


@long
@pytest.mark.parametrize("name", sorted(path.name for path in FAMILIES.iterdir() if (path / "config.json").is_file()))
def test_every_family_is_shared_out(name):
    """By the interpreter, after all passes."""
    source = open_source(FAMILIES / name)
    settings = Settings(find_arch("gfx1100"), CONTEXT, 1, 32, 32, "f32", "f32")
    graph, weights = source.graph(), weights_of(source.checkpoint, CONTEXT)
    graphs = rank_graphs(graph, settings, 2)
    one = Interpreter(run_passes(graph, settings), weights, context=CONTEXT)
    two = InterpretedRanks(graphs, weights, context=CONTEXT)
    tokens = np.arange(3, 12, dtype=np.int32)
    for step in (Step.single(tokens[:8]), Step.single(tokens[8:], position=8)):
        (expected, *_), found = one.run(step), two.run(step)
        for outputs in found:
            assert relative_error(outputs[0], expected) < 1e-4
    states = [op for op in graphs[0].ops if op.is_state]
    caches = [op for op in states if op.output.type.dtype == "kv"] or states
    whole = {op.attrs["name"]: op.output.type for op in graph.ops if op.is_state}
    if name not in NOT_SHARED:
        assert any(op.output.type != whole[op.attrs["name"]] for op in caches)


@long
def test_selftest_of_ranks(tmp_path, capsys):
    made = tmp_path / "two.hfp"
    run(["compile", str(MODELS / "qwen3_5_text"), "-o", str(made), "-tp", "2", "--ctx", "64", "--draft", "off"])
    capsys.readouterr()
    run(["selftest", str(made), "--device", "host"])
    assert "host:rank1" in capsys.readouterr().out


@long
@pytest.mark.parametrize(("name", "arch"), [("llama", "gfx1100"), ("qwen3_5_text", "gfx1201")])
def test_machine_code_of_two_ranks(name, arch):
    """Whole models token by token, each rank in the emulator; the same ranks for NVIDIA compile."""
    source = open_source(MODELS / name)
    options = {"slots": 1, "taps": (), "journal_rows": 0, "profile": "exact"}
    bundle = compiled(name, [arch], 2, **options)
    weights = CheckpointWeights(source.checkpoint, CONTEXT)
    two = ranked([EmulatedModel(bundle, key, weights) for key in bundle.plans])
    one = load(compiled(name, ["host"], **options), "host", 1)
    prompt = np.arange(5, 12, dtype=np.int32)
    expected, found = (model.forward(Step.single(prompt, outputs="last")) for model in (one, two))
    for position in range(len(prompt), len(prompt) + 2):
        assert relative_error(found, expected) < ERROR and found.argmax() == expected.argmax()
        step = Step.single([int(found.argmax())], position=position)
        expected, found = one.forward(step), two.forward(step)
    two.close()
    plans = compiled(name, ["sm_90"], 2, **options).plans.values()
    assert all(any(launch.exchange for launch in plan.programs["decode"]) for plan in plans)


def test_a_rank_that_fails_ends_the_step_on_all():
    several = load(compiled("qwen3_5_text", ["host"], 2), "host,host", 1)
    step = Step.single([1, 2, 3])
    expected, advance = several.forward(step), several.ranks[1].advance

    def fails(step):
        raise HfcError("the second rank is lost")

    several.ranks[1].advance = fails
    with pytest.raises(HfcError, match="the second rank is lost"):
        several.forward(step)
    several.ranks[1].advance = advance
    np.testing.assert_array_equal(several.forward(step), expected)
    meeting, met = Meeting(2), []
    thread = threading.Thread(target=lambda: (meeting.wait(), met.append(1)))
    thread.start()
    meeting.wait()
    thread.join(10)
    assert met == [1]
    several.close()


def test_how_an_axis_is_shared_out():
    assert pieces((AxisRun(1024, 8, HEADS),), 1, 2) == ((512, 1024),)
    qkv = (AxisRun(256, 2, HEADS), AxisRun(256, 2, HEADS), AxisRun(512, 4, HEADS))
    assert pieces(qkv, 1, 2) == ((128, 256), (384, 512), (768, 1024))
    assert [pieces((AxisRun(256, 2, HEADS),), rank, 4) for rank in range(4)] == [((0, 128),)] * 2 + [((128, 256),)] * 2
    assert not AxisRun(9, 3, HEADS).fits(2) and AxisRun(6, 6, BLOCKS).fits(4) and not AxisRun(2, 2, BLOCKS).fits(4)
    assert free_share(17408, 8) == (AxisRun(17408, 136, FREE),)
    assert united((AxisRun(8, 8, FREE),), (AxisRun(8, 2, HEADS),)) == (AxisRun(8, 2, HEADS),)
    assert united((AxisRun(8, 4, HEADS),), (AxisRun(4, 2, HEADS),) * 2) == (AxisRun(4, 2, HEADS),) * 2
    assert united((AxisRun(8, 2, HEADS),), (AxisRun(4, 2, HEADS),) * 2) is None
    assert cut((AxisRun(8, 2, HEADS),), 3) is None and len(cut((AxisRun(8, 2, FREE),), 3)) == 2
    assert in_units((AxisRun(1536, 12, FREE),), 256, BLOCKS) == (AxisRun(1536, 6, BLOCKS),)


def test_pieces_of_a_weight():
    """Blocks of a quantized row stay whole, and are refused where they would not."""
    form, plain = weight_format("q8_0"), np.arange(3 * 96, dtype=np.float32).reshape(3, 96)
    raw = form.pack(plain)
    checkpoint = SimpleNamespace(loaded=lambda name: ("q8_0", raw), info=lambda name: SimpleNamespace(shape=(3, 96)))

    def cut_of(axis, borders):
        return evaluate(apply("pieces", tensor("w"), shape=(3, 96), axis=axis, borders=borders), checkpoint, CONTEXT)

    whole = form.unpack(raw)
    np.testing.assert_array_equal(cut_of(1, (0, 32, 64, 96)).f32(), np.concatenate([whole[:, :32], whole[:, 64:]], 1))
    np.testing.assert_array_equal(cut_of(0, (2, 3, 0, 1)).f32(), whole[[2, 0]])
    for axis, borders, message in [(1, (0, 16), "would cut"), (0, (2, 4), "do not lie in"), (2, (0, 1), "do not lie")]:
        with pytest.raises(HfcError, match=message):
            cut_of(axis, borders)


def test_what_cannot_be_shared_out_is_refused(tmp_path):
    for ranks, options, message in [
        (3, {}, "2, 4, 8 devices can share a model"),
        (2, {"stages": ((0, 0), (1, 2))}, "with --stages: they do not go together"),
        (2, {"experts": "host"}, "with --experts: they do not go together"),
        (8, {}, r"o_proj reads 4 heads, fewer than 8 devices"),
    ]:
        with pytest.raises(HfcError, match=message):
            compiled("qwen3_5_text", ["host"], ranks, **options)
    with pytest.raises(HfcError, match="of one architecture"):
        compiled("qwen3_5_text", ["host", "gfx1100"], 2)
    bundle = compiled("qwen3_5_text", ["host"], 2)
    first, second = bundle.plans.values()
    moved = replace(second, buffers=tuple(replace(b, row_bytes=2 * b.row_bytes) for b in second.buffers))
    for plans, message in [
        ([second, first], "expected, in order"),
        ([first], "expected, in order"),
        ([first, replace(second, rank=None)], "expected, in order"),
        ([first, replace(second, context=32)], "context is 32 in host:rank1 and 64 in host:rank0"),
        ([first, moved], "exchanges other values"),
    ]:
        with pytest.raises(HfcError, match=message):
            check_ranks(plans, "b")
    with pytest.raises(HfcError, match="it runs whole models"):
        rank_devices("interpret", 2)
    assert rank_devices("host", 2) == "host,host" and rank_devices("null:gfx1100", 2) == "null:gfx1100,null:gfx1100"
    counted = load(bundle, rank_devices("null", 2))
    assert counted.forward(Step.single([1, 2])).shape == (2, first.vocab)
    for devices, message in {
        "host": "has 2 ranks",
        "host,null:gfx1100": "rank host:rank1 cannot run on null:gfx1100",
        "host,process:host": "ranks share the memory of one process",
    }.items():
        with pytest.raises(HfcError, match=message):
            plans_for(bundle, devices)


def test_the_command_line(tmp_path, capsys):
    model, tokens, made = str(MODELS / "qwen3_5_text"), tmp_path / "tokens.npy", tmp_path / "two.hfp"
    np.save(tokens, np.arange(3, 9))
    sizes = ["--ctx", "64", "--slots", "3", "--max-rows", "32", "--draft", "ngram"]
    taps = ["--tap", "hidden[0]", "--tap", "last_hidden"]  # with them it is the bundle of the tests above
    run(["compile", model, "-o", str(made), "-tp", "2", *sizes, *taps])
    assert "host:rank1: " in capsys.readouterr().out
    run(["logits", str(made), "--tokens", str(tokens), "--device", "host", "--out", str(tmp_path / "two.npy")])
    run(["explain", str(made)])
    assert "hfc_exchange" in capsys.readouterr().out
    run(["fit", model, "--arch", "gfx1100", "-tp", "2", "--vram", "8G"])
    assert "each of 2 ranks fits 8 GiB" in capsys.readouterr().out
    one = load(compiled("qwen3_5_text", ["host"]), "host", 1)
    expected = one.forward(Step.single(np.load(tokens)))
    assert relative_error(np.load(tmp_path / "two.npy"), expected) < ERROR
