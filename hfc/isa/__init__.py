"""The ISA emulator: executes AMD GPU code objects on the CPU, with checks that no card makes. See docs/isa.md."""

from hfc.isa.errors import KernelFault, Unsupported
from hfc.isa.launch import SCHEDULES, LaunchOptions, check_code_object, launch_kernel, run_kernel

__all__ = [
    "KernelFault",
    "Unsupported",
    "LaunchOptions",
    "SCHEDULES",
    "run_kernel",
    "launch_kernel",
    "check_code_object",
]
