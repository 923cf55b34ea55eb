"""`hfc doctor` on five machines, and on each of them what goes wrong there."""

import os

import pytest
from machines import GIB, MI50, RAPHAEL, RX_7900_XTX, RX_9070_XT, STRIX_HALO, Gpu, machine

from hfc.base.diagnostics import HfcError
from hfc.cli.checks import FAIL, PASS, WARN, Check, check_cache, check_environment, check_machine, check_runtime
from hfc.cli.doctor import show
from hfc.runtime.devices import Card, Found
from hfc.runtime.driver import DeviceInfo
from hfc.runtime.hip_library import HipLibrary
from hfc.runtime.kfd import Who, arch_of_version, read_machine

MEMBER = Who(12345, frozenset((os.getegid(),)))  # of the group that the fixture's files belong to
STRANGER = Who(12345, frozenset((54321,)))
LIBRARY = HipLibrary("/opt/rocm/lib/libamdhip64.so.7")


def checks(root, who=MEMBER) -> list[Check]:
    return list(check_machine(read_machine(root), who))


def states(found: list[Check]) -> list[tuple[str, str]]:
    return [(c.state, c.name) for c in found]


@pytest.mark.parametrize(
    ("gpu", "arch", "words"),
    [
        (RX_7900_XTX, "gfx1100", ("96 CUs", "24.0 GiB VRAM", "31.3 GiB GTT", "waves of 32", "wmma_f16")),
        (RX_9070_XT, "gfx1201", ("64 CUs", "15.9 GiB VRAM", "waves of 32")),
        (MI50, "gfx906", ("60 CUs", "16.0 GiB VRAM", "waves of 64", "dot4_i8")),
    ],
)
def test_a_card_that_works(tmp_path, gpu, arch, words):
    found = checks(machine(tmp_path, gpu))
    assert states(found) == [(PASS, "driver"), (PASS, "/dev/kfd"), (PASS, f"render node of {arch}"), (PASS, "card")]
    assert found[-1].found.startswith(f"{arch}, ") and all(word in found[-1].found for word in words), found[-1]


def test_strix_halo_is_told_how_to_use_its_memory(tmp_path):
    found = checks(machine(tmp_path, STRIX_HALO, memory=128 * GIB))
    assert states(found)[-1] == (WARN, "memory")
    assert "shares the machine's 128 GiB and may use 62 of them" in found[-1].found
    assert f"ttm.pages_limit={int(0.85 * 128 * GIB) >> 12}" in found[-1].mend
    assert states(checks(machine(tmp_path / "small", STRIX_HALO, memory=64 * GIB)))[-1] == (PASS, "card")


def test_a_machine_without_an_amd_card(tmp_path):
    (found,) = checks(machine(tmp_path, driver=False))
    assert (found.state, found.name) == (WARN, "driver") and "--device host" in found.mend
    assert not list(check_runtime(read_machine(tmp_path), HipLibrary(None), Found((), {})))


def test_what_is_missing_is_a_failure_with_the_command_that_mends_it(tmp_path):
    found = checks(machine(tmp_path / "1", RX_7900_XTX), STRANGER)
    assert states(found)[1:3] == [(FAIL, "/dev/kfd"), (FAIL, "render node of gfx1100")]
    assert "does not open for you" in found[1].found and found[1].mend.startswith("sudo usermod -aG ")
    (found,) = checks(machine(tmp_path / "2", RX_7900_XTX, driver=False))
    assert (found.state, found.mend) == (FAIL, "sudo modprobe amdgpu")
    root = machine(tmp_path / "3", RX_7900_XTX)
    (root / "dev/kfd").unlink()
    assert states(checks(root))[1] == (FAIL, "/dev/kfd")
    (root / ".dockerenv").touch()
    assert checks(root)[1].mend.startswith("docker run --device /dev/kfd")
    found = checks(
        machine(tmp_path / "4", RX_9070_XT, kernel="6.1.0", release="ID=debian\nVERSION_CODENAME=bookworm\n")
    )
    assert (found[-1].state, found[-1].name) == (WARN, "kernel") and "bookworm-backports" in found[-1].mend
    assert all(check.mend for check in found if check.state != PASS)


def test_an_access_list_opens_a_device_file_that_its_group_would_not(tmp_path, monkeypatch):
    """As systemd's logind gives it to who sits at the machine: the mode and the group say no."""
    root = machine(tmp_path, RX_7900_XTX)
    monkeypatch.setattr("os.getegid", lambda: 54321)
    monkeypatch.setattr("os.getgroups", lambda: [])
    monkeypatch.setattr("os.geteuid", lambda: 12345)
    monkeypatch.setattr("os.access", lambda path, how: str(path).endswith("kfd"))
    assert states(checks(root, Who.me()))[1:3] == [(PASS, "/dev/kfd"), (FAIL, "render node of gfx1100")]
    assert states(checks(root, STRANGER))[1] == (PASS, "/dev/kfd"), "the same user"
    assert states(checks(root, Who(1, frozenset())))[1] == (FAIL, "/dev/kfd"), "another one, by mode and group"


