"""RoPE parameters -> the table of cosines and sines, as transformers' ROPE_INIT_FUNCTIONS define them.

Frequencies and angles are rounded to f32 where transformers rounds them, since position * frequency loses bits there
too; cos and sin themselves are taken in f64 and rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hfc.base.diagnostics import HfcError, unknown
from hfc.formats.dtype import SCALARS

REQUIRED = object()

# kind -> its parameters and their defaults; names are those of config.json's rope_parameters
PARAMETERS: dict[str, dict[str, Any]] = {
    "default": {},
    "linear": {"factor": REQUIRED},
    "llama3": {
        "factor": REQUIRED,
        "low_freq_factor": REQUIRED,
        "high_freq_factor": REQUIRED,
        "original_max_position_embeddings": REQUIRED,
    },
    "yarn": {
        "factor": REQUIRED,
        "original_max_position_embeddings": REQUIRED,
        "attention_factor": None,
        "beta_fast": 32,
        "beta_slow": 1,
        "mscale": None,
        "mscale_all_dim": None,
        "truncate": True,
    },
    "proportional": {"partial_rotary_factor": 1.0, "factor": 1.0},
    "dynamic": {"factor": REQUIRED, "original_max_position_embeddings": REQUIRED},
    "longrope": {
        "short_factor": None,  # one of the two, or `divisors`, where they are tensors
        "long_factor": None,
        "original_max_position_embeddings": REQUIRED,
        "factor": None,
        "attention_factor": None,
    },
}

LISTS = ("short_factor", "long_factor")  # parameters that are a number for each frequency


def rope_table(
    context: int,
    rotary: int,
    theta: float,
    kind: str = "default",
    divisors: np.ndarray | tuple[float, ...] | float | None = None,
    **scaling: Any,
) -> np.ndarray:
    """f32 [context, rotary]: cos of pair j in column j, its sin in column rotary / 2 + j.

    divisors: one number, or f32 [rotary / 2], by which frequencies are divided (GGUF's rope_freqs.weight).
    scaling: the parameters of `kind`; None takes the default, parameters of other kinds are errors.
    """
    if rotary <= 0 or rotary % 2 or theta <= 0:
        raise HfcError(f"rope_table: rotary={rotary}, theta={theta}: rotary must be even and both positive")
    given = _parameters(_known_kind(kind), scaling)
    given |= {"context": context, "divisors": divisors}
    frequencies, attention_factor = FREQUENCIES[kind](rotary, theta, given)
    if divisors is not None:
        divisors = np.asarray(divisors, np.float32)
        if divisors.shape not in ((), (rotary // 2,)):
            raise HfcError(f"rope_table: frequency divisors {list(divisors.shape)}, [{rotary // 2}] are expected")
        frequencies = frequencies / divisors
    angles = np.arange(context, dtype=np.float32)[:, None] * frequencies.astype(np.float32)  # [C, rotary / 2]
    table = np.empty((context, rotary), np.float32)
    table[:, : rotary // 2] = np.cos(angles.astype(np.float64))
    table[:, rotary // 2 :] = np.sin(angles.astype(np.float64))
    return table if attention_factor == 1 else table * np.float32(attention_factor)


def position_scale(context: int, beta: float, period: float, offset: float) -> np.ndarray:
    """f32 [context, 1]: 1 + beta ln(1 + floor((position + offset) / period)), by which Llama 4 and Ministral 3 scale queries."""
    steps = np.floor((np.arange(context, dtype=np.float64) + offset) / period)
    return (1 + beta * np.log1p(steps)).astype(np.float32)[:, None]


def alibi_slopes(heads: int, most: float, bf16: bool = False) -> np.ndarray:
    """f32 [heads], what a key loses for each position between it and the query: 2 ** (-most * h / n) for h from 1 to n, the largest power
    of two up to `heads`; of heads behind those h is 1/2, 3/2, ...  (Press et al. 2022; the same as transformers' for MPT)  bf16: rounded."""
    whole = 1 << heads.bit_length() - 1
    places = np.array([*range(1, whole + 1), *(h + 0.5 for h in range(heads - whole))])
    slopes = (2.0 ** (-most * places / whole)).astype(np.float32)
    return SCALARS["bf16"].unpack(SCALARS["bf16"].pack(slopes)) if bf16 else slopes


def _known_kind(kind: str) -> str:
    if kind not in PARAMETERS:
        raise unknown("RoPE scaling", kind, PARAMETERS)
    return kind


def _is_right(name: str, value: Any) -> bool:
    if name not in LISTS:
        return isinstance(value, (int, float))
    return isinstance(value, (list, tuple)) and all(isinstance(v, (int, float)) for v in value)


def _parameters(kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of `kind`: those given, else the defaults."""
    found = dict(PARAMETERS[kind])
    for name, value in given.items():
        if name not in found:
            raise unknown(f"parameter of {kind} RoPE", name, found)
        if value is not None and not _is_right(name, value):
            wanted = "numbers are" if name in LISTS else "a number is"
            raise HfcError(f"{kind} RoPE: {name} is {str(value)[:40]!r}; {wanted} expected")
        if value is not None:
            found[name] = value
    missing = [name for name, value in found.items() if value is REQUIRED]
    if missing:
        raise HfcError(f"{kind} RoPE needs {', '.join(missing)}", hint="see rope_parameters in the model's config.json")
    return found


def _plain(rotary: int, theta: float) -> np.ndarray:
    """1 / theta^(2j / rotary), f32 [rotary / 2]"""
    exponents = np.arange(0, rotary, 2, dtype=np.float32) / np.float32(rotary)
    return np.float32(1) / _power(theta, exponents)


def _power(theta: float, exponents: np.ndarray) -> np.ndarray:
    return np.power(np.float64(theta), exponents.astype(np.float64)).astype(np.float32)


def _default(rotary: int, theta: float, given: dict[str, Any]) -> tuple[np.ndarray, float]:
    return _plain(rotary, theta), 1.0


def _linear(rotary: int, theta: float, given: dict[str, Any]) -> tuple[np.ndarray, float]:
    """All positions are closer by `factor`."""
    return _plain(rotary, theta) / np.float32(given["factor"]), 1.0


def _llama3(rotary: int, theta: float, given: dict[str, Any]) -> tuple[np.ndarray, float]:
    """Long wavelengths are divided by `factor`, short ones kept, those between blended."""
    factor, low, high = (given[name] for name in ("factor", "low_freq_factor", "high_freq_factor"))
    old_context = given["original_max_position_embeddings"]
    plain = _plain(rotary, theta)
    # number / tensor is reciprocal * number in torch; the subtraction below would show the difference
    wavelength = 1 / plain * np.float32(2 * math.pi)
    smooth = (1 / wavelength * np.float32(old_context) - np.float32(low)) / np.float32(high - low)
    blended = (1 - smooth) * plain / np.float32(factor) + smooth * plain
    scaled = np.where(wavelength > old_context / low, plain / np.float32(factor), blended)
    return np.where(wavelength < old_context / high, plain, scaled), 1.0


def _yarn(rotary: int, theta: float, given: dict[str, Any]) -> tuple[np.ndarray, float]:
    """Per pair: interpolated where it turns less than beta_slow times in the old context, kept above beta_fast."""
    factor, old_context = given["factor"], given["original_max_position_embeddings"]

    def pair_that_turns(times: float) -> float:
        return rotary * math.log(old_context / (times * 2 * math.pi)) / (2 * math.log(theta))

    low, high = pair_that_turns(given["beta_fast"]), pair_that_turns(given["beta_slow"])
    if given["truncate"]:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, rotary - 1)
    width = high - low if high != low else 0.001
    ramp = np.clip((np.arange(rotary // 2, dtype=np.float32) - np.float32(low)) / np.float32(width), 0, 1)
    powers = _power(theta, np.arange(0, rotary, 2, dtype=np.float32) / np.float32(rotary))
    kept = 1 - ramp
    interpolated, plain = 1 / (np.float32(factor) * powers), 1 / powers
    return interpolated * (1 - kept) + plain * kept, _yarn_attention_factor(given)


def _yarn_attention_factor(given: dict[str, Any]) -> float:
    def grown(scale: float) -> float:
        return 0.1 * scale * math.log(given["factor"]) + 1.0 if given["factor"] > 1 else 1.0

    if given["attention_factor"] is not None:
        return given["attention_factor"]
    if given["mscale"] and given["mscale_all_dim"]:
        return grown(given["mscale"]) / grown(given["mscale_all_dim"])
    return grown(1)


def _dynamic(rotary: int, theta: float, given: dict[str, Any]) -> tuple[np.ndarray, float]:
    """A larger base for a context beyond the old one: that of the whole context from the start, so that cached keys stay true."""
    grown = given["factor"] * max(1.0, given["context"] / given["original_max_position_embeddings"]) - (
        given["factor"] - 1
    )
    return _plain(rotary, theta * grown ** (rotary / (rotary - 2))), 1.0


def _proportional(rotary: int, theta: float, given: dict[str, Any]) -> tuple[np.ndarray, float]:
    """The slower pairs of a whole head stay as they are: frequencies as for all of it, 0 from `partial_rotary_factor` on."""
    turned = int(given["partial_rotary_factor"] * rotary // 2)
    frequencies = _plain(rotary, theta) / np.float32(given["factor"])
    return np.where(np.arange(rotary // 2) < turned, frequencies, np.float32(0)), 1.0


def _longrope(rotary: int, theta: float, given: dict[str, Any]) -> tuple[np.ndarray, float]:
    """A divisor for each pair: the short ones where the context is no longer than the old one, else the long ones."""
    old_context, is_long = (
        given["original_max_position_embeddings"],
        given["context"] > given["original_max_position_embeddings"],
    )
    name = "long_factor" if is_long else "short_factor"
    if given[name] is None and given["divisors"] is None:
        raise HfcError(f"longrope RoPE needs {name}", hint="see rope_parameters in the model's config.json")
    divisors = np.asarray(given[name] or (1.0,) * (rotary // 2), np.float32)
    if divisors.shape != (rotary // 2,):
        raise HfcError(f"longrope RoPE has {divisors.size} factors, {rotary // 2} are expected")
    exponents = np.arange(0, rotary, 2, dtype=np.float32) / np.float32(rotary)
    factor, attention_factor = given["factor"], given["attention_factor"]
    if attention_factor is None:
        grows = factor is not None and factor > 1
        attention_factor = math.sqrt(1 + math.log(factor) / math.log(old_context)) if grows else 1.0
    return np.float32(1) / (divisors * _power(theta, exponents)), attention_factor


FREQUENCIES: dict[str, Callable[[int, float, dict[str, Any]], tuple[np.ndarray, float]]] = {
    "default": _default,
    "linear": _linear,
    "llama3": _llama3,
    "yarn": _yarn,
    "proportional": _proportional,
    "dynamic": _dynamic,
    "longrope": _longrope,
}
