"""The ISA emulator: executes AMD GPU code objects on the CPU, with checks that no card makes. See docs/isa.md."""

from hfc.isa.errors import KernelFault, Unsupported
from hfc.isa.launch import SCHEDULES, Options, check_code_object, launch, run_kernel

__all__ = ["KernelFault", "Unsupported", "Options", "SCHEDULES", "run_kernel", "launch", "check_code_object"]
