"""Host kernels and launch tapes as DLLs for Windows, run by wine: the numeric tests of the host's kernels, with threads that sleep and wake."""

import os
import subprocess

import pytest
from host_kernels import WINE, Machine
from host_numeric import FORMATS, KINDS, every_format

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


@pytest.mark.parametrize("form_name", FORMATS)
def test_every_format(form_name):
    every_format(form_name)


@pytest.mark.parametrize("kind", KINDS)
def test_kernels(kind):
    kind()
