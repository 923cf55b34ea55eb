"""A bundle whose code must not or cannot run here -> the same, compiled again from the model that it names."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from hfc.base.diagnostics import HfcError
from hfc.base.file_start import holds_tensors
from hfc.cli.choice import ModelChoice
from hfc.plan import Bundle
from hfc.runtime.executor import plans_for, split_device, split_devices
from hfc.runtime.host_code import why_not
from hfc.runtime.source import Source

WORD = re.compile(r"[\w.@/+\[\]: -]*")  # of options that a bundle carries: what `hfc compile` checks further


class RemakeOptions(msgspec.Struct):
    """What `hfc compile` was told, as the bundle has it."""

    ctx: int
    slots: int
    max_rows: int
    kv: str | None
    profile: str
    format: str
    draft: str
    taps: list[str]
    stages: str | None = None
    experts: str = "device"
    tensor_parallel: int = 1


def runs_here(bundle: Bundle, choice: ModelChoice) -> str | None:
    """Why the bundle's code will not be run on the chosen device; None if it will."""
    if split_device(split_devices(choice.device)[0])[0] == "null":
        return None
    return next(filter(None, (why_not(bundle, plan) for plan in plans_for(bundle, choice.device))), None)


def remade_choice(path: Path, bundle: Bundle, choice: ModelChoice, reason: str) -> tuple[Source, ModelChoice]:
    """What to compile instead. HfcError where that cannot be done: then only the user's word makes the code run."""
    weights = Path(choice.weights or bundle.model["weights"])
    options = _options(bundle.model)
    if options is None or not weights.exists() or choice.random_weights:
        missing = (
            "the bundle's model description is not one of hfc's own"
            if options is None
            else f"the weights {weights} are not here to compile it again"
            if not weights.exists()
            else "without weights it cannot be compiled again"
        )
        raise HfcError(
            f"{path}: {reason}; {missing}",
            hint="compile the model here; or give --trust, if you trust who made the bundle as you would a program",
        )
    print(f"{path.name}: {reason}: {weights} is compiled again with its options", file=sys.stderr)
    has_own_formats = holds_tensors(weights) or (weights.is_file() and weights.suffix != ".json")
    made = replace(
        choice, context=options.ctx, slots=options.slots, kv=options.kv, profile=options.profile, draft=options.draft,
        format=None if has_own_formats else options.format,
        taps=tuple(options.taps), max_rows=options.max_rows, weights=None, stages=options.stages,
        experts=options.experts, tensor_parallel=options.tensor_parallel,
    )  # fmt: skip
    return Source("checkpoint", weights.absolute()), made


def _options(model: Mapping[str, Any]) -> RemakeOptions | None:
    try:
        options = msgspec.convert(model.get("options"), RemakeOptions | None)
    except msgspec.ValidationError as error:
        raise HfcError(f"the bundle's options: {error}", hint="the bundle is damaged; compile it again") from error
    words = (
        [
            options.kv or "",
            options.profile,
            options.format,
            options.draft,
            *options.taps,
            (options.stages or "").replace(",", " "),
            options.experts,
        ]
        if options
        else []
    )
    if any(not WORD.fullmatch(word) or word.startswith("-") for word in words):
        raise HfcError("the bundle's options are no options of hfc compile", hint="compile it again")
    return options
