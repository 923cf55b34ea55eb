"""Ranks whose cards meet in a kernel: what their tapes enqueue, what the kernel is given, and what ends its waiting."""

import re
from dataclasses import replace

import numpy as np
import pytest
from fake_driver import FakeDriver
from model_reference import MODELS

from hfc.backend.compile import KernelJob, compile_job
from hfc.backend.exchange import MEET
from hfc.backend.hip import standalone_source
from hfc.base.diagnostics import DeviceLost
from hfc.compiler import CompileOptions, compile_model
from hfc.plan import MeetingWords
from hfc.program import Program
from hfc.runtime.gpu import GpuModel
from hfc.runtime.random_weights import RandomWeights
from hfc.runtime.ranks.model import ranked
from hfc.step import Step
from hfc.target.arch import find_arch

OPTIONS = CompileOptions(ctx=64, slots=1, max_rows=32, tensor_parallel=2)
STORES = {"sm_90": r"st\.release\.sys\.global\.b64", "gfx942": r"buffer_wbl2 sc0 sc1"}


class Card(FakeDriver):
    """One of several. waits: of the tape for its stream."""

    def __init__(self, index: int):
        super().__init__("sm_90")
        self.info = replace(self.info, index=index)
        self.waits = 0

    def _synchronize(self, stream) -> int:
        self.waits += 1
        return super()._synchronize(stream)

    def read(self, address: int, nbytes: int) -> np.ndarray:
        data = np.empty(nbytes, np.uint8)
        self.copy_out(data, address)
        return data.view(np.uint64)


@pytest.mark.parametrize("arch", ["sm_90", "gfx942", "gfx1100", "gfx906"])
def test_the_kernel_publishes_to_the_whole_system(arch):
    text = """extern "C" __global__ void meet(uint64_t* words) {
  const HfcMeeting others = hfc_others(words);
  hfc_meet(others);
}
"""
    made = compile_job(
        KernelJob("meet", standalone_source(find_arch(arch), lambda preface: preface + text), find_arch(arch))
    )
    assert re.search(STORES.get(arch, "global_store"), made.assembly)


@pytest.mark.long
def test_a_step_of_ranks_waits_once_and_is_one_call():
    bundle = replace(compile_model(MODELS / "llama", ["sm_90"], OPTIONS), trusted=True)
    cards = [Card(0), Card(1)]
    ranks = [GpuModel(bundle, plan, card, RandomWeights(64)) for plan, card in zip(bundle.plans.values(), cards)]
    model = ranked(ranks)
    assert ranks[0].on_card.leads and not ranks[1].on_card.leads
    for number, (card, rank) in enumerate(zip(cards, ranks)):
        other = ranks[1 - number].on_card.words
        assert len(rank.on_card.words.memory) == 5  # twice a layer, and the logits
        for pointer, place in rank.on_card.words.memory.items():
            words = card.read(place, 8 * MeetingWords.END)
            assert words[MeetingWords.TURN] == rank.on_card.words.turn_word
            assert words[MeetingWords.THERE + 1 - number] == other.memory[pointer] + 8 * (MeetingWords.HERE + number)
            assert not words[MeetingWords.THERE + number] and not words[MeetingWords.HERE + 1 - number]
    steps = 0
    for tokens, program in ((5, Program.DECODE), (20, Program.PREFILL)):
        expected = [launch.kernel for launch in ranks[0].plan.programs[program] if not launch.exchange]
        for _ in range(2):  # the second time it is a graph
            for card in cards:
                card.launches.clear()
                card.waits = 0
            model.forward(Step.single(np.arange(tokens, dtype=np.int32)))
            steps += 1
            for card, rank in zip(cards, ranks):
                assert card.waits == 1 and card.read(rank.on_card.words.turn_word, 8)[0] == steps
                assert [symbol for symbol, _ in card.launches if symbol in expected] == [
                    symbol for symbol, _ in card.launches
                ]
                assert MEET not in {symbol for symbol, _ in card.launches}
    ranks[1].on_card.words.broken[0] = 1  # as a kernel does that has waited in vain
    with pytest.raises(DeviceLost, match="another rank did not come"):
        model.forward(Step.single(np.arange(5, dtype=np.int32)))
    assert not any(rank.on_card.words.broken[0] for rank in ranks)
    model.forward(Step.single(np.arange(5, dtype=np.int32)))
    cards[1].fail_at = len(cards[1].launches) + 4
    with pytest.raises(DeviceLost, match="driver error 719"):
        model.forward(Step.single(np.arange(5, dtype=np.int32)))
    model.close()


@pytest.mark.long
@pytest.mark.parametrize("program", [Program.DECODE, Program.PREFILL])
def test_a_place_is_written_again_only_behind_the_next_meeting(program):
    """Places are used by turns. Whoever has come to meeting n + 1 has read what was brought to meeting n: so no value is made before its
    predecessor's meeting, and its place is free."""
    bundle = compile_model(MODELS / "qwen3_5_text", ["sm_90"], OPTIONS)
    for plan in bundle.plans.values():
        launches = plan.programs[program]
        meetings = [at for at, launch in enumerate(launches) if launch.exchange]
        assert len(meetings) > 2
        for before, at in zip(meetings, meetings[1:]):
            own = launches[at].pointers[0]
            first = next(n for n, launch in enumerate(launches) if own in launch.pointers)
            assert before < first < at
