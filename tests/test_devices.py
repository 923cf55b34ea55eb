"""Which card a --device means, and where the HIP runtime is looked for."""

import ctypes
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hip_double.build import environment, library_folder

from hfc.base.diagnostics import HfcError
from hfc.runtime import cuda, devices, hip
from hfc.runtime.devices import Card, Found, choose_device, visible
from hfc.runtime.driver import DeviceInfo
from hfc.runtime.hip_library import NAMES, VARIABLES, HipLibrary, candidates, find_hip_library

GIB = 1 << 30
XTX = DeviceInfo(0, "AMD Radeon RX 7900 XTX", "gfx1100", 96, 24 * GIB)
R9700 = DeviceInfo(1, "AMD Radeon AI PRO R9700", "gfx1201", 64, 32 * GIB)
MI50 = DeviceInfo(2, "AMD Instinct MI50", "gfx906", 60, 16 * GIB)
IGPU = DeviceInfo(3, "AMD Radeon 780M", "gfx1103", 12, 64 * GIB, is_integrated=True)
UNKNOWN = DeviceInfo(4, "AMD Radeon RX 580", "gfx803", 36, 8 * GIB)
H200 = DeviceInfo(0, "NVIDIA H200", "sm_90", 132, 141 * GIB)


def chosen(device: str, *hip: DeviceInfo, cuda: tuple[DeviceInfo, ...] = (), needed=1, missing=None):
    cards = [Card("hip", info) for info in hip] + [Card("cuda", info) for info in cuda]
    need = needed if callable(needed) else lambda arch: int(needed * GIB)
    return choose_device(device, need, lambda: Found(tuple(cards), missing or {}))


def test_auto_takes_the_fastest_card_and_says_why_not_the_others():
    found = chosen("auto", UNKNOWN, IGPU, R9700, XTX, missing={"cuda": "no NVIDIA driver"})
    assert found.device == "hip:0" and found.text == "hip:0 AMD Radeon RX 7900 XTX (gfx1100, 24.0 GiB)"
    assert set(found.reasons) == {"hip:4: hfc has no row for gfx803", "hip:3 is integrated", "hip:1 is slower"}


def test_a_card_that_cannot_hold_the_model_is_passed_over():
    found = chosen("auto", XTX, R9700, needed=28)
    assert (
        found.device == "hip:1" and "hip:0: the model needs 28.0 GiB, AMD Radeon RX 7900 XTX has 24.0" in found.reasons
    )
    assert chosen("auto", XTX, needed=28, missing={"cuda": "no NVIDIA driver"}).reasons[-1] == "cuda: no NVIDIA driver"
    assert chosen("auto", XTX, needed=28).device == "host"


def test_an_integrated_gpu_never_stands_beside_a_card():
    assert chosen("auto", IGPU, XTX, needed=28).device == "host"
    assert chosen("auto", IGPU, needed=28).device == "hip:3"
    assert chosen("auto", IGPU, UNKNOWN).device == "hip:3"


def test_amd_comes_before_nvidia_only_by_speed():
    assert chosen("auto", MI50, cuda=(H200,)).device == "cuda:0"
    assert chosen("hip", MI50, cuda=(H200,)).device == "hip:2"
    assert chosen("auto", cuda=(H200,)).device == "cuda:0"


@pytest.mark.parametrize(
    ("device", "expected"),
    [("gfx906", "hip:2"), ("mi50", "hip:2"), ("7900 XTX", "hip:0"), ("hip", "hip:0"), ("Radeon", "hip:0")],
)
def test_an_arch_or_a_part_of_a_name_chooses(device, expected):
    assert chosen(device, XTX, R9700, MI50).device == expected