def test_the_small_gpu_of_a_desktop_cpu_is_no_trouble_beside_a_card(tmp_path):
    found = checks(machine(tmp_path, RX_7900_XTX, RAPHAEL))
    assert states(found)[-2:] == [(PASS, "card"), (PASS, "card")] and "gfx1036" in found[-1].found
    polaris = Gpu(80003, 0x67DF, 144, 4, 8 << 30, 16 << 30)
    found = checks(machine(tmp_path / "old", RX_7900_XTX, polaris))
    assert states(found)[-1] == (WARN, "card") and "gfx803" in found[-1].found
    assert found[-1].mend == "nothing: the other card is taken"


@pytest.mark.parametrize(
    ("release", "command"),
    [
        ("ID=debian\n", "sudo apt install rocm-hip-runtime"),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"\n', "sudo apt install rocm-hip-runtime"),
        ("ID=fedora\n", "sudo dnf install rocm-hip"),
        ("ID=cachyos\nID_LIKE=arch\n", "sudo pacman -S hip-runtime-amd"),
        ("ID=other\n", "install the HIP runtime"),
    ],
)
def test_a_missing_runtime_is_told_how_this_distribution_brings_it(tmp_path, release, command):
    here = read_machine(machine(tmp_path, RX_7900_XTX, release=release))
    (found,) = check_runtime(here, HipLibrary(None), Found((), {"hip": "no HIP runtime"}))
    assert found.state == FAIL and found.mend.startswith(command)


def test_the_runtime_must_show_the_cards_that_the_kernel_shows(tmp_path):
    here = read_machine(machine(tmp_path, RX_7900_XTX))
    card = Card("hip", DeviceInfo(0, "AMD Radeon RX 7900 XTX", "gfx1100", 96, 24 * GIB))
    assert states(check_runtime(here, LIBRARY, Found((card,), {}))) == [(PASS, "HIP runtime"), (PASS, "cards")]
    *_, found = check_runtime(here, LIBRARY, Found((), {"hip": "there is no AMD GPU (hipErrorNoDevice)"}))
    assert (found.state, found.name) == (FAIL, "cards") and "hipErrorNoDevice" in found.found and "unset" in found.mend
    old = HipLibrary("/usr/lib/x86_64-linux-gnu/libamdhip64.so.5")
    (found,) = check_runtime(here, old, Found((), {}))
    assert found.state == FAIL and "is of ROCm 5" in found.found and found.mend
    broken = HipLibrary(None, ("/opt/rocm/lib/libamdhip64.so.7: libnuma.so.1: cannot open shared object file",))
    assert "libnuma.so.1" in next(iter(check_runtime(here, broken, Found((), {})))).found


def test_variables_that_mislead_are_warned_about():
    assert not list(check_environment({"PATH": "/bin"}))
    found = list(check_environment({"HSA_OVERRIDE_GFX_VERSION": "11.0.0", "HIP_VISIBLE_DEVICES": "1"}))
    assert [c.mend.split("   #")[0] for c in found] == ["unset HSA_OVERRIDE_GFX_VERSION", "unset HIP_VISIBLE_DEVICES"]


def test_compiler_and_cache(tmp_path):
    found = list(check_cache(tmp_path / "not" / "yet", "clang version 22.1.8"))
    assert found[0] == Check(PASS, "compiler", "clang version 22.1.8") and found[1].name == "cache"
    assert not (tmp_path / "not").exists() and not list(tmp_path.iterdir())
    error = HfcError("no GPU compiler", hint="install the pip package `ziglang`")
    assert next(iter(check_cache(tmp_path, error))) == Check(FAIL, "compiler", "no GPU compiler", error.hint)


def test_archs_as_the_kernel_counts_them():
    versions = {
        90006: "gfx906",
        90008: "gfx908",
        90010: "gfx90a",
        90402: "gfx942",
        100100: "gfx1010",
        110501: "gfx1151",
    }
    assert {v: arch_of_version(v) for v in versions} == versions


def test_what_is_shown_has_a_line_for_each_check_and_for_what_mends_it():
    text = show([Check(PASS, "driver", "amdgpu"), Check(FAIL, "/dev/kfd", "no", "sudo x")])
    assert text.splitlines() == ["PASS  driver    amdgpu", "FAIL  /dev/kfd  no", "                -> sudo x"]
