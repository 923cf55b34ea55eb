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


class Documents:
    """What the editor has open, and answers about it. server: a LanguageServer."""

    def __init__(self, server: Any):
        self._server = server
        self._last: dict[str, dict[str, Known]] = {}

    def publish(self, uri: str) -> None:
        """The diagnostics of a document."""
        document = self._server.workspace.get_text_document(uri)
        found = [_diagnostic(error) for error in faults(document.source, document.filename)]
        self._server.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri=uri, diagnostics=found))

    def names(self, uri: str) -> dict[str, Known]:
        """Of the last text that parsed: while somebody types, most do not."""
        document = self._server.workspace.get_text_document(uri)
        try:
            self._last[uri] = known_names(parse(document.source, document.filename), document.source)
        except HfcError:
            pass
        keywords = {name: Known(name, "keyword", said) for name, said in KEYWORDS.items()}
        return self._last.get(uri) or operations() | keywords

    def known_at(self, uri: str, position: Any) -> Known | None:
        """What the word at a position stands for."""
        line = self._server.workspace.get_text_document(uri).lines[position.line]
        at = position.character
        word = next((m[0] for m in WORD.finditer(line) if m.start() <= at <= m.end()), "")
        return self.names(uri).get(word)

    def completions(self, uri: str) -> list[Any]:
        kinds = {
            "weight": types.CompletionItemKind.Field, "setting": types.CompletionItemKind.Constant, "op": types.CompletionItemKind.Function,
            "function": types.CompletionItemKind.Method, "keyword": types.CompletionItemKind.Keyword,
        }  # fmt: skip
        found = self.names(uri).values()
        return [types.CompletionItem(k.name, kind=kinds[k.kind], detail=k.text.splitlines()[0]) for k in found]

    def formatted(self, uri: str) -> list[Any]:
        """The edits that lay a document out; none where it does not parse: its diagnostic says why."""
        document = self._server.workspace.get_text_document(uri)
        try:
            text = formatted(document.source, document.filename)
        except HfcError:
            return []
        whole = types.Range(types.Position(0, 0), types.Position(len(document.lines), 0))
        return [] if text == document.source else [types.TextEdit(whole, text)]


def make_server() -> Any:
    if LanguageServer is None:
        raise HfcError("hfc lsp needs the package pygls", hint="pip install 'hfc[editor]'")
    server = LanguageServer("hfc", __version__)
    documents = Documents(server)

    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    def opened(given: types.DidOpenTextDocumentParams) -> None:
        documents.publish(given.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    def changed(given: types.DidChangeTextDocumentParams) -> None:
        documents.publish(given.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_HOVER)
    def hover(given: types.HoverParams) -> types.Hover | None:
        known = documents.known_at(given.text_document.uri, given.position)
        return types.Hover(types.MarkupContent(types.MarkupKind.PlainText, known.text)) if known else None

    @server.feature(types.TEXT_DOCUMENT_DEFINITION)
    def definition(given: types.DefinitionParams) -> types.Location | None:
        known = documents.known_at(given.text_document.uri, given.position)
        return types.Location(given.text_document.uri, _range(known.span)) if known and known.span else None

    @server.feature(types.TEXT_DOCUMENT_COMPLETION)
    def completion(given: types.CompletionParams) -> list[types.CompletionItem]:
        return documents.completions(given.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_FORMATTING)
    def formatting(given: types.DocumentFormattingParams) -> list[types.TextEdit]:
        return documents.formatted(given.text_document.uri)

    return server


def _diagnostic(error: HfcError) -> Any:
    message = error.message + (f"\n{error.hint}" if error.hint else "")
    return types.Diagnostic(_range(error.span), message, severity=types.DiagnosticSeverity.Error, source="hfc")


def _range(span: Any) -> Any:
    line, start = (span.line - 1, span.column - 1) if span else (0, 0)
    return types.Range(types.Position(line, start), types.Position(line, start + (span.length if span else 1)))
