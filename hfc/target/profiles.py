"""Precision profiles: what a plan may round, chosen when it is compiled."""

from __future__ import annotations

from hfc.base.diagnostics import HfcError, unknown
from hfc.target.arch import Arch
from hfc.target.platform import EXACT, FAST, TURBO

AUTO_PROFILE = "auto"
# Within each, bits depend neither on neighbours nor on how a prompt is cut.
PROFILES = {
    EXACT: "products of prompts on matrix units are made of pairs of f16: 22 bits of inputs and weights",
    FAST: "prompts round inputs and dequantized weights to f16: one product a weight; decode rounds "
    "inputs to whole numbers of 15 or 16 bits where integer products are fastest, and is as in exact elsewhere",
    TURBO: "where weights are codes, inputs are rounded to whole numbers of 8 bits; the rest is as in fast",
}
INTEGER_PRODUCTS = "dot4_i8"  # without it there is nothing that turbo could do


def profiles_of(arch: Arch) -> tuple[str, ...]:
    """The profiles that plans for `arch` can have; the one of a plan that asks for none first."""
    first = arch.platform.profiles[::-1]
    return (*first, *(arch.platform.asked if arch.has(INTEGER_PRODUCTS) else ()))


def profile_for(arch: Arch, profile: str) -> str:
    """The profile of a plan: the one that was asked for; AUTO_PROFILE is the fastest whose numbers need no thought."""
    if profile == AUTO_PROFILE:
        return profiles_of(arch)[0]
    if profile not in PROFILES:
        raise unknown("precision profile", profile, [*PROFILES, AUTO_PROFILE])
    if profile not in profiles_of(arch):
        why = f": it has no products of bytes ({INTEGER_PRODUCTS})" if profile in arch.platform.asked else ""
        raise HfcError(
            f"--profile {profile}: {arch.name} has no such plan{why}",
            hint=f"leave it out: {arch.name} does {' or '.join(profiles_of(arch))}",
        )
    return profile
