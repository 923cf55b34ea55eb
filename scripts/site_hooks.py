"""The pages of docs/ as a site: mkdocs calls these while it builds (mkdocs.yml)."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

sys.path.insert(0, str(Path(__file__).parent))

from cli_reference import page as command_page

LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """The reference of commands is no file: it is made anew with every build."""
    files.append(File.generated(config, "cli.md", content=command_page()))
    return files


def on_page_markdown(text: str, page: Any, config: Any, files: Any) -> str:
    """Links to files of the repository that are no pages become their names: the site has nowhere to send them to."""
    return inside(text, page.file.src_uri)


def inside(text: str, page: str) -> str:
    folder = os.path.dirname(page)

    def linked(match: re.Match[str]) -> str:
        label, target = match[1], match[2]
        if re.match(r"[a-z]+:", target):
            return match[0]
        path = os.path.normpath(os.path.join(folder, target))
        is_page = not path.startswith("..") and not path.startswith("matrix-results")
        if is_page and not os.path.isdir(os.path.join("docs", path)):
            return match[0]
        if os.path.isfile(os.path.join("docs", path, "README.md")):
            return f"[{label}]({target.rstrip('/')}/README.md)"
        return label

    return LINK.sub(linked, text)
