"""The host's launch tape: order of launches, threads that come late, fork, bad tables."""

import ctypes
import os

import numpy as np
import pytest
from host_kernels import MAX_ROWS, open_library, pointer, segments_of, step_words
from test_host_kernels_attend import attend
from test_host_kernels_linear import linear

from hfc.backend.host.build import build_host_library, library_source
from hfc.backend.library import build_library
from hfc.backend.skeletons.map.region import MapRegion, Task
from hfc.backend.spec import Bound

SIZE = 4096


def counter(source: str, target: str) -> Bound:
    """target = source + 1 in many small units of work."""
    args = [pointer("x0"), pointer("y1", written=True)]
    store = "y1[(size_t)row * 4096 + g * 64 + j] = x0[(size_t)row * 4096 + g * 64 + j] + 1.0f;"
    task = Task(SIZE // 64, 64, (), store)
    return Bound("map", f"map_{source}_{target}", tuple(args), "T", MapRegion((task,)))


LAUNCHES = 60


@pytest.fixture(scope="module")
def library():
    """LAUNCHES kernels that pass a buffer to and fro: any launch that starts early reads stale numbers."""
    there, back = counter("a", "b"), counter("b", "a")
    launches = [(there.name, [0, 1]) if i % 2 == 0 else (back.name, [1, 0]) for i in range(LAUNCHES)]
    return open_library(build_host_library([there, back], launches, MAX_ROWS, 64))


class Tape:
    def __init__(self, library, threads):
        self.library = library
        self.buffers = np.zeros((2, MAX_ROWS, SIZE), np.float32)
        table = (ctypes.c_void_p * 2)(*(b.ctypes.data for b in self.buffers))
        self.handle = library.hfc_create(threads, table, 2)
        self.words = step_words(segments_of((5, 0)))

    def step(self):
        return self.library.hfc_step(self.handle, self.words.ctypes.data)

    def check(self, steps):
        assert (self.buffers[0, :5] == steps * LAUNCHES).all()
        assert not self.buffers[:, 5:].any()

    def close(self):
        self.library.hfc_destroy(self.handle)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_launches_run_in_order(library, threads):
    tape = Tape(library, threads)
    for _ in range(100):
        assert tape.step() == threads
    tape.check(100)
    tape.close()


def test_steps_of_changing_size(library):
    """A thread that is still in the last step must not touch this one."""
    tape = Tape(library, 4)
    wanted = np.zeros(MAX_ROWS)
    for i in range(200):
        rows = i * 7 % MAX_ROWS
        tape.words[:] = step_words(segments_of((rows, 0))) if rows else 0
        tape.step()
        wanted[:rows] += LAUNCHES
    assert (tape.buffers[0] == wanted[:, None]).all()
    tape.close()


def test_ranges_that_change_from_step_to_step(library):
    """A thread that is late for the end of one range must not begin the launch behind it, which the next range may have."""
    library.hfc_range.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
    tape, done = Tape(library, 8), 0
    for i in range(20000):
        first, end = ((0, 2), (2, 4), (2, 2), (0, 4))[i % 4]
        library.hfc_range(tape.handle, first, end)
        tape.step()
        done += end - first
        assert (tape.buffers[0, :5] == done).all(), i
    tape.close()


def test_two_tapes_and_many_lives(library):
    for _ in range(20):
        first, second = Tape(library, 2), Tape(library, 3)
        for tape in (first, second):
            tape.step()
            tape.check(1)
            tape.close()


def test_a_forked_child_gets_threads_of_its_own(library):
    tape = Tape(library, 2)
    tape.step()
    child = os.fork()
    if child == 0:
        try:
            tape.step()
            tape.check(2)
            tape.close()
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    tape.step()
    tape.check(2)
    tape.close()


def test_a_short_table_is_refused(library):
    table = (ctypes.c_void_p * 1)(0)
    assert not library.hfc_create(2, table, 1)


def test_profile_counts_each_launch(library):
    tape, times = Tape(library, 2), (ctypes.c_int64 * LAUNCHES)()
    library.hfc_profile.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    library.hfc_profile(tape.handle, times)
    tape.step()
    assert all(0 < t < 10**9 for t in times)
    tape.close()


@pytest.mark.long
def test_other_machines_compile():
    """Every kernel's source builds for 64-bit ARM, which this machine cannot run."""
    source = library_source(
        [
            counter("a", "b"),
            linear(["q4_1", "bf16"], [32, 4], 256),
            attend(6, 2, 64, form="f16"),
        ],
        [],
        MAX_ROWS,
        64,
    )
    assert build_library(source, "aarch64-linux-gnu.2.28")[:4] == b"\x7fELF"
