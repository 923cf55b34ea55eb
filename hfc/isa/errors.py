"""What goes wrong in an emulated kernel: its own faults, and things that the emulator does not know."""

from __future__ import annotations

from hfc.base.diagnostics import HfcError


class KernelFault(HfcError):
    """The kernel did something wrong: a bad address, a trap, a deadlock. The message names kernel, thread block, wave,
    lane, instruction and, with debug information, the source line."""


class Unsupported(HfcError):
    """The emulator cannot run this code object or instruction; the message names it and its address."""
