"""`hfc lsp`: the language server of .hfm files."""

from __future__ import annotations

from hfc.editor.server import serve


def command() -> None:
    serve()
