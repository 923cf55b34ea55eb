"""Experts in host memory: a card's plan that leaves its mixtures to the host, and the host's plan for them."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from model_reference import MODELS, relative_error, weights_of
from test_hip_device import TOKENS, library, several  # noqa: F401

from hfc.backend.host import plan as host
from hfc.base.cache import record_made
from hfc.base.diagnostics import HfcError
from hfc.bundles import read_bundle
from hfc.cli.experts import fitted_experts
from hfc.compiler import CompileOptions, chosen_settings, compile_model, emit_model, open_source, outline
from hfc.emulated import EmulatedModel
from hfc.ir.interpret import Interpreter
from hfc.passes.pipeline import run_passes
from hfc.passes.settings import parse_experts
from hfc.plan import Bundle
from hfc.runtime.fit import need_of
from hfc.runtime.hosted import HostedExperts
from hfc.runtime.upload import CheckpointWeights
from hfc.step import Segment, Step

MOE = MODELS / "qwen3_5_moe_text"
OPTIONS = CompileOptions(ctx=64, slots=2, max_rows=32)

FAMILY = MODELS.parent / "families"
RNG = np.random.default_rng(3)


def host_bundle(opened, options=OPTIONS):
    """Nothing but the host's plan for the experts."""
    (settings,) = chosen_settings(opened, ["gfx1100"], replace(options, experts="host"))[1:]
    plan, files = host.build(emit_model(opened, settings), settings)
    for content in files.values():
        record_made(content)
    return Bundle({"name": "experts"}, {plan.name: plan}, files, trusted=True), plan


CASES = [MOE] + [
    pytest.param(FAMILY / name, marks=pytest.mark.long)
    for name in ("gpt_oss", "gemma4_moe", "llama4", "deepseek_v3", "kimi_linear", "nemotron_h_moe", "lfm2_moe", "qwen3_next", "minimax_m2", "granitemoehybrid_moe", "ernie4_5_moe")
]  # fmt: skip


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.name)
def test_the_hosts_plan_computes_what_the_card_leaves(path):
    """The card's graph means what the whole one means, and the host makes of what crosses what the graph makes of it: for each row the
    same bits, whatever rows are beside it."""
    opened = open_source(path)
    bundle, plan = host_bundle(opened)
    card = chosen_settings(opened, ["gfx1100"], replace(OPTIONS, experts="host"))[0]
    graphs = [run_passes(opened.graph(), settings) for settings in (replace(card, experts=None), card)]
    step = Step.single(RNG.integers(0, 60, 19).astype(np.int32))
    traced = [Interpreter(graph, weights_of(opened.weights(), 64), 2, 64).trace(step) for graph in graphs]
    np.testing.assert_array_equal(traced[0][0][0], traced[1][0][0])
    hosted = [op for op in graphs[1].ops if op.attrs.get("stem") == "hosted"]
    assert len(hosted) == len(plan.parts) == len(card_launches(opened, card))
    experts = HostedExperts(bundle, plan, CheckpointWeights(opened.weights(), 64), 2)
    for part, op in enumerate(hosted):
        crossing = [np.ascontiguousarray(traced[1][1][v]) for v in op.inputs if v.type.shape[0] == "T"]
        expected = traced[1][1][op.outputs[0]]
        whole = experts.compute(part, step, crossing).view(np.float32).reshape(expected.shape)
        assert relative_error(whole, expected) < 1e-3
        for first, end in ((0, 1), (3, 5), (0, 16), (2, 19)):
            some = Step.single(step.tokens[first:end])
            rows = experts.compute(part, some, [np.ascontiguousarray(x[first:end]) for x in crossing])
            np.testing.assert_array_equal(rows.view(np.float32).reshape(-1, expected.shape[1]), whole[first:end])
    experts.close()


def card_launches(opened, settings):
    """The hosted regions of a card's plan; its weights are none of theirs."""
    emitted = emit_model(opened, settings)
    assert not [
        ref.name for ref in emitted.weights if len(ref.shape) == 3 and "k_up" not in ref.name and "v_up" not in ref.name
    ]
    return [call for call in emitted.calls if call.bound.stem == "hosted"]


def walk(model):
    tokens = np.arange(3, 14).astype(np.int32)
    found = [model.forward(Step.single(tokens[:6])), model.forward(Step.single(tokens[:5], slot=1))]
    both = (Segment(0, 0, 1, 6), Segment(1, 1, 1, 5))
    return [*found, model.forward(Step(tokens[6:8], both, np.array([0, 1], np.int32))), model.forward(Step.single(tokens[8:9], position=7))]  # fmt: skip


@pytest.mark.long
def test_a_whole_model_as_machine_code_beside_the_host():
    weights = CheckpointWeights(open_source(MOE).weights(), 64)
    options = replace(OPTIONS, experts="host")
    bundle, whole = compile_model(MOE, ["gfx1100", "gfx906"], options), compile_model(MOE, ["gfx1100"], OPTIONS)
    assert list(bundle.plans) == ["gfx1100", "gfx906", "host:experts"]
    expected = walk(EmulatedModel(whole, "gfx1100", weights))
    for arch in ("gfx1100", "gfx906"):
        model = EmulatedModel(bundle, arch, weights, threads=2)
        for found, logits in zip(walk(model), expected, strict=True):
            assert relative_error(found, logits) < 1e-3
            np.testing.assert_array_equal(found.argmax(-1), logits.argmax(-1))
        model.close()
    alone = EmulatedModel(bundle, "gfx1100", weights)
    alone.forward(Step.single(np.arange(3, 9).astype(np.int32)))
    batch = walk(model := EmulatedModel(bundle, "gfx1100", weights, threads=2))[2][:1]
    np.testing.assert_array_equal(alone.forward(Step.single([9], position=6)), batch)
    alone.close(), model.close()


