"""`hfc check-model` against a reference: prompts reach past windows, the first layer that differs is named, greedy tokens count."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hfc.cli.check_logits import GREEDY, ROWS, ReferenceRun, differences, first_difference, prompt_for
from hfc.compiler import open_source
from hfc.oracle import InterpretedModel
from hfc.step import Step

ROOT = Path(__file__).parent.parent
MODEL, FIXTURE = ROOT / "models/cohere2.hfm", ROOT / "tests/data/families/cohere2"


def with_window(folder: Path, window) -> Path:
    """The fixture, with another window in its config."""
    shutil.copytree(FIXTURE, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "sliding_window": window}))
    return folder


def reference_of(source, prompt) -> ReferenceRun:
    """What transformers would say, said by the interpreter."""
    taps = tuple(f"hidden[{i}]" for i in range(source.settings["layers"]))
    model = InterpretedModel(source, 256, graph=source.graph(taps))
    logits, *states = model.interpreter.run(Step.single(prompt.tokens))
    greedy, last = [], logits[-1]
    for at in range(GREEDY):
        greedy.append(int(np.argmax(last)))
        last = model.forward(Step.single([greedy[-1]], position=len(prompt.tokens) + at))[-1]
    return ReferenceRun(logits, [states[0], *states], greedy)


def changed(tmp_path: Path, old: str, new: str) -> Path:
    text = MODEL.read_text()
    assert old in text
    path = tmp_path / "cohere2.hfm"
    path.write_text(text.replace(old, new))
    return path


def test_a_prompt_reaches_past_the_window_so_that_a_file_without_it_differs(tmp_path):
    folder = with_window(tmp_path / "cohere2", 64)
    source = open_source(MODEL, folder)
    prompt = prompt_for(source)
    assert len(prompt.tokens) == 64 + ROWS and not prompt.missed
    reference = reference_of(source, prompt)
    is_equal, lines = differences(source, prompt, reference)
    assert is_equal and "equal" in lines[0] and lines[1] == f"{GREEDY} greedy tokens after them: those of generate()"

    wrong = open_source(changed(tmp_path, ", window = span", ""), folder)
    is_equal, lines = differences(wrong, prompt, reference)
    assert not is_equal and "DIFFERENT" in lines[0] and lines[1].startswith("layer 0 is the first that differs")


def test_a_window_too_long_for_a_short_prompt_is_said(tmp_path):
    source = open_source(MODEL, with_window(tmp_path / "cohere2", 4096))
    source = replace(source, config={**source.config, "max_position_embeddings": 8192})
    prompt = prompt_for(source)
    assert len(prompt.tokens) == ROWS and prompt.missed == {"sliding_window": 4096}
    lines = differences(source, prompt, reference_of(source, prompt))[1]
    assert any("sliding_window 4096 not exercised" in line and "smaller one" in line for line in lines)


@pytest.mark.parametrize(("key", "span"), [("attention_chunk_size", 32), ("attention_window_size", [8, 24])])
def test_chunks_and_lists_count_as_windows_and_what_is_switched_off_does_not(key, span):
    source = open_source(MODEL, FIXTURE)
    source = replace(source, config={**source.config, "mamba_chunk_size": 256, "window_layers": 99, key: span})
    longest = span if isinstance(span, int) else max(span)
    assert len(prompt_for(_settled(source)).tokens) == longest + ROWS


def _settled(source):
    """Settings of the fixture's own config: the keys beside it are none that its model file knows."""
    settings = open_source(MODEL, FIXTURE).settings
    return type("Source", (), {"settings": settings, "config": source.config})()


def test_a_wrong_token_fails_though_the_prompt_agrees():
    source = open_source(MODEL, FIXTURE)
    prompt = prompt_for(source)
    right = reference_of(source, prompt)
    other = (right.greedy[3] + 1) % source.settings["vocab"]
    is_equal, lines = differences(source, prompt, replace(right, greedy=[*right.greedy[:3], other]))
    assert not is_equal and lines[-1].startswith(f"greedy token 4 after them DIFFERS: {right.greedy[3]} here, {other}")


def test_the_first_layer_that_differs():
    states = [np.full((3, 4), float(i)) for i in range(1, 4)]
    expected = [states[0], states[0], states[1] * 1.1, states[2] * 9]
    assert first_difference(states, expected).startswith("layer 1 is the first that differs")
    expected[2] = states[1]
    assert first_difference(states, expected).startswith("layers 0 to 1 leave equal hidden states: layer 2")
    assert "not compared" in first_difference(states, expected[:2])


def test_a_file_without_taps_is_told_to_tap(tmp_path):
    source = open_source(changed(tmp_path, "tap x as hidden[i]", ""), FIXTURE)
    prompt = prompt_for(source)
    reference = reference_of(open_source(MODEL, FIXTURE), prompt)
    lines = differences(source, prompt, replace(reference, logits=reference.logits * 2))[1]
    assert "tap x as hidden[i]" in lines[1]
