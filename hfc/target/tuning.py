"""What was measured to suit cards of a kind, where no fact of the data sheet says it."""

from __future__ import annotations

from hfc.base.dataclass import dataclass


@dataclass(frozen=True)
class Tuning:
    """What was measured to suit cards of a kind, where no fact of the data sheet says it.

    weight_streams: weight rows that a lane reads at a time (H200, 9B, one row: four 33 us, two 39).
    inputs_in_lds: inputs of a row in LDS at a time (with more, LLVM hoists whole weight rows out of loops on AMD).
    rows_of_a_block: rows that share one reading of weights as f32.  positions_ahead: keys and values of a lane on their way.
    predicated_loads: loads under way with a predicate each (on AMD it takes scalar registers, of which there are about 100; on an H200 a
    step of one row took 6.4 us a layer of DeltaNet with 16, 4.4 with 4).
    rows_in_flight: rows whose loads are on their way through a recurrence (H200, 2,048 rows of 9B: 4 rows 772 us, 8 636, 16 593).
    resident_blocks: blocks of 256 threads that a compute unit holds.  lanes_per_clock: lanes of a compute unit that issue in a clock.
    counts_loads: waits are for all but the last so many loads, so that behind a condition they are for those under it, too.
    blocks_of_a_head: that attention has at most where each takes one query head; 0: none does (predicted for AMD, measured nowhere).
    """

    weight_streams: int = 2
    inputs_in_lds: int = 2048
    rows_of_a_block: int = 4
    positions_ahead: int = 4
    predicated_loads: int = 4
    rows_in_flight: int = 8
    resident_blocks: int = 2
    lanes_per_clock: int = 64
    blocks_of_a_head: int = 64
    counts_loads: bool = True


NVIDIA_TUNING = Tuning(
    weight_streams=4,
    inputs_in_lds=4096,
    rows_of_a_block=2,
    positions_ahead=2,
    rows_in_flight=16,
    resident_blocks=3,
    lanes_per_clock=128,
    blocks_of_a_head=0,
    counts_loads=False,
)
