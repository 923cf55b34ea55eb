"""`samplers` of llama-server: which of them choose a token, and in which order."""

from __future__ import annotations

from typing import Any

from hfc.serve.tolerance import refusal

# llama-server's order by its letters and names. hfc's own stand in it in this order, too, and what it does not have is off.
NAMES = {
    "e": "penalties", "d": "dry", "s": "top_n_sigma", "k": "top_k", "y": "typ_p", "p": "top_p", "m": "min_p", "x": "xtc", "t": "temperature",
}  # fmt: skip
ORDER = tuple(NAMES.values())
OTHER_NAMES = {
    "top-k": "top_k",
    "top-p": "top_p",
    "min-p": "min_p",
    "typical_p": "typ_p",
    "typical": "typ_p",
    "temp": "temperature",
}
# what a sampling is without each of them
WITHOUT: dict[str, dict[str, Any]] = {
    "penalties": {"repeat_penalty": 1.0, "frequency_penalty": 0.0, "presence_penalty": 0.0},
    "top_k": {"top_k": 0},
    "top_p": {"top_p": 1.0},
    "min_p": {"min_p": 0.0},
    "temperature": {"temperature": 1.0},
}


def check_order(samplers: Any) -> Any:
    """For pydantic: a list of names or a text of letters, whose order must be hfc's."""
    names = named(samplers)
    if unknown := [name for name in names if name not in ORDER]:
        raise refusal(f"there is no sampler {unknown[0][:40]!r}; there are {', '.join(ORDER)}", None, "invalid_value")
    places = [ORDER.index(name) for name in names]
    if places != sorted(set(places)):
        raise refusal(
            f"hfc's samplers stand in one order, {', '.join(WITHOUT)}: leave some out, but do not move them",
            None,
            "unsupported_parameter",
        )
    return samplers


def named(samplers: list[str] | str) -> list[str]:
    if isinstance(samplers, str):
        return [NAMES.get(letter, letter) for letter in samplers]
    return [OTHER_NAMES.get(name, name) for name in samplers]


def left_out(samplers: list[str] | str) -> dict[str, Any]:
    """Fields of a sampling in which only these choose."""
    names = named(samplers)
    return {field: value for name, fields in WITHOUT.items() if name not in names for field, value in fields.items()}
