"""Folders that look like /sys, /dev and /proc of machines with AMD cards, with the values that those machines have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

GIB = 1 << 30


@dataclass(frozen=True)
class Gpu:
    """version: gfx_target_version. simds: simd_count. per_cu: SIMDs of a CU."""

    version: int
    device_id: int
    simds: int
    per_cu: int
    vram: int
    gtt: int


RX_7900_XTX = Gpu(110000, 0x744C, 192, 2, 25753026560, 33569943552)
RX_9070_XT = Gpu(120001, 0x7550, 128, 2, 17095983104, 33569943552)
STRIX_HALO = Gpu(110501, 0x1586, 80, 2, 536870912, 66571993088)
MI50 = Gpu(90006, 0x66A1, 240, 4, 17163091968, 33569943552)
RAPHAEL = Gpu(100306, 0x164E, 4, 2, 536870912, 33569943552)  # the small GPU inside of desktop CPUs


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def machine(
    root: Path, *gpus: Gpu, kernel: str = "6.14.0", release: str = "ID=ubuntu\nID_LIKE=debian\n", memory: int = 64 * GIB,
    driver: bool = True, mode: int = 0o660,
) -> Path:  # fmt: skip
    write(root, "proc/version", f"Linux version {kernel}-generic (builder) #1 SMP\n")
    write(root, "proc/meminfo", f"MemTotal:       {memory >> 10} kB\nMemFree: 1 kB\n")
    write(root, "etc/os-release", release)
    nodes = "sys/class/kfd/kfd/topology/nodes"
    if driver:
        (root / "sys/module/amdgpu").mkdir(parents=True)
        write(root, f"{nodes}/0/properties", "cpu_cores_count 16\nsimd_count 0\ngfx_target_version 0\n")
    for number, gpu in enumerate(gpus):
        minor, bus = 128 + number, f"sys/bus/pci/devices/0000:0{number + 3}:00.0"
        write(root, f"{bus}/vendor", "0x1002\n")
        write(root, f"{bus}/class", "0x030000\n")
        if not driver:
            continue
        write(
            root,
            f"{nodes}/{number + 1}/properties",
            f"cpu_cores_count 0\nsimd_count {gpu.simds}\nsimd_per_cu {gpu.per_cu}\ngfx_target_version {gpu.version}\n"
            f"vendor_id 4098\ndevice_id {gpu.device_id}\ndrm_render_minor {minor}\n",
        )
        write(root, f"sys/class/drm/renderD{minor}/device/mem_info_vram_total", f"{gpu.vram}\n")
        write(root, f"sys/class/drm/renderD{minor}/device/mem_info_gtt_total", f"{gpu.gtt}\n")
        write(root, f"dev/dri/renderD{minor}", "")
        (root / f"dev/dri/renderD{minor}").chmod(mode)
    if driver and gpus:
        write(root, "dev/kfd", "")
        (root / "dev/kfd").chmod(mode)
    write(root, "sys/bus/pci/devices/0000:00:02.0/vendor", "0x8086\n")
    write(root, "sys/bus/pci/devices/0000:00:02.0/class", "0x030000\n")
    return root
