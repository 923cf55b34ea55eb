"""D9: rows that a step reads state for and does not commit; afterwards the first n of them count."""

import json
from pathlib import Path

import numpy as np
import pytest
from family_fixture import FOLDER
from model_reference import MODELS
from recurrences import CASES, VOCAB, random_store, recurrence_net
from speculated import LENGTH, Speculation, plain_logits

from hfc.backend.emit import emit
from hfc.backend.host import plan as host
from hfc.base.diagnostics import HfcError
from hfc.compiler import CompileOptions, compile_model, open_source
from hfc.oracle import InterpretedModel
from hfc.passes.pipeline import run_passes
from hfc.passes.settings import Settings
from hfc.plan import Bundle
from hfc.runtime.executor import load
from hfc.runtime.fit import need_of, table
from hfc.runtime.host import HostModel
from hfc.runtime.slots import slot_states
from hfc.step import JOURNAL_ROWS, Segment, Step
from hfc.target.arch import ARCHS, find_arch

SLOTS, CONTEXT, CYCLES = 3, 48, 30


def tokens_of(vocab: int) -> np.ndarray:
    return np.random.default_rng(11).integers(0, vocab, (SLOTS, LENGTH)).astype(np.int32)


def host_model(checkpoint: str, journal_rows: int = JOURNAL_ROWS):
    return load(
        compile_model(
            MODELS / checkpoint, ["host"], CompileOptions(ctx=CONTEXT, slots=SLOTS, kv="f32", journal_rows=journal_rows)
        ),
        threads=2,
    )


@pytest.mark.parametrize("checkpoint", ["qwen3_5_text", "qwen3_5_moe_text", "llama"])
def test_the_host_gives_the_same_bits_whatever_waited(checkpoint):
    model = host_model(checkpoint)
    tokens = tokens_of(model.vocab)
    expected = plain_logits(model.forward, tokens)
    case = Speculation(tokens, model.vocab, 24, JOURNAL_ROWS, seed=1)
    for _ in range(CYCLES):
        step, real = case.step()
        found = model.forward(step) if step.segments else None
        for row, slot, position in real:
            assert found[row].tobytes() == expected[position, slot].tobytes(), (row, slot, position)
    assert case.replay.any(), "the last steps left nothing to commit"
    model.forward(case.last())
    states = slot_states(model)
    found = [states.read_recurrent(slot) for slot in range(SLOTS)]
    for slot in range(SLOTS):
        model.forward(Step.single(tokens[slot, : case.position[slot]], slot=slot))
        assert states.read_recurrent(slot).tobytes() == found[slot].tobytes()


@pytest.mark.parametrize("case", ["kda", "mamba", pytest.param("wide", marks=pytest.mark.long)])
def test_the_host_s_recurrences_whatever_made_their_operands(case):
    settings = Settings(find_arch("host"), CONTEXT, SLOTS, 32, 32, "f32", "f32", journal_rows=JOURNAL_ROWS)
    graph = recurrence_net(**CASES[case])
    plan, files = host.build(emit(run_passes(graph, settings), settings, host.MATRIX_LAYOUT), settings)
    model = HostModel(Bundle({}, {"host": plan}, files), plan, random_store(graph), threads=2)
    expected = plain_logits(model.forward, tokens_of(VOCAB))
    case = Speculation(tokens_of(VOCAB), VOCAB, 24, JOURNAL_ROWS, seed=4)
    for _ in range(CYCLES):
        step, real = case.step()
        found = model.forward(step) if step.segments else None
        for row, slot, position in real:
            assert found[row].tobytes() == expected[position, slot].tobytes(), (row, slot, position)


@pytest.mark.parametrize("device", ["host", "interpreter"])
def test_entries_of_several_tokens_whatever_waited(device):
    """Their tokens lie in a ring by position, in which rows that do not count are written again; no journal keeps them."""
    folder, tokens = FOLDER / "deepseek_v4", tokens_of(96)
    if device == "host":
        options = CompileOptions(ctx=CONTEXT, slots=SLOTS, kv="f32", journal_rows=JOURNAL_ROWS)
        model = load(compile_model(folder, ["host"], options), threads=2)
        fresh = model
    else:
        model, fresh = (InterpretedModel(open_source(folder), CONTEXT, SLOTS) for _ in range(2))
    expected = plain_logits(fresh.forward, tokens)
    case = Speculation(tokens, 96, 24, JOURNAL_ROWS, seed=5)
    for _ in range(CYCLES):
        step, real = case.step()
        found = model.forward(step) if step.segments else None
        for row, slot, position in real:
            np.testing.assert_allclose(found[row], expected[position, slot], atol=1e-4 if device != "host" else 0)