def test_what_is_named_is_taken_or_refused():
    for device in ("hip:1", "cuda:0", "host", "null:gfx90a", "interpret"):
        assert chosen(device, XTX) == devices.Chosen(device)  # what opens it says whether it is there
    assert chosen("gfx1100", XTX, needed=28).device == "hip:0"  # loading refuses with the memory plan
    with pytest.raises(HfcError, match="(?s)unknown device 'hsot'.*did you mean 'host'"):
        chosen("hsot", XTX)
    for name in ("gfx906", "7900 GRE"):
        with pytest.raises(HfcError, match=f"(?s)unknown device '{name}'.*cards here: hip:0 .*gfx1100.*hfc doctor"):
            chosen(name, XTX)
    with pytest.raises(HfcError, match=r"cards here: none \(hip: no HIP runtime"):
        chosen("gfx1100", missing={"hip": "no HIP runtime"})
    assert (
        chosen("cuda", XTX, missing={"cuda": "no NVIDIA driver"}).device == "cuda"
    )  # opening it says why there is none
    found = chosen("auto", XTX, R9700, needed=lambda arch: 1 if arch == "gfx1201" else f"no plan for {arch}")
    assert found.device == "hip:1" and found.reasons == ("hip:0: no plan for gfx1100",)


def test_a_bundle_for_cards_alone_says_why_there_is_none():
    with pytest.raises(HfcError, match="hip: no HIP runtime; host: no plan for host\n.*hfc doctor.*--arch host"):
        chosen("auto", needed=lambda arch: f"no plan for {arch}", missing={"hip": "no HIP runtime"})


def test_devices_have_the_names_of_other_programs_too():
    assert chosen("cpu", XTX).device == "host" and chosen("rocm:1", XTX).device == "hip:1"
    assert chosen("gpu", IGPU, XTX).device == "hip:0", "any card: the fastest"
    with pytest.raises(HfcError, match="unknown device 'gpu'.*\n.*no NVIDIA driver"):
        chosen("gpu", missing={"hip": "no HIP runtime", "cuda": "no NVIDIA driver"})


def test_a_device_without_its_library_is_refused_by_what_is_missing(monkeypatch):
    monkeypatch.setattr(hip, "find_hip_library", lambda: HipLibrary(None, ("/opt/x.so: no libnuma",)))
    monkeypatch.setattr(cuda, "has_cuda_library", lambda: False)
    with pytest.raises(
        HfcError, match=r"device hip: no HIP runtime \(libamdhip64\); /opt/x.so: no libnuma\n.*hfc doctor"
    ):
        hip.open_device()
    with pytest.raises(HfcError, match=r"device cuda: no NVIDIA driver\n.*hfc devices"):
        cuda.open_device()


def test_windows_shows_all_cards_and_hfc_leaves_out_what_is_not_visible():
    cards = [XTX, R9700, MI50]
    assert visible(cards, {"HIP_VISIBLE_DEVICES": "1"}, "win32") == [R9700]
    assert visible(cards, {"ROCR_VISIBLE_DEVICES": "0,2"}, "win32") == [XTX, MI50]
    assert visible(cards[:1], {"HIP_VISIBLE_DEVICES": "1"}, "win32") == cards[:1], "the runtime numbered them anew"
    assert visible(cards, {"HIP_VISIBLE_DEVICES": "-1"}, "win32") == []
    assert visible(cards, {"HIP_VISIBLE_DEVICES": "1"}, "linux") == cards == visible(cards, {}, "win32")


