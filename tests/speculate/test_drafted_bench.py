"""`hfc bench --draft`: what it measures on real texts and with a made-up acceptance, and what it refuses."""

import json
from pathlib import Path

import pytest

from hfc.base.diagnostics import HfcError
from hfc.cli import main
from hfc.cli.drafted import measure_synthetic
from hfc.cli.genres import GENRES
from hfc.cli.run import summary
from hfc.compiler import CompileOptions, compile_model
from hfc.runtime.executor import load
from hfc.runtime.generate import Statistics
from hfc.runtime.speculate.drafts import speculation_for
from hfc.runtime.speculate.governor import BlockChoice, Offer, Track
from hfc.step import JOURNAL_ROWS

FIELDS = {
    "test",
    "tok_s",
    "plain_tok_s",
    "speedup",
    "tau",
    "drafted",
    "accepted",
    "is_equal",
    "loops",
    "prompts",
    "is_templated",
    "reason",
}


@pytest.fixture
def hfc(capfd):
    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            main([*map(str, arguments)])
        return end.value.code or 0, *capfd.readouterr()

    return run


@pytest.mark.long
def test_every_genre_is_measured_and_equal(hfc, smollm2_gguf):
    code, out, err = hfc(
        "bench",
        smollm2_gguf,
        "-p",
        "",
        "-n",
        "4",
        "-r",
        1,
        "--draft",
        "auto",
        "--draft-tokens",
        40,
        "--ctx",
        512,
        "--json",
    )
    assert code == 0, err
    plain, *drafted = json.loads(out)
    assert plain["test"] == "tg4" and [d["test"] for d in drafted] == list(GENRES)
    for row in drafted:
        assert set(row) == FIELDS and row["is_equal"] and row["is_templated"] and 0 <= row["accepted"] <= row["drafted"]
        assert (
            row["speedup"] == pytest.approx(row["tok_s"] / row["plain_tok_s"], rel=0.01)
            and row["loops"] <= row["prompts"]
        )
    # how many depends on how busy the machine is: the governor goes by the clock
    assert sum(row["accepted"] for row in drafted) > 0


@pytest.mark.long
def test_the_table_says_what_to_think_of_loops(hfc, smollm2_gguf):
    code, out, err = hfc(
        "bench", smollm2_gguf, "-p", "", "-n", "", "-r", 1, "--draft", "ngram", "--draft-tokens", 12, "--ctx", 512
    )
    assert code == 0 and "tokens a cycle" in out and "edit" in out and "0 of 2" in out, err


def test_made_up_acceptance_brings_that_many_tokens(smollm2_gguf):
    model = load(compile_model(smollm2_gguf, ["host"], CompileOptions(ctx=128)), "host", 2)
    steps, forward = [], model.forward
    model.forward = lambda step: steps.append(step) or forward(step)
    found = measure_synthetic(model, 2.5, 4, 50, 16)
    verified = [s.segments[0] for s in steps if len(s.tokens) == 4]
    assert found.rows == 4 and found.test == "acceptance 2.5" and found.speedup > 0
    assert not any(s.commit for s in verified) and len(verified) == 3 * 20  # 50 / 2.5
    assert all(b.position == a.position + b.replay for a, b in zip(verified, verified[1:]) if b.position > 16)
    assert {s.replay for s in verified} == {0, 2, 3}
    with pytest.raises(HfcError, match="a cycle of 4 rows brings 1 to 4"):
        measure_synthetic(model, 5, 4, 8, 16)
    with pytest.raises(HfcError, match="do not fit the context"):
        measure_synthetic(model, 2, 4, 200, 16)
    for rows in (1, 17):
        with pytest.raises(HfcError, match=f"--draft-rows {rows}: a block of this plan has 2 to 16 rows"):
            measure_synthetic(model, 1, rows, 8, 16)


