"""Ranks whose cards meet in a kernel: what their tapes enqueue, what the kernel is given, and what ends its waiting."""

import re
from dataclasses import replace

import numpy as np
import pytest
from fake_driver import FakeDriver
from model_reference import MODELS

from hfc.backend.compile import compile_job
from hfc.backend.exchange import MEET
from hfc.backend.meeting import meeting_job
from hfc.base.diagnostics import DeviceLost, HfcError
from hfc.bundles.check import check_plan
from hfc.bundles.code import check_code
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
    made = compile_job(meeting_job(find_arch(arch)))
    assert re.search(STORES.get(arch, "global_store"), made.assembly)


def met(launches):
    """What follows each meeting, by symbol."""
    return [after for (symbol, _), (after, _) in zip(launches, launches[1:]) if symbol == MEET]


@pytest.mark.long
def test_a_step_of_ranks_waits_once():
    bundle = replace(compile_model(MODELS / "llama", ["sm_90"], OPTIONS), trusted=True)
    cards = [Card(0), Card(1)]
    ranks = [GpuModel(bundle, plan, card, RandomWeights(64)) for plan, card in zip(bundle.plans.values(), cards)]
    model = ranked(ranks)
    words = [card.read(rank.meeting_words.address, 8 * MeetingWords.END) for card, rank in zip(cards, ranks)]
    for number, own in enumerate(words):
        other = 1 - number
        line = MeetingWords.HERE + number * MeetingWords.LINE
        assert own[MeetingWords.THERE + other] == ranks[other].meeting_words.address + 8 * line
        assert not own[MeetingWords.THERE + number] and not own[MeetingWords.TURN]
    for tokens, program in ((5, Program.DECODE), (20, Program.PREFILL)):
        behind = [
            launch.kernel
            for before, launch in zip(ranks[0].plan.programs[program], ranks[0].plan.programs[program][1:])
            if before.exchange
        ]
        for _ in range(2):  # the second time it is a graph
            for card in cards:
                card.launches.clear()
                card.waits = 0
            model.forward(Step.single(np.arange(tokens, dtype=np.int32)))
            for card in cards:
                assert card.waits == 1
                assert met(card.launches) == behind and len(behind) == 5  # twice a layer, and the logits
                assert {grid for symbol, grid in card.launches if symbol == MEET} == {(1, 1, 1)}
    ranks[1].meeting_words.broken[0] = 1  # as a kernel does that has waited in vain
    with pytest.raises(DeviceLost, match="another rank did not come"):
        model.forward(Step.single(np.arange(5, dtype=np.int32)))
    assert not any(rank.meeting_words.broken[0] for rank in ranks)
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


@pytest.mark.long
def test_a_bundle_with_another_kernel_for_it_is_refused():
    bundle = compile_model(MODELS / "llama", ["sm_90"], OPTIONS)
    plan = next(iter(bundle.plans.values()))
    file = next(kernel.file for kernel in plan.kernels if kernel.symbol == MEET)
    parameter = b"\t.param .u64 .ptr .align 1 hfc_exchange_param_0\n"
    assert parameter in bundle.files[file]
    longer = bundle.files[file].replace(parameter, parameter.rstrip() + b",\n" + parameter)
    check_code(plan, bundle.files, "m.hfp")
    with pytest.raises(HfcError, match="gives 1 arguments, the code of hfc_exchange takes 2"):
        check_code(plan, {**bundle.files, file: longer}, "m.hfp")
    decode = tuple(replace(x, block=0) if x.exchange else x for x in plan.programs[Program.DECODE])
    check_plan(plan, "m.hfp")
    with pytest.raises(HfcError, match="its block"):
        check_plan(replace(plan, programs={**plan.programs, Program.DECODE: decode}), "m.hfp")
