"""A syntax error in IR text, as words: the place, what stands there, and what was expected by name."""

from __future__ import annotations

import re

from lark import Lark, Token, UnexpectedCharacters, UnexpectedInput

from hfc.base.diagnostics import HfcError, Span, unknown

WORDS = {"NAME": "a name", "VALUE": "a value (%name)", "INT": "a size", "NUMBER": "a number", "STRING": 'a "string"'}
STATEMENTS = ("graph", "kernel", "return", "update")
END = "$END"


def syntax_error(error: UnexpectedInput, parser: Lark, text: str, file: str) -> HfcError:
    """What `parser` found to be wrong with `text`."""
    expected = _expected(error, parser)
    found, span = _found(error, text, file)
    if found is None:
        return HfcError(f"the text ends too early; expected {expected}", span, "is a closing '}' or a return missing?")
    misspelt = unknown("statement", found, STATEMENTS, span) if found.isalpha() and found not in STATEMENTS else None
    hint = misspelt.hint if misspelt and misspelt.hint and misspelt.hint.startswith("did you mean") else None
    return HfcError(f"unexpected {found!r}; expected {expected}", span, hint)


def _found(error: UnexpectedInput, text: str, file: str) -> tuple[str | None, Span]:
    """The word at the place, None at the end of the text."""
    lines = text.splitlines() or [""]
    token = getattr(error, "token", None)
    at = error.pos_in_stream if isinstance(error, UnexpectedCharacters) else getattr(token, "start_pos", None)
    if at is None or (isinstance(token, Token) and token.type == END):
        last = max((n for n, line in enumerate(lines, 1) if line.strip()), default=1)
        return None, Span(file, last, len(lines[last - 1].rstrip()) + 1, 1, lines[last - 1])
    word = re.match(r"%?[\w.]+|->|\S", text[at:])
    found = word[0] if word else text[at : at + 1]
    return found, Span(file, error.line, error.column, len(found), lines[error.line - 1])


def _expected(error: UnexpectedInput, parser: Lark) -> str:
    terminals = getattr(error, "accepts", None) or getattr(error, "expected", None) or getattr(error, "allowed", None)
    names = {name for name in terminals or () if name in {t.name for t in parser.terminals}} - set(parser.ignore_tokens)
    words = sorted({WORDS.get(name) or f"'{parser.get_terminal(name).pattern.value}'" for name in names})
    if not words:
        return "the end of the text"
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))
