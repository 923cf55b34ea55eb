"""KNOBS: the one table of environment variables. A wrong value stops the program."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError, unknown
from hfc.base.path_text import home_folder, typed_path


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError("less than 1")
    return number


def _debug_level(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 4:
        raise ValueError("no such level")
    return number


@dataclass(frozen=True)
class Knob:
    """An environment variable. default: used when it is unset or empty; expects: what a right value is, for errors."""

    name: str
    default: Any
    parse: Callable[[str], Any]
    expects: str
    effect: str


KNOBS: dict[str, Knob] = {
    knob.name: knob
    for knob in (
        Knob(
            "HFC_API_KEY",
            None,
            lambda text: "(set)",
            "keys, with spaces between",
            "keys that clients of hfc serve may use, beside those of --api-key-file",
        ),
        Knob(
            "HFC_CACHE",
            None,
            typed_path,
            "a folder",
            "keeps compiled kernels there; unset: $XDG_CACHE_HOME/hfc or ~/.cache/hfc",
        ),
        Knob(
            "HFC_CHOICES",
            None,
            str,
            "the path of a file, or off",
            "reads what hfc tune measured from this table instead of ~/.config/hfc/choices.csv; off: from none",
        ),
        Knob(
            "HFC_CLANG",
            None,
            typed_path,
            "the path of a clang >= 17 with the AMDGPU back end",
            "compiles GPU kernels with this clang (and the ld.lld beside it) instead of the ziglang package",
        ),
        Knob(
            "HFC_CONFIG",
            None,
            str,
            "the path of a file, or off",
            "reads settings from this file instead of ~/.config/hfc/hfc.toml; off: from none, ./hfc.toml neither",
        ),
        Knob(
            "HFC_DEBUG",
            0,
            _debug_level,
            "a number from 0 to 4",
            "tells on standard error what a compilation does: 1 its parts with their seconds, 2 each kernel, 3 the graph after each "
            "pass, 4 sources and assembly",
        ),
        Knob("HFC_DEVICE", None, str, "a --device", "the device where no --device is given"),
        Knob("HFC_JOBS", max(1, os.cpu_count() or 1), _positive, "a number >= 1", "how many kernels compile at once"),
        Knob(
            "HFC_ROCBLAS",
            None,
            Path,
            "the path of a librocblas.so, or off",
            "uses this rocBLAS for large prefill products on archs that ask for it, or none; unset: the installed one",
        ),
        Knob("HFC_THREADS", None, _positive, "a number >= 1", "threads of the host device where no --threads is given"),
        Knob(
            "HFC_MODEL_FILE",
            None,
            typed_path,
            "the path of a .hfm file",
            "describes every model with this file, whatever its config calls it; --model-file sets it for one command",
        ),
        Knob(
            "HFC_MODELS",
            None,
            typed_path,
            "a folder of .hfm files",
            "looks for the file of a model's type there before hfc's own",
        ),
    )
}


def knob(name: str) -> Any:
    """The value of an environment variable of the table, parsed. HfcError if it does not parse."""
    if name not in KNOBS:
        raise unknown("knob", name, KNOBS)
    row = KNOBS[name]
    text = os.environ.get(name, "")
    if not text:
        return row.default
    try:
        return row.parse(text)
    except ValueError:
        raise HfcError(
            f"{name}={text!r} is not a valid value; it must be {row.expects}", hint=f"{name}: {row.effect}"
        ) from None


def own_table() -> Path | None:
    """Where the user's own table of choices (`hfc tune`) is, or would be; None: there is to be none."""
    chosen = knob("HFC_CHOICES")
    if chosen == "off" or (chosen is None and knob("HFC_CONFIG") == "off"):
        return None
    if chosen is not None:
        return typed_path(chosen)
    settings = os.environ.get("XDG_CONFIG_HOME")
    return (Path(settings) if settings else home_folder() / ".config") / "hfc" / "choices.csv"