@pytest.mark.long
def test_a_software_card_and_its_tape(library, tmp_path):  # noqa: F811
    """The runtime's own path: upload, the tape that goes through the host, `--experts` of the commands."""
    np.save(tmp_path / "tokens.npy", TOKENS)

    def logits(name, model, *words):
        ends = ["--tokens", str(tmp_path / "tokens.npy"), "--out", str(tmp_path / f"{name}.npy"), "--device", "hip:0"]
        return ["logits", str(model), *ends, *words]

    made = str(tmp_path / "made.hfp")
    compiled = [
        "compile",
        str(MOE),
        "-o",
        made,
        "--ctx",
        "64",
        "--draft",
        "off",
        "--arch",
        "gfx1100",
        "--profile",
        "exact",
    ]
    commands = [
        [*compiled, "--experts", "1"],
        logits("made", made),
        logits("steps", made, "--step"),
        logits("whole", MOE, "--ctx", "64", "--profile", "exact"),
        logits("all", MOE, "--ctx", "64", "--profile", "exact", "--experts", "host"),
        ["bench", str(MOE), "--device", "hip:0", "--ctx", "64", "--experts", "host", "--random-weights", "-p", "8", "-n", "2", "-r", "1"],
        logits("other", made, "--experts", "device"),
        ["selftest", made, "--device", "hip:0"],
    ]  # fmt: skip
    found = several(library, [("gfx1100:1G", "", words) for words in commands])
    assert [code for code, _, _ in found] == [0] * 6 + [2, 0], found
    read = lambda name: np.load(tmp_path / f"{name}.npy")  # noqa: E731
    for name in ("made", "steps", "all"):
        assert relative_error(read(name), read("whole")) < 1e-3
        np.testing.assert_array_equal(read(name).argmax(-1), read("whole").argmax(-1))
    assert "host:experts" in found[0][1] and "compiled with experts on the host" in found[6][2]
    assert "the host (host:experts)" in found[7][1]


def test_what_auto_means_and_what_is_refused():
    opened = open_source(MOE)
    options = replace(OPTIONS, experts="auto")
    whole, host_all = (
        need_of(outline(opened, chosen_settings(opened, ["gfx1100"], replace(OPTIONS, experts=where))[0])).total
        for where in ("device", "host")
    )
    assert [fitted_experts(opened, ["gfx1100"], memory, options) for memory in (whole, whole - 1, host_all, 1)] == ["device", "host:1", "host", "host"]  # fmt: skip
    assert [parse_experts(text) for text in ("device", "host", "host:3", "3")] == [0, None, 3, 3]
    with pytest.raises(HfcError, match="how much memory"):
        fitted_experts(opened, ["gfx1100"], None, options)
    with pytest.raises(HfcError, match="--experts gpu"):
        parse_experts("gpu")
    with pytest.raises(HfcError, match="no mixture"):
        compile_model(MODELS / "llama", ["gfx1100"], replace(OPTIONS, experts="host"))
    with pytest.raises(HfcError, match="--experts host with --stages"):
        compile_model(MOE, ["gfx1100"] * 2, replace(OPTIONS, experts="host", stages=((0, 0), (1, 1))))
    (alone,) = chosen_settings(opened, ["host"], replace(OPTIONS, experts="host"))
    assert alone.experts is None  # the CPU has them anyway


def test_a_bundle_whose_plans_do_not_go_together():
    bundle = compile_model(MOE, ["gfx1100"], replace(OPTIONS, experts="host"))
    card, experts = bundle.plans.values()
    assert (
        card.leaves_experts
        and experts.parts
        and need_of(card).weights < need_of(experts).weights + need_of(card).weights
    )

    def refused(match, card=card, experts=experts):
        plans = {plan.name: plan for plan in (card, experts) if plan}
        changed = replace(bundle, plans=plans)
        with pytest.raises(HfcError, match=match):
            read_bundle(changed.pack(), "m.hfp")

    read_bundle(bundle.pack(), "m.hfp")
    parts = experts.parts
    refused("a card's plan without experts", experts=None)
    refused("wants part 1", experts=replace(experts, parts=parts[:1], programs={"step": experts.programs["step"][:3]}))
    refused("first launch of part 1", experts=replace(experts, parts=(parts[0], replace(parts[1], first=2))))
    refused("launches of its parts", experts=replace(experts, parts=parts[:1]))
    refused("name of a buffer", experts=replace(experts, parts=(parts[0], replace(parts[1], writes="none"))))
    refused(
        "hands part 0 rows of", experts=replace(experts, parts=(replace(parts[0], reads=parts[0].reads[:2]), parts[1]))
    )
    other = [replace(x, pointers=x.pointers[1:]) if x.hosted == 0 else x for x in card.programs["decode"]]
    refused("hands part 0 rows of", card=replace(card, programs={**card.programs, "decode": tuple(other)}))
    assert json.loads(json.dumps(asdict(parts[0]))) == {
        "first": 0,
        "end": 3,
        "reads": list(parts[0].reads),
        "writes": parts[0].writes,
    }
