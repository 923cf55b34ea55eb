"""Which cards a replica sees: those that Ray gave it, whatever the environment of the door says."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence

VARIABLES = ("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES")


def see_only(given: Sequence[str], environment: MutableMapping[str, str]) -> None:
    """given: numbers by Ray's count of this machine's cards.

    Ray sets the variable of the vendor that it has found, AMD's only with a ROCm library that hfc does not need; the other one is as for
    the door, and of a runtime that reads both it may be the one that counts. What the door sees of the cards, Ray has counted."""
    if not given:
        return
    for name in VARIABLES:
        seen = [word.strip() for word in environment.get(name, "").split(",") if word.strip()]
        if seen == list(given):
            continue
        is_counted = all(number.isdigit() and int(number) < len(seen) for number in given)
        environment[name] = ",".join(seen[int(number)] if is_counted else number for number in given)
