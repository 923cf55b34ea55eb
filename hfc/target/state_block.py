"""How a head's recurrent state lies in the registers of a thread block: a column over a few neighbouring lanes."""

from __future__ import annotations

MAX_THREADS = 1024  # of a block, on every GPU
MAX_LANES = 32  # that share a column: they are of one wave
LANE_ELEMENTS = 32  # of a column in one lane; more would leave too few registers for what else a row needs


def lanes_of_column(dk: int) -> int:
    """Lanes that share a column of `dk` elements: a power of two, so that each holds at most LANE_ELEMENTS where enough may share."""
    lanes = 1
    while lanes < MAX_LANES and lane_elements(dk, lanes) > LANE_ELEMENTS:
        lanes *= 2
    return lanes


def lane_elements(dk: int, lanes: int) -> int:
    """Elements of a column in each of its lanes, four in turn."""
    return -(-dk // (4 * lanes)) * 4


def columns_of_block(dk: int, dv: int) -> int:
    """Columns of a head's state that one block carries: all, where it has the threads."""
    return min(dv, MAX_THREADS // lanes_of_column(dk))


def one_block(dk: int, dv: int) -> bool:
    """One block carries a head's whole state."""
    return columns_of_block(dk, dv) == dv
