"""A model cut into stages, each a plan for a device of its own: the same bits as on one, in one process and in two."""

import os
import signal
from dataclasses import replace
from threading import current_thread
from weakref import ref

import numpy as np
import pytest
from model_reference import MODELS

from hfc.base.diagnostics import HfcError
from hfc.bundles import read_bundle
from hfc.bundles.stages import check_stages
from hfc.cli import main
from hfc.cli.stages import auto_stages
from hfc.compiler import CompileOptions, compile_model, open_source
from hfc.emulated import EmulatedModel
from hfc.passes.balance import GIB, LayerCost, StagePlace, balanced
from hfc.passes.stages import check_ranges, parse_stages
from hfc.plan import Bundle
from hfc.runtime.executor import load, plans_for
from hfc.runtime.pipeline.batches import micro_batches, rolling
from hfc.runtime.pipeline.model import pipeline_of
from hfc.runtime.slots import slot_states
from hfc.runtime.upload import CheckpointWeights
from hfc.step import Segment, Step
from hfc.target.arch import find_arch

CONTEXT = 64
OPTIONS = CompileOptions(ctx=CONTEXT, slots=3, max_rows=32, journal_rows=16, taps=("hidden[0]", "last_hidden"))
TWO, LATE, THREE = ((0, 0), (1, 2)), ((0, 1), (2, 2)), ((0, 0), (1, 1), (2, 2))
NOTHING = np.empty(0, np.int32)


def compiled(name, archs, stages=(), **options):
    return compile_model(MODELS / name, archs, replace(OPTIONS, stages=stages, **options))


