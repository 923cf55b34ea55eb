"""The compiled code of a bundle that runs in this process: loaded only if this machine made it, its CPU can run it, and it was
made for this very plan."""

from __future__ import annotations

import ctypes

from hfc.base.cache import kept, made_here
from hfc.base.cpu import instruction_sets
from hfc.base.diagnostics import HfcError
from hfc.bundles.contract import contract
from hfc.plan import Bundle, Plan

AGAIN = "compile it again"


def host_file(bundle: Bundle, plan: Plan) -> str:
    """Which of its files runs in this process. HfcError where there is none for this machine."""
    if plan.arch == "host":
        return plan.library
    machine = instruction_sets()[0]
    name = f"{plan.library}-{machine}.so"
    if name not in bundle.files:
        raise HfcError(f"the bundle has no launch tape for a {machine} host")
    return name


def why_not(bundle: Bundle, plan: Plan) -> str | None:
    """Why the code of a bundle must not or cannot run here; None if it may."""
    lacking = [name for name in plan.cpu if name not in instruction_sets()]
    if lacking:
        return f"its code is for a CPU with {', '.join(lacking[:8])}, which this one has not"
    if not bundle.trusted and not made_here(bundle.files[host_file(bundle, plan)]):
        return "its code was not compiled on this machine, and code can do whatever you can"
    return None


def open_code(bundle: Bundle, plan: Plan) -> ctypes.CDLL:
    """The library, unpacked into the cache under the hash of its content, since the loader wants a file."""
    reason = why_not(bundle, plan)
    if reason:
        raise HfcError(
            f"the bundle cannot run: {reason}",
            hint="compile the model here; or run it with --trust, if you trust who made it as you would a program",
        )
    try:
        library = ctypes.CDLL(str(kept(bundle.files[host_file(bundle, plan)], ".so")))
        made_for = (ctypes.c_char * 64).in_dll(library, "hfc_contract").raw.decode("ascii", "replace")
    except (OSError, ValueError) as error:
        raise HfcError(f"the bundle's code cannot be loaded: {error}", hint=AGAIN) from error
    expected = contract(plan)
    if made_for != expected:
        raise HfcError(
            f"the bundle's code was made for another plan: its contract is {made_for[:12]}, the plan's {expected[:12]}",
            hint=AGAIN,
        )
    return library
