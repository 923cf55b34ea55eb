"""Precision profiles: what a plan may round, chosen when it is compiled."""

from __future__ import annotations

from hfc.base.diagnostics import HfcError, unknown
from hfc.target.arch import Arch
from hfc.target.platform import EXACT, FAST

AUTO_PROFILE = "auto"
# Within each, bits depend neither on neighbours nor on how a prompt is cut.
PROFILES = {
    EXACT: "products of prompts on matrix units are made of pairs of f16: 22 bits of inputs and weights",
    FAST: "prompts round inputs and dequantized weights to f16: one product a weight; decode rounds "
    "inputs to whole numbers of 15 or 16 bits where integer products are fastest, and is as in exact elsewhere",
}


def profile_for(arch: Arch, profile: str) -> str:
    """The profile of a plan: the one that was asked for; AUTO_PROFILE is the fastest that the platform has."""
    if profile == AUTO_PROFILE:
        return arch.platform.profiles[-1]
    if profile not in PROFILES:
        raise unknown("precision profile", profile, [*PROFILES, AUTO_PROFILE])
    if profile not in arch.platform.profiles:
        have = " or ".join(arch.platform.profiles)
        raise HfcError(
            f"--profile {profile}: {arch.name} has no such plan", hint=f"leave it out: {arch.name} does {have}"
        )
    return profile