def run(words):
    """`hfc` with these words."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0


def walk(model):
    """Everything that a step can be: chunks, batches, rows that wait and are replayed, steps without logits; what each gave."""
    rng, found = np.random.default_rng(7), []
    tokens = rng.integers(0, model.vocab, 40).astype(np.int32)
    model.forward(Step(tokens[:16], (Segment(1, 0, 16, 0),), NOTHING, prompts=True))
    found.append(model.forward(Step(tokens[16:25], (Segment(1, 0, 9, 16),), np.array([8], np.int32), prompts=True)))
    found.append(model.tap("hidden[0]", 2, 5))
    found.append(model.tap("last_hidden", 0, 9))
    found.append(model.forward(Step.single(tokens[:5], slot=0)))
    both = (Segment(1, 0, 1, 25), Segment(0, 1, 1, 5))
    found.append(model.forward(Step(tokens[30:32], both, np.array([0, 1], np.int32))))
    drafted = (Segment(1, 0, 4, 26, commit=False), Segment(0, 4, 1, 6))
    found.append(model.forward(Step(tokens[26:31], drafted, np.arange(5, dtype=np.int32))))
    replayed = (Segment(1, 0, 2, 28, replay=2), Segment(2, 2, 3, 0))
    found.append(model.forward(Step(tokens[32:37], replayed, np.array([1, 4], np.int32))))
    return found


def states_of(model):
    states = slot_states(model)
    return states.read_kv(1, 0, 30), states.read_recurrent(1)


long = pytest.mark.long
CASES = [
    ("qwen3_5_text", TWO, "f16"),
    pytest.param("llama", TWO, "q8", marks=long),
    pytest.param("gemma3_text", THREE, "q4", marks=long),
    pytest.param("qwen3_5_text", LATE, "f32", marks=long),
    pytest.param("qwen3_5_moe_text", TWO, "asym3", marks=long),
    pytest.param("qwen3_5_text", THREE, "q8", marks=long),
    pytest.param("gemma3_text", TWO, "fwht4", marks=long),
]


@pytest.mark.parametrize(("name", "stages", "kv"), CASES)
def test_stages_give_the_bits_of_one_device(name, stages, kv):
    layers = open_source(MODELS / name).settings["layers"]
    stages = (*stages[:-1], (stages[-1][0], layers - 1))
    one = load(compiled(name, ["host"], kv=kv), "host", 1)
    bundle = compiled(name, ["host"] * len(stages), stages, kv=kv)
    several = load(bundle, ",".join(["host"] * len(stages)), 1)
    for expected, found in zip(walk(one), walk(several), strict=True):
        np.testing.assert_array_equal(found, expected)
    for expected, found in zip(states_of(one), states_of(several), strict=True):
        np.testing.assert_array_equal(found, expected)
    # what was read of one slot stands in another, of all stages
    (kv_bytes, recurrent), states = states_of(several), slot_states(several)
    states.write_kv(2, 0, kv_bytes, 30, 30)
    states.write_recurrent(2, recurrent)
    step = Step.single([5, 6], position=30, slot=1)
    moved = replace(step, segments=(step.segments[0]._replace(slot=2),))
    np.testing.assert_array_equal(several.forward(step), several.forward(moved))
    assert (
        several.depth == len(stages)
        and several.plan.weights
        and not any(p.stage is None for p in bundle.plans.values())
    )
    several.close()


def test_a_step_alone_is_taken_through_the_stages_by_who_waits_for_it():
    """No thread is woken for it; another step that is started meanwhile begins both."""
    two = load(compiled("qwen3_5_text", ["host", "host"], TWO), "host,host", 1)
    threads: list[str] = []
    for stage in two.stages:
        stage.receive = lambda values, own=stage.receive: (threads.append(current_thread().name), own(values))
    alone, other = Step.single([1, 2, 3]), Step.single([4, 5], slot=1)
    expected = two.forward(alone), two.forward(other)
    assert set(threads) == {current_thread().name}
    threads.clear()
    for found, logits in zip([two.start(alone), two.start(other)], expected, strict=True):
        np.testing.assert_array_equal(found.result(), logits)
    assert set(threads) == {"hfc-stage-0", "hfc-stage-1"}
    threads.clear()
    sent = []
    hand_on = two.stages[0].hand_on
    two.stages[0].hand_on = lambda step: [found := hand_on(step), sent.extend(map(ref, found.values()))][0]
    done = [two.start(alone)]
    done[0].result()
    done += [two.start(alone), two.start(other)]
    done[1].result(), done[2].result()
    assert len(sent) == 3 and not any(value() is not None for value in sent), "what came of a step keeps what it sent"
    held = two.start(alone)
    two.abandon()  # a server does when something went wrong: nothing may wait for what has not begun
    np.testing.assert_array_equal(held.result(60), expected[0])
    with pytest.raises(HfcError, match="rows"):
        two.forward(Step.single(np.zeros(OPTIONS.max_rows + 1, np.int32)))
    np.testing.assert_array_equal(two.forward(alone), expected[0])
    two.close()


def test_a_stage_in_a_process_of_its_own_ends_and_begins_again():
    bundle = compiled("qwen3_5_text", ["host", "host"], TWO)
    one, two = load(compiled("qwen3_5_text", ["host"]), "host", 1), load(bundle, "host,process:host", 1)
    try:
        for expected, found in zip(walk(one), walk(two), strict=True):
            np.testing.assert_array_equal(found, expected)
        for expected, found in zip(states_of(one), states_of(two), strict=True):
            np.testing.assert_array_equal(found, expected)
        with pytest.raises(HfcError, match="rows"):  # refused there, told here, and nothing has ended
            two.stages[1].forward(Step.single(np.zeros(OPTIONS.max_rows + 1, np.int32)))
        os.kill(two.stages[1].pid, signal.SIGKILL)
        with pytest.raises(HfcError, match=r"stage host:1-2: its process has ended \(signal 9\)"):
            two.forward(Step.single([1, 2, 3]))
        np.testing.assert_array_equal(two.forward(Step.single([1, 2, 3])), one.forward(Step.single([1, 2, 3])))
    finally:
        two.close()


@pytest.mark.long
def test_a_draft_reads_hidden_states_of_all_stages():
    """It lies in the last stage, whose steps receive what it observes of the stages before: here what travels anyway."""
    options = {"draft": MODELS.parent / "drafts" / "dflash2", "taps": ()}
    one = load(compiled("qwen3_5_text", ["host"], **options), "host", 1)
    two = load(compiled("qwen3_5_text", ["host", "host"], LATE, **options), "host,host", 1)
    tokens, found = np.arange(3, 15, dtype=np.int32), []
    for model in (one, two):
        logits = model.forward(Step.single(tokens))
        block = model.plan.draft.block
        rows = np.full(block, model.plan.draft.mask_token or 0, np.int32)
        rows[0] = int(np.argmax(logits[-1]))
        step = Step(rows, (Segment(0, 0, block, len(tokens), commit=False),), NOTHING, guessed=1)
        found.append((logits, *model.draft(step)))
    for expected, have in zip(*found, strict=True):
        np.testing.assert_array_equal(have, expected)
    assert [stage.plan.draft is not None for stage in two.stages] == [False, True]
    two.close()


MIXED = [("llama", ("gfx1100", "gfx1030")), ("qwen3_5_text", ("gfx1151", "gfx1201"))]


@pytest.mark.long
@pytest.mark.parametrize(("name", "archs"), MIXED)
def test_machine_code_of_two_architectures(name, archs):
    """Whole models token by token, each stage on an emulated device of its own: the tokens of one device."""
    source = open_source(MODELS / name)
    last = source.settings["layers"] - 1
    weights = CheckpointWeights(source.checkpoint, CONTEXT)
    options = {"slots": 1, "taps": (), "journal_rows": 0}
    bundle = compiled(name, archs, ((0, last - 1), (last, last)), **options)
    one = EmulatedModel(compiled(name, archs[:1], **options), archs[0], weights)
    two = pipeline_of([EmulatedModel(bundle, key, weights) for key in bundle.plans])
    prompt = np.arange(5, 12, dtype=np.int32)
    texts = []
    for model in (one, two):
        logits, tokens = model.forward(Step.single(prompt, outputs="last")), []
        for position in range(len(prompt), len(prompt) + 3):
            tokens.append(int(np.argmax(logits[-1])))
            logits = model.forward(Step.single(tokens[-1:], position=position))
        texts.append((tokens, logits))
    assert texts[0][0] == texts[1][0]
    np.testing.assert_allclose(texts[1][1], texts[0][1], rtol=0.02, atol=0.02)
    two.close()


def test_what_is_no_pipeline_is_refused():
    for stages, message in {
        "host:0-1,host:1-2": "layer 1 is in two stages",
        "host:0,host:2": "layer 1 is in no stage",
        "host:1-2,host:3": "layer 0 is in no stage",
        "host:0-1,host:2-3": "the model has layers 0 to 2",
        "host:0,host:1": "layers 2 to 2 are in no stage",
        "host:0,host:1,host:2,host:3": "4 stages for a model of 3 layers",
        "host:1-0,host:2": "layers 1-0 run backwards",
        "host:0-2": "two stages or more",
        "host": "is no stage; ARCH:FIRST-LAST",
    }.items():
        with pytest.raises(HfcError, match=message):
            check_ranges(*parse_stages(stages), 3)
    with pytest.raises(HfcError, match="unknown arch"):
        compiled("llama", ["gfx999", "host"], TWO)
    assert parse_stages("gfx1100:0-19, gfx1030:20-31") == (["gfx1100", "gfx1030"], ((0, 19), (20, 31)))


def test_plans_of_different_pipelines_are_refused():
    bundle = compiled("qwen3_5_text", ["host", "host"], TWO)
    assert read_bundle(bundle.pack(), "b").plans == bundle.plans
    first, last = bundle.plans.values()
    for plans, message in [
        ([first], r"stages host:0-0; 2 are expected"),
        ([last, first], "2 are expected, in order"),
        ([first, replace(last, context=32)], "context is 32 in stage host:1-2 and 64 in host:0-0"),
        ([first, replace(last, profile="fast")], "profile is fast in stage"),
        ([first, replace(last, stage=replace(last.stage, received=(*last.stage.received, last.logits)))], "waits for"),
        ([replace(first, stage=None), last], "a whole model's, beside stages"),
    ]:
        with pytest.raises(HfcError, match=message):
            check_stages(plans, "b")
    half = Bundle(bundle.model, {first.name: first}, bundle.files)
    with pytest.raises(HfcError, match="b: stages host:0-0; 2 are expected"):
        read_bundle(half.pack(), "b")
    with pytest.raises(HfcError, match="the bundle has 2 stages, host:0-0, host:1-2"):
        plans_for(bundle, "host")
    with pytest.raises(HfcError, match="stage host:1-2 cannot run on null:gfx1100, which is gfx1100"):
        plans_for(bundle, "host,null:gfx1100")
    with pytest.raises(HfcError, match="is for one device"):
        plans_for(compiled("qwen3_5_text", ["host"]), "host,host")


def test_the_slowest_stage_is_as_fast_as_can_be():
    costs = [LayerCost(GIB, GIB)] * 7 + [LayerCost(3 * GIB, 3 * GIB)]  # the head behind the last layer counts to it
    fast, slow = find_arch("gfx1100"), find_arch("gfx1101")
    assert balanced(costs, [StagePlace(fast), StagePlace(fast)]) == ((0, 4), (5, 7))
    assert balanced(costs, [StagePlace(slow), StagePlace(fast)])[0][1] < 4
    assert balanced(costs, [StagePlace(fast, 3 * GIB), StagePlace(fast)]) == ((0, 2), (3, 7))
    with pytest.raises(HfcError, match=r"need 10.0 GiB; they do not fit .* gfx1100 4.0 GiB, gfx1101 5.0 GiB"):
        balanced(costs, [StagePlace(fast, 4 * GIB), StagePlace(slow, 5 * GIB)])
    with pytest.raises(HfcError, match="9 stages for a model of 8 layers"):
        balanced(costs, [StagePlace(fast)] * 9)
    source = open_source(MODELS / "qwen3_5_moe_text")
    found = auto_stages(source, [StagePlace(fast), StagePlace(find_arch("host"))], OPTIONS)
    check_ranges(["gfx1100", "host"], found, source.settings["layers"])


def test_sequences_are_shared_out_and_follow_themselves():
    segments = tuple(Segment(slot, 2 * slot, 2, 7) for slot in range(3))
    step = Step(np.arange(6, dtype=np.int32), segments, np.array([1, 3, 5], np.int32))
    first, second = micro_batches(step, 2)
    assert first.tokens.tolist() == [0, 1, 2, 3] and second.tokens.tolist() == [4, 5]
    assert second.segments == (segments[2]._replace(row=0),) and second.output_rows.tolist() == [1]
    running, most = [], []

    def start(part):
        running.append({s.slot for s in part.segments})
        assert sum(map(len, running)) == len(set.union(*running)), "two steps of one slot are on their way"
        most.append(len(running))
        return lambda: running.pop(0)

    assert len(list(rolling([step] * 3, 2, start))) == 6 and max(most) == 2
    assert len(list(rolling([Step.single([1])] * 3, 2, start))) == 3


def test_the_command_line(tmp_path, capsys):
    bundle = tmp_path / "two.hfp"
    model, tokens = str(MODELS / "qwen3_5_text"), tmp_path / "tokens.npy"
    np.save(tokens, np.arange(3, 9))
    sizes = ["--ctx", "64", "--slots", "3", "--max-rows", "32", "--draft", "ngram"]
    taps = ["--tap", "hidden[0]", "--tap", "last_hidden"]  # with them it is the bundle of the tests above
    run(["compile", model, "-o", str(bundle), "--stages", "host:0,host:1-2", *sizes, *taps])
    assert "host:0-0: " in capsys.readouterr().out
    run(["logits", str(bundle), "--tokens", str(tokens), "--devices", "host,host", "--out", str(tmp_path / "two.npy")])
    run(["explain", str(bundle)])
    assert "host:1-2: " in capsys.readouterr().out
    one = load(compiled("qwen3_5_text", ["host"]), "host", 1)
    np.testing.assert_array_equal(np.load(tmp_path / "two.npy"), one.forward(Step.single(np.load(tokens))))