def test_the_interpreter_gives_the_same_whatever_waited():
    source = open_source(MODELS / "qwen3_5_text")
    tokens = tokens_of(InterpretedModel(source, CONTEXT).vocab)
    expected = plain_logits(InterpretedModel(source, CONTEXT, SLOTS).forward, tokens)
    model = InterpretedModel(source, CONTEXT, SLOTS)
    case = Speculation(tokens, model.vocab, 24, JOURNAL_ROWS, seed=2)
    for _ in range(CYCLES):
        step, real = case.step()
        found = model.forward(step) if step.segments else None
        for row, slot, position in real:
            np.testing.assert_allclose(found[row], expected[position, slot], atol=1e-4)


def test_a_journal_costs_what_the_memory_plan_says():
    plain, journaled = (host_model("qwen3_5_text", rows).plan for rows in (0, JOURNAL_ROWS))
    assert all(set(s.planes) <= {"", "k", "v"} for s in plain.states)
    need = need_of(journaled)
    channels, v_heads = (
        next(s.shape[1] for s in plain.states if s.name.endswith(name)) for name in ("window", "memory")
    )
    layers = sum(s.name.endswith("memory") for s in plain.states)
    assert (
        need.journal == layers * JOURNAL_ROWS * 4 * (channels + 2 * v_heads)
        and need.per_slot == need_of(plain).per_slot + need.journal
    )
    assert "journals" in table(need, 1 << 30) and "journals" not in table(need_of(plain), 1 << 30)


@pytest.mark.parametrize(
    "checkpoint, journal_rows, segment, message",
    [
        ("qwen3_5_text", 0, Segment(0, 0, 2, 0, commit=False), "keeps none of its recurrent state"),
        ("qwen3_5_text", 0, Segment(0, 0, 2, 3, replay=1), "keeps none of its recurrent state"),
        ("qwen3_5_text", 4, Segment(0, 0, 5, 0, commit=False), "5 rows that wait to be committed; at most 4"),
        ("qwen3_5_text", 16, Segment(0, 0, 1, 20, replay=17), "17 rows that wait to be committed; at most 16"),
        ("qwen3_5_text", 16, Segment(0, 0, 1, 2, replay=3), "3 rows to replay before position 2"),
        ("qwen3_5_text", 16, Segment(0, 0, 0, 2), "a segment without rows"),
        ("llama", 0, Segment(0, 0, 17, 0, commit=False), "17 rows"),
    ],
)
def test_what_a_journal_cannot_hold_is_refused(checkpoint, journal_rows, segment, message):
    model = host_model(checkpoint, journal_rows)
    rows = np.zeros(segment.rows, np.int32)
    with pytest.raises(HfcError, match=message):
        model.forward(Step(rows, (segment,), rows))


@pytest.mark.long
@pytest.mark.parametrize("value_heads", [16, 32, 48, 64])
def test_official_heads_compile_with_a_journal_for_every_arch(value_heads, tmp_path):
    """To 16 key heads: of 0.8B and 2B; 4B, 9B and 35B-A3B; 27B; 122B and 397B. `hfc matrix` has plans without a journal, `hfc compile`
    with one unless told otherwise: 27B's did not compile for gfx942, gfx906 and gfx908."""
    config = json.loads((Path(__file__).parent / "data/configs/Qwen3.5-27B.config.json").read_text())
    text = config.get("text_config", config)
    text |= {"num_hidden_layers": 4, "layer_types": text["layer_types"][:4], "linear_num_value_heads": value_heads}
    text |= {"hidden_size": 1024, "intermediate_size": 1024, "vocab_size": 4096}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    bundle = compile_model(path, ["all"], CompileOptions(ctx=1024, journal_rows=JOURNAL_ROWS))
    assert set(bundle.plans) == set(ARCHS)
