"""Tensor parallelism on cards without one: what ranks bring each other through their launch tapes, and what becomes of a lost card."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from fake_driver import FakeDriver
from model_reference import MODELS, relative_error

from hfc.base.diagnostics import DeviceLost
from hfc.compiler import CompileOptions, compile_model
from hfc.plan import inbox_of
from hfc.pointer import Pointer
from hfc.program import Program
from hfc.runtime.gpu import GpuModel
from hfc.runtime.random_weights import RandomWeights
from hfc.runtime.ranks.cards import unreached
from hfc.runtime.ranks.model import ranked
from hfc.step import Step

OPTIONS = CompileOptions(ctx=64, slots=1, max_rows=32, tensor_parallel=2)


class Alone(FakeDriver):
    def reaches(self, peer):
        return peer is self


def ranks_on(drivers):
    bundle = replace(compile_model(MODELS / "llama", ["gfx1100"], OPTIONS), trusted=True)
    return [GpuModel(bundle, plan, d, RandomWeights(64)) for plan, d in zip(bundle.plans.values(), drivers)]


@pytest.mark.long
def test_values_of_other_ranks_are_copied_or_read_where_they_lie():
    step, drivers = Step.single(np.arange(5, dtype=np.int32)), [Alone("gfx1100"), Alone("gfx1100")]
    ranks = ranks_on(drivers)
    model = ranked(ranks)
    exchanges = [launch for launch in ranks[0].plan.programs[Program.DECODE] if launch.exchange]
    assert len(exchanges) == 5  # twice a layer, and the logits
    own = [exchanges[-1].pointers[0], exchanges[-1].pointers[0]]
    rows = len(step.output_rows) * ranks[0].plan.buffer(own[0].name).row_bytes
    for number, (rank, pointer) in enumerate(zip(ranks, own)):
        rank.driver.copy_in(rank.address(pointer), np.full(rows, 7 + number, np.uint8))
    for _ in range(3):
        model.forward(step)
    for rank, other in ((0, 1), (1, 0)):
        brought = ranks[rank].read(Pointer.buffer(inbox_of(other)), rows)
        np.testing.assert_array_equal(brought, np.full(rows, 7 + other, np.uint8))
    assert "cannot read the memory of" in unreached(drivers)
    launched = [len(driver.launches) for driver in drivers]
    assert launched[0] == launched[1] > 0
    drivers[1].fail_at = launched[1] + 4
    with pytest.raises(DeviceLost, match="driver error 719"):
        model.forward(step)
    assert threading.active_count() < 50
    drivers[1].fail_at, drivers[1].error = None, 0
    model.forward(step)
    model.close()
    assert not any(driver.memory for driver in drivers)
    near = [FakeDriver("gfx1100"), FakeDriver("gfx1100")]
    first, second = ranks_on(near)
    model = ranked([first, second])
    peer = exchanges[0].pointers[1]
    assert first.address(peer) == second.address(Pointer.buffer(peer.name)) and unreached(near) is None
    model.forward(step)
    model.close()


@pytest.mark.long
def test_two_software_cards(tmp_path):
    """Uploads, tapes and machine code of two HIP cards that read each other's memory, and of two that do not."""
    pytest.importorskip("rocm.bindings.hip", reason="rocm-bindings-hip is not installed")
    from hip_double.build import library_folder
    from test_hip_device import several

    library = library_folder(tmp_path)
    np.save(tmp_path / "tokens.npy", np.arange(5, 12))
    made = str(tmp_path / "two.hfp")
    sizes = ["--ctx", "64", "--draft", "off", "--profile", "exact"]
    compiled = ["compile", str(MODELS / "qwen3_5_text"), "--arch", "gfx1100", "-tp", "2", "-o", made, *sizes]
    of = lambda name, model, *words: ["logits", model, "--tokens", str(tmp_path / "tokens.npy"), "--out", str(tmp_path / name), *words]  # noqa: E731  # fmt: skip
    host = str(MODELS / "qwen3_5_text")
    commands = [
        compiled,
        of("two.npy", made, "--devices", "hip:0,hip:1"),
        of("again.npy", made, "--device", "hip", "--step"),
        of("one.npy", host, "--device", "host", "--ctx", "64"),
        of("odd.npy", made, "--devices", "hip:0,host"),
    ]
    found = several(library, [("gfx1100:1G,gfx1100:1G", "", words) for words in commands])
    assert [code for code, _, _ in found] == [0, 0, 0, 0, 2], found
    one, two, again = (np.load(tmp_path / f"{name}.npy") for name in ("one", "two", "again"))
    assert relative_error(two, one) < 5e-3 and relative_error(again, one) < 5e-3
    assert "rank gfx1100:rank1 cannot run on host" in found[4][2]
