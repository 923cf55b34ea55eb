"""How tokens are chosen: options that a user gave, over what the model recommends, over hfc's own defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hfc.base.diagnostics import HfcError
from hfc.runtime.chat import RESERVED
from hfc.runtime.registry import REGISTRY
from hfc.runtime.sampler import Sampling
from hfc.runtime.source import is_path
from hfc.runtime.vocabulary import Vocabulary

GIVEN = ("temperature", "top_k", "top_p", "min_p", "repeat_penalty", "seed")  # options of `hfc run` and `hfc chat`


def chosen_sampling(base: Sampling, **given: float | int | None) -> Sampling:
    """`base` with the values that are not None."""
    return replace(base, **{name: value for name, value in given.items() if value is not None})


def recommended_sampling(model: str, vocabulary: Vocabulary | None) -> Sampling:
    """The registry's recommendation for MODEL, else its checkpoint's own, else hfc's defaults."""
    return replace(Sampling(), **(_of_registry(model) or (vocabulary.sampling if vocabulary else {})))


def _of_registry(model: str) -> Mapping[str, float]:
    if is_path(model):
        return {}
    named = REGISTRY.get(model)
    found = named or next((e for e in REGISTRY.values() if e.reference and str(e.reference) == model), None)
    return found.sampling if found else {}


def template_variables(given: list[str] | None, think: bool | None) -> dict[str, Any]:
    """["name=value"] and the switch for thinking -> what the template sees. HfcError for its own names."""
    found: dict[str, Any] = {} if think is None else {"enable_thinking": think}
    for word in given or ():
        name, equals, value = word.partition("=")
        if not equals or not name.isidentifier() or name in RESERVED:
            raise HfcError(f"--var {word}: NAME=VALUE is expected, NAME being a variable of the chat template")
        found[name] = {"true": True, "false": False, "none": None}.get(value.lower(), value)
    return found
