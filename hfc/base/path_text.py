"""What users type for a path: `~`, and the separators of either system."""

from __future__ import annotations

import os
from pathlib import Path

from hfc.base.diagnostics import HfcError


def typed_path(text: str | Path) -> Path:
    """`~` and `~name` are home folders; of a user that is not there they stay as they are, and so lead to no file."""
    return Path(os.path.expanduser(text))


def home_folder() -> Path:
    home = os.path.expanduser("~")
    if home.startswith("~"):
        raise HfcError(
            "there is no home folder: HOME is not set, and this user has no entry in /etc/passwd",
            hint="set HOME, or HFC_CACHE to a folder for what hfc keeps",
        )
    return Path(home)


def has_separator(text: str) -> bool:
    """Windows takes both, and who sends a command from there to another system writes them too."""
    return "/" in text or "\\" in text
