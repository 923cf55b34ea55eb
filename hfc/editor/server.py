"""A language server for .hfm files over standard input and output: diagnostics, hover, completion, formatting."""

from __future__ import annotations

import re
from typing import Any

from hfc import __version__
from hfc.base.diagnostics import HfcError
from hfc.editor.layout import formatted
from hfc.editor.names import KEYWORDS, Known, faults, known_names, operations
from hfc.frontend.parse import parse

try:
    from lsprotocol import types
    from pygls.lsp.server import LanguageServer
except ImportError:  # the extra `editor`
    types = LanguageServer = None

WORD = re.compile(r"[A-Za-z_]\w*")


def serve() -> None:
    """Until the editor closes the connection."""
    make_server().start_io()


def make_server() -> Any:
    if LanguageServer is None:
        raise HfcError("hfc lsp needs the package pygls", hint="pip install 'hfc[editor]'")
    server, last = LanguageServer("hfc", __version__), {}

    def publish(uri: str) -> None:
        document = server.workspace.get_text_document(uri)
        found = [_diagnostic(error) for error in faults(document.source, document.filename)]
        server.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri=uri, diagnostics=found))

    def names(uri: str) -> dict[str, Known]:
        """Of the last text that parsed: while somebody types, most do not."""
        document = server.workspace.get_text_document(uri)
        try:
            last[uri] = known_names(parse(document.source, document.filename), document.source)
        except HfcError:
            pass
        return last.get(uri) or operations() | {name: Known(name, "keyword", said) for name, said in KEYWORDS.items()}

    def known_at(uri: str, position: types.Position) -> Known | None:
        """What the word at a position stands for."""
        line = server.workspace.get_text_document(uri).lines[position.line]
        at = position.character
        word = next((m[0] for m in WORD.finditer(line) if m.start() <= at <= m.end()), "")
        return names(uri).get(word)

    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    def opened(given: types.DidOpenTextDocumentParams) -> None:
        publish(given.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    def changed(given: types.DidChangeTextDocumentParams) -> None:
        publish(given.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_HOVER)
    def hover(given: types.HoverParams) -> types.Hover | None:
        known = known_at(given.text_document.uri, given.position)
        return known and types.Hover(types.MarkupContent(types.MarkupKind.PlainText, known.text))

    @server.feature(types.TEXT_DOCUMENT_DEFINITION)
    def definition(given: types.DefinitionParams) -> types.Location | None:
        known = known_at(given.text_document.uri, given.position)
        return types.Location(given.text_document.uri, _range(known.span)) if known and known.span else None

    @server.feature(types.TEXT_DOCUMENT_COMPLETION)
    def completion(given: types.CompletionParams) -> list[types.CompletionItem]:
        kinds = {
            "weight": types.CompletionItemKind.Field, "setting": types.CompletionItemKind.Constant, "op": types.CompletionItemKind.Function,
            "function": types.CompletionItemKind.Method, "keyword": types.CompletionItemKind.Keyword,
        }  # fmt: skip
        found = names(given.text_document.uri).values()
        return [types.CompletionItem(k.name, kind=kinds[k.kind], detail=k.text.splitlines()[0]) for k in found]

    @server.feature(types.TEXT_DOCUMENT_FORMATTING)
    def formatting(given: types.DocumentFormattingParams) -> list[types.TextEdit]:
        document = server.workspace.get_text_document(given.text_document.uri)
        try:
            text = formatted(document.source, document.filename)
        except HfcError:
            return []  # the diagnostic says why
        whole = types.Range(types.Position(0, 0), types.Position(len(document.lines), 0))
        return [] if text == document.source else [types.TextEdit(whole, text)]

    return server


def _diagnostic(error: HfcError) -> Any:
    message = error.message + (f"\n{error.hint}" if error.hint else "")
    return types.Diagnostic(_range(error.span), message, severity=types.DiagnosticSeverity.Error, source="hfc")


def _range(span: Any) -> Any:
    line, start = (span.line - 1, span.column - 1) if span else (0, 0)
    return types.Range(types.Position(line, start), types.Position(line, start + (span.length if span else 1)))
