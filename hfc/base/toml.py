"""TOML files to plain data; Python 3.10 has no reader of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hfc.base.diagnostics import HfcError

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib


def read_toml(path: Path) -> dict[str, Any]:
    """HfcError names file and line."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise HfcError(f"{path}: not TOML: {error}", hint="`hfc config` shows how a setting is written") from None
