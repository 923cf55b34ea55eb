"""`hfc fmt`: model files in their usual layout."""

from __future__ import annotations

from pathlib import Path

from hfc.base.diagnostics import HfcError
from hfc.base.whole_file import write_whole
from hfc.editor.layout import formatted


def command(files: list[str], check: bool) -> None:
    changed = []
    for name in files:
        path = Path(name)
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise HfcError(f"{path}: this is no text: {error.reason} at byte {error.start}") from None
        new = formatted(text, name)
        if new != text:
            changed.append(name)
            if not check:
                write_whole(path, new.encode(), "the model file")
    for name in changed:
        print(f"{name} would change" if check else f"{name} changed")
    if not changed:
        print("nothing would change" if check else "nothing changed")
    if check and changed:
        raise SystemExit(1)
