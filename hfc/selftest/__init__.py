"""Every kernel of a plan on the device present against the interpreter: level L6 of docs/ARCHITECTURE.md."""

from hfc.selftest.check import KernelCheck, check_plan

__all__ = ["KernelCheck", "check_plan"]