def files(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_the_library_is_looked_for_where_the_user_says_then_in_wheels_then_where_rocm_installs_it(tmp_path):
    files(tmp_path, "chosen/lib/libamdhip64.so.6", "opt/rocm-6.4.1/lib/libamdhip64.so.6", "opt/rocm-7.0/lib/libamdhip64.so.7",
          "site/_rocm_sdk_core/lib/libamdhip64.so.7", "usr/lib/x86_64-linux-gnu/libamdhip64.so.5")  # fmt: skip
    places = list(candidates({"ROCM_PATH": str(tmp_path / "chosen")}, tmp_path, "linux", tmp_path / "site"))
    assert places == [
        f"{tmp_path}/chosen/lib/libamdhip64.so.6", f"{tmp_path}/site/_rocm_sdk_core/lib/libamdhip64.so.7", *NAMES,
        f"{tmp_path}/opt/rocm-7.0/lib/libamdhip64.so.7", f"{tmp_path}/opt/rocm-6.4.1/lib/libamdhip64.so.6",
        f"{tmp_path}/usr/lib/x86_64-linux-gnu/libamdhip64.so.5",
    ]  # fmt: skip
    files(tmp_path, "hip/bin/amdhip64_6.dll")
    places = list(candidates({"HIP_PATH": str(tmp_path / "hip")}, tmp_path, "win32", tmp_path / "site"))
    assert places == [f"{tmp_path}/hip/bin/amdhip64_6.dll", "amdhip64_7.dll", "amdhip64_6.dll", "amdhip64.dll"]


def test_windows_loads_the_runtime_by_the_names_that_its_drivers_bring(monkeypatch):
    asked = []

    def load(name, **options):
        asked.append((name, options))
        if name != "amdhip64_6.dll":
            raise OSError(f"Could not find module {name!r}")

    monkeypatch.setattr("hfc.runtime.hip_library.sys.platform", "win32")
    monkeypatch.setattr("hfc.runtime.hip_library.ctypes.CDLL", load)
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    found = find_hip_library.__wrapped__()
    assert found == HipLibrary("amdhip64_6.dll") and asked == [("amdhip64_7.dll", {}), ("amdhip64_6.dll", {})]
    monkeypatch.setattr("hfc.runtime.hip_library.WINDOWS_NAMES", ("amdhip64_8.dll",))
    assert find_hip_library.__wrapped__().why_not == "no HIP runtime (libamdhip64)"


def hfc(*words: str, env: dict[str, str]) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "hfc", *words], capture_output=True, text=True, env=env)


@pytest.mark.parametrize(
    ("name", "variable"), [("lib/libamdhip64.so.7", "ROCM_PATH"), ("libamdhip64.so.6", "LD_LIBRARY_PATH")]
)
def test_a_runtime_without_the_development_link_is_used(tmp_path, name, variable):
    pytest.importorskip("rocm.bindings.hip", reason="rocm-bindings-hip has no wheel for this machine")
    library_folder((tmp_path / name).parent, Path(name).name)
    env = environment(tmp_path / "other", "gfx1103:16G:igpu,gfx906:16G,gfx1100:24G") | {
        variable: str((tmp_path / name).parent)
    }
    if variable == "ROCM_PATH":
        env |= {"ROCM_PATH": str(tmp_path), "LD_LIBRARY_PATH": ""}
    done = hfc("devices", env=env)
    rows = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert [row.split()[0] for row in rows] == ["device", "hip:0", "hip:1", "hip:2", "host"]
    assert "integrated" in rows[1] and [("taken by auto" in row) for row in rows[1:]].count(True) == 1
    assert "gfx1100" in rows[3] and "taken by auto" in rows[3]


def test_a_runtime_of_rocm_5_is_refused_in_words(monkeypatch):
    def old(index):
        raise RuntimeError("failed to dlsym 'hipGetDevicePropertiesR0600'")

    monkeypatch.setattr(hip, "hip", SimpleNamespace(hipGetDeviceProperties=old))
    with pytest.raises(HfcError, match="(?s)older than ROCm 6 .*R0600.*hint: install the HIP runtime of ROCm 6"):
        hip.info_of(0)


def test_a_library_that_does_not_load_is_named(tmp_path, monkeypatch):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/libamdhip64.so.7").write_bytes(b"not a library")
    done = hfc("devices", env={"PATH": "/usr/bin", "HOME": str(tmp_path), "ROCM_PATH": str(tmp_path)})
    assert f"{tmp_path}/lib/libamdhip64.so.7" in done.stderr or _has_hip(), done.stderr
    assert "hip: no HIP runtime (libamdhip64)" in done.stderr or _has_hip()


def _has_hip() -> bool:
    try:
        return bool(ctypes.CDLL("libamdhip64.so"))
    except OSError:
        return False
