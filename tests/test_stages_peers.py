"""Values that go from card to card: which may, how many at a time, and what is done where there is no room."""

import gc
from dataclasses import replace

import numpy as np
from fake_driver import FakeDriver
from model_reference import MODELS

from hfc.compiler import CompileOptions, compile_model
from hfc.plan import Plan
from hfc.pointer import Pointer
from hfc.runtime.executor import link_peers
from hfc.runtime.gpu import GpuModel
from hfc.runtime.peer import DeviceRows, Sender, kept_on_device
from hfc.runtime.random_weights import RandomWeights
from hfc.step import Step


class Alone(FakeDriver):
    def reaches(self, peer):
        return peer is self


def stages_on(drivers) -> tuple[list[GpuModel], list[Plan]]:
    options = CompileOptions(ctx=64, slots=2, max_rows=32, stages=((0, 0), (1, 2)))
    bundle = replace(compile_model(MODELS / "qwen3_5_text", ["sm_90", "sm_90"], options), trusted=True)
    plans = list(bundle.plans.values())
    return [GpuModel(bundle, plan, driver, RandomWeights(64)) for plan, driver in zip(plans, drivers)], plans


def test_rows_stay_on_the_card_while_there_is_room():
    stages, (plan, _) = stages_on([FakeDriver(), FakeDriver()])
    first, second = stages
    assert link_peers(stages) == []
    (name,) = plan.stage.sent
    made = np.arange(5 * 64, dtype=np.float32).reshape(5, 64)
    first.driver.copy_in(first.address(Pointer.buffer(name)), made)
    step = Step.single(np.arange(5, dtype=np.int32))
    held = [first.hand_on(step)[name] for _ in range(4)]
    # one more than there are stages, then the host's way
    assert [type(rows) for rows in held] == [DeviceRows] * 3 + [np.ndarray]
    np.testing.assert_array_equal(held[3], made)
    second.receive({name: held[2]})
    np.testing.assert_array_equal(second.read(Pointer.buffer(name), made.nbytes).view(np.float32).reshape(5, 64), made)
    del held[1]
    gc.collect()
    assert type(first.hand_on(step)[name]) is DeviceRows
    before = len(first.driver.memory)
    first.close(), second.close()
    assert before and not first.driver.memory and not second.driver.memory


def test_cards_that_do_not_reach_each_other_are_told_and_others_are_not():
    near, far = FakeDriver(), Alone()
    of = lambda *drivers: [  # noqa: E731
        Sender(d, () if i == 0 else ("x",), () if i == len(drivers) - 1 else ("x",)) for i, d in enumerate(drivers)
    ]
    assert kept_on_device(of(near, FakeDriver())) == ([["x"], []], [])
    kept, notes = kept_on_device(of(far, Alone()))
    assert kept == [[], []] and notes == [
        "Fake 9000 (number 0) cannot read the memory of Fake 9000 (number 0): values travel through the host"
    ]
    assert kept_on_device(of(near, far)) == ([[], []], []), "cards of two vendors: nobody expects it"
    assert kept_on_device(of(near, None)) == ([[], []], []), "the CPU"
    kept, _ = kept_on_device(of(near, FakeDriver(), None))  # who is behind the neighbour reads it, too
    assert kept == [[], [], []]
