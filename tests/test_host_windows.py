"""Host kernels and launch tapes as DLLs for Windows, run by wine: the numeric tests of the host's kernels, with threads that sleep and wake."""

import os
import subprocess

import pytest
import test_host_kernels_attend as attend
import test_host_kernels_linear as linear
import test_host_kernels_recurrent as recurrent
from host_kernels import WINE, Machine

from hfc.target.cpus import CPUS, V3, Cpu

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not WINE or os.uname().machine != "x86_64", reason="needs wine on x86-64 (Debian: wine, wine64)"
    ),
]
WINDOWS = "x86-64-v3 of Windows"


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """Wine's folder of Windows. A shell stays open in it: each program would start Windows' services anew."""
    folder = tmp_path_factory.mktemp("wine")
    environment = {**os.environ, "WINEPREFIX": str(folder), "WINEDEBUG": "-all"}
    with subprocess.Popen([WINE, "cmd"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment) as shell:
        yield folder
        shell.communicate(b"exit\r\n", timeout=60)


@pytest.fixture(autouse=True)
def under_wine(monkeypatch, tmp_path, prefix):
    monkeypatch.setitem(CPUS, WINDOWS, Cpu("x86_64-windows-gnu", "x86_64_v3", "x86_64", V3))
    monkeypatch.setattr(Machine, "cpu", WINDOWS)
    monkeypatch.setattr(Machine, "folder", tmp_path, raising=False)
    monkeypatch.setattr(Machine, "command", [WINE])
    monkeypatch.setenv("WINEPREFIX", str(prefix))
    monkeypatch.setenv("WINEDEBUG", "-all")


@pytest.mark.parametrize("form_name", linear.CODED + linear.PLAIN)
def test_every_format(form_name):
    linear.test_every_format(form_name)


def test_regions():
    linear.test_parts_of_different_formats_share_the_input()
    linear.test_zipped_parts()
    linear.test_norm_before_and_residual_after()
    linear.test_outliers_and_bad_numbers()
    linear.test_experts(shared=True)
    linear.test_one_plane_is_eight_bits()


def test_attention():
    for form in ("f32", "f16", "q8", "q4"):
        attend.test_decode(127, form)
    for form in ("asym2", "asym3", "asym4", "fwht3"):
        attend.test_rows_of_every_layout_with_and_without_wide_registers(form, "native")
    attend.test_sinks("q8")
    attend.test_rows_that_see_their_whole_segment(6, 250)


def test_recurrences():
    recurrent.test_delta_does_not_depend_on_chunks_neighbours_or_threads()
    recurrent.test_conv(4)
    recurrent.test_map_embeds_normalises_and_writes_the_cache()