@pytest.mark.long
def test_blocks_of_several_sizes_are_measured_in_one_run(hfc, smollm2_gguf):
    options = ("-p", "", "-n", "", "-r", 1, "--draft-acceptance", 2, "--draft-tokens", 12, "--ctx", 512)
    code, out, err = hfc("bench", smollm2_gguf, *options, "--draft-rows", "2,4", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert [(f["test"], f["rows"], f["acceptance"], f["draft"]) for f in found] == [
        ("acceptance 2", 2, 2, ""),
        ("acceptance 2", 4, 2, ""),
    ]
    assert all(f["speedup"] == pytest.approx(f["tok_s"] / f["plain_tok_s"], rel=0.01) for f in found)
    code, out, err = hfc("bench", smollm2_gguf, *options, "--draft-rows", "2")
    assert code == 0 and "speed-up" in out and "acceptance 2" in out, err


def test_guesses_of_the_plan_are_part_of_a_made_up_cycle():
    models = Path(__file__).parent.parent / "data"
    model = load(
        compile_model(
            models / "models/qwen3_5_text", ["host"], CompileOptions(ctx=128, draft=models / "drafts/dflash")
        ),
        "host",
        2,
    )
    steps, draft = [], model.draft
    model.draft = lambda step: steps.append(step) or draft(step)
    found = measure_synthetic(model, 3, 16, 60, 16)
    assert found.draft == "dflash" and found.rows == model.plan.draft.block and found.speedup > 0
    assert len(steps) == 3 * 20 and all(s.guessed == 1 and s.observed for s in steps)


def test_plans_that_cannot_verify_decode_plainly_or_say_so():
    folder = Path(__file__).parent.parent / "data" / "models" / "qwen3_5_text"
    plain, journaled = (
        compile_model(folder, ["host"], CompileOptions(ctx=64, journal_rows=rows)).plans["host"]
        for rows in (0, JOURNAL_ROWS)
    )
    assert speculation_for(plain, "auto") is None and speculation_for(plain, "off") is None
    with pytest.raises(HfcError, match="cannot verify drafts"):
        speculation_for(plain, "ngram")
    assert speculation_for(journaled, "auto").rows == JOURNAL_ROWS and speculation_for(journaled, "off") is None
    with pytest.raises(HfcError, match="the interpreter decodes plainly"):
        speculation_for(None, "ngram")
    assert speculation_for(None, "auto") is None


def test_unknown_drafts_are_refused_before_anything_is_compiled(hfc, smollm2_gguf):
    for command in (
        ("run", smollm2_gguf, "hello"),
        ("bench", smollm2_gguf),
        ("compile", smollm2_gguf, "-o", "never.hfp"),
    ):
        code, out, err = hfc(*command, "--draft", "ngrm")
        assert code == 2 and "unknown draft 'ngrm'" in err and "ngram" in err and err.count("error:") == 1


def test_run_says_the_same_with_and_without_drafts(hfc, smollm2_gguf):
    answers = {}
    for draft in ("auto", "off"):
        code, out, err = hfc(
            "run",
            smollm2_gguf,
            "Count: 1 2 3 4 5 6 7 8 9 1 2 3 4 5 6 7 8 9",
            "--temperature",
            0,
            "-n",
            40,
            "--ctx",
            512,
            "--draft",
            draft,
        )
        assert code == 0, err
        answers[draft] = out
        assert draft == "auto" or "tokens a cycle" not in err
    assert answers["auto"] == answers["off"]


def test_the_summary_tells_what_drafting_did():
    track = Track(latest=BlockChoice(3, Offer("ngram", 15)), cycles=4, drafted=12, accepted=6, plain=2)
    assert summary(Statistics(5, [1] * 12, 1.0, 1.0, "end", track)) == (
        "[prompt 5 tokens, 5.0 tok/s; answer 12 tokens, 11.0 tok/s; drafts: ngram, 2.50 tokens a cycle; end]"
    )
    assert "drafts" not in summary(Statistics(5, [1] * 12, 1.0, 1.0, "end", Track(plain=11)))
