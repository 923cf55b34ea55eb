"""A cycle on a GPU: the launch that puts guesses into the step, as machine code, and the one tape call around it."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from fake_driver import FakeDriver
from model_reference import MODELS

from hfc.backend import gpu
from hfc.backend.compile import compile_job
from hfc.compiler import CompileOptions, compile_model, emit_model, open_source, settings_for
from hfc.emulated import EmulatedLauncher
from hfc.isa.launch import SCHEDULES
from hfc.plan import Bundle, Kernel
from hfc.pointer import STEP, TOKENS, Pointer
from hfc.program import Program
from hfc.runtime import executor
from hfc.runtime.decoding.model import RunsCycles
from hfc.runtime.executor import load
from hfc.runtime.launcher import grid_size
from hfc.runtime.sampler import Sampler, Sampling
from hfc.runtime.speculate.accept import row_samplers
from hfc.step import Segment, Step, step_words
from hfc.target.arch import find_arch

DRAFT = MODELS.parent / "drafts" / "dflash"
ROWS, SLOTS, MASK = 24, 3, 3
OPTIONS = {"ctx": 256, "slots": SLOTS, "max_rows": ROWS, "draft": DRAFT}


def cycle_step(guessed):
    """Blocks of 5 and 4 rows, a row alone, and a commit without rows between them."""
    tokens = np.array([50, MASK, MASK, MASK, MASK, 60, MASK, MASK, MASK, 70], np.int32)
    segments = (
        Segment(2, 0, 5, 7, 2, False),
        Segment(0, 5, 4, 9, 1, False),
        Segment(1, 9, 0, 4, 3),
        Segment(1, 9, 1, 4),
    )
    return Step(tokens, segments, np.arange(10, dtype=np.int32), guessed)


def bundle_with_adopt(arch: str, draft: Path = DRAFT) -> Bundle:
    """The whole plan, and code of the one kernel that these tests run: all of it takes 40 s."""
    opened, jobs = open_source(MODELS / "qwen3_5_text", draft=draft), {}
    settings = settings_for(opened, find_arch(arch), CompileOptions(**OPTIONS))
    emitted, programs = gpu.list_launches(emit_model(opened, settings), settings, jobs)
    made = [compile_job(jobs[launch.kernel]) for launch in programs[Program.ADOPT]]
    kernels = tuple(Kernel(o.name, o.name, asdict(o.resources)) for o in made)
    plan = gpu.make_plan(emitted, settings, kernels, programs)
    return Bundle({}, {arch: plan}, {o.name: o.data for o in made})


@pytest.mark.parametrize("arch", ["gfx906", "gfx1100"])
@pytest.mark.parametrize("guessed", [0, 1, 2, 4])
def test_guesses_take_their_places_and_no_others(arch, guessed):
    bundle = bundle_with_adopt(arch)
    plan, step = bundle.plans[arch], cycle_step(guessed)
    guesses = np.arange(100, 110, dtype=np.int32)
    expected = step.tokens.copy()
    for segment in step.segments[:guessed]:
        inside = slice(segment.row + 1, segment.row + segment.rows)
        expected[inside] = guesses[inside]
    for options in SCHEDULES:
        words = step.encode(ROWS, np.full(step_words(ROWS), -5, np.int32))
        verified, tokens = words.copy(), np.full(plan.max_outputs + ROWS, -7, np.int32)
        padded = np.concatenate([guesses, np.full(ROWS - 10, 0x7FBADBAD, np.int32)])
        arrays = {Pointer.buffer(plan.draft.tokens): padded, STEP: verified, TOKENS: tokens}
        EmulatedLauncher(bundle, plan, options).run("adopt", 0, {p: a.view(np.uint8) for p, a in arrays.items()}, step)
        assert verified[4:14].tolist() == expected.tolist()
        changed = verified.copy()
        changed[4:14] = words[4:14]
        np.testing.assert_array_equal(changed, words)
        assert tokens[plan.max_outputs : plan.max_outputs + 10].tolist() == expected.tolist()
        assert (tokens[: plan.max_outputs] == -7).all() and (tokens[plan.max_outputs + 10 :] == -7).all()


class Card(FakeDriver):
    """Runs two kernels of a cycle: what adopt and sample leave in the block that the host reads."""

    def launch(self, symbol, tokens, outputs):
        if symbol.startswith("adopt"):
            tokens[outputs : outputs + 10] = np.arange(200, 210)
        if symbol.startswith("sample"):
            tokens[:10] = np.arange(300, 310)

    def _run(self, symbol, grid):
        if self.model is not None and (at := self.model.address(TOKENS)) in self.memory:
            self.launch(symbol, self.memory[at].view(np.int32), self.model.max_outputs)
        return super()._run(symbol, grid)

    model = None


@pytest.fixture
def card(monkeypatch):
    driver = Card()
    monkeypatch.setitem(executor.OPENERS, "cuda", lambda index: driver)
    driver.model = load(compile_model(MODELS / "qwen3_5_text", ["sm_90"], CompileOptions(**OPTIONS)), "cuda")
    return driver


def test_a_cycle_is_one_call_that_drafts_adopts_verifies_and_samples(card):
    model, step = card.model, cycle_step(2)
    assert isinstance(model, RunsCycles)
    copies = []
    card._copy_out_plain = card._copy_out
    samplers = row_samplers(Sampler(Sampling(temperature=0)), (MASK,) * 9)
    move = card._move
    card._move = lambda target, source, nbytes: copies.append(nbytes) or move(target, source, nbytes)
    for _ in range(3):  # as a captured graph too
        card.launches.clear()
        copies.clear()
        tokens, chosen = model.cycle(step, samplers)
        assert tokens == list(range(200, 210)) and chosen == list(range(300, 310))
        programs = model.plan.programs
        launches = [x for name in ("draft_decode", "adopt", "decode", "sample") for x in programs[name]]
        expected = [x.kernel for x in launches if all(grid_size(size, step) for size in x.grid)]
        assert [symbol for symbol, _ in card.launches] == expected
        assert len(copies) == 2 and copies[1] == 4 * (model.max_outputs + 10), "the step in, one small copy back"


def test_plain_steps_beside_cycles_are_as_before(card):
    model = card.model
    step = Step.single([5], 3)
    assert model.next_tokens(step, [Sampler(Sampling(temperature=0))]) == [300]
    assert not any(symbol.startswith("adopt") for symbol, _ in card.launches)


@pytest.mark.parametrize("draft", ["dflash", "dflash2"])
def test_only_attention_costs_more_behind_a_longer_prompt(draft):
    """What the draft knows of the text lies there after RoPE, in place: no launch of a cycle but attention looks at old positions."""
    plan = bundle_with_adopt("gfx1100", DRAFT.parent / draft).plans["gfx1100"]
    rows = np.arange(plan.draft.block, dtype=np.int32)
    near, far = (
        Step(np.full(len(rows), MASK, np.int32), (Segment(0, 0, len(rows), at, 0, False),), rows, 1, True)
        for at in (8, 240)
    )
    launches = [launch for name in ("draft_decode", "adopt", "decode") for launch in plan.programs[name]]
    growing = [launch for launch in launches if launch.bytes["context"]]
    assert growing and all(launch.kernel.startswith("attend") for launch in growing)
    others = [launch for launch in launches if not launch.kernel.startswith("attend")]
    for launch in others:
        assert [grid_size(size, near) for size in launch.grid] == [grid_size(size, far) for size in launch.grid], (
            launch.kernel
        )
    assert len(others) > len(growing)
    moved = [
        sum(
            launch.bytes["row"] * len(rows) + launch.bytes["context"] * int(sum(s.positions + 1)) for launch in launches
        )
        for s in (near, far)
    ]
    assert moved[1] - moved[0] == sum(launch.bytes["context"] for launch in growing) * len(rows) * 232
