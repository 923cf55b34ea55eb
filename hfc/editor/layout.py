"""A model file's text -> the same with its usual layout. Tokens, comments and the columns of tables stay as they are."""

from __future__ import annotations

import re

from hfc.frontend.parse import parse

INDENT = 2
INDENTATION = re.compile(r"^[ \t]+")
TABLE = re.compile(r"(config|weights)\b")


def formatted(text: str, file: str) -> str:
    """Statements are indented by their braces, blank lines never follow one another, no line ends in white space.

    Lines of config blocks and weight tables, whose columns people align, keep their own indentation. HfcError for a text that
    does not parse: it has no layout yet."""
    parse(text, file)
    lines, depth, kept_until = [], 0, None
    for line in text.splitlines():
        bare = line.strip()
        code = _without_comment(bare)
        closing = len(code) - len(code.lstrip("})]"))
        opened = sum(map(code.count, "{([")) - sum(map(code.count, "})]"))
        starts_table = depth <= 1 and TABLE.match(code) is not None
        if kept_until is not None and depth + opened < kept_until:
            kept_until = None
        elif starts_table:
            kept_until = depth + 1 if opened > 0 else None
        is_row = depth == 1 and not starts_table and _is_row(code)
        if bare and (kept_until is None or starts_table) and not is_row:
            lines.append(" " * INDENT * max(0, depth - closing) + bare)
        else:
            lines.append(INDENTATION.sub(lambda tabs: tabs[0].expandtabs(2 * INDENT), line).rstrip())
        depth += opened
    result = re.sub(r"\n{3,}", "\n\n", "\n".join(lines).strip("\n")) + "\n"
    assert "".join(result.split()) == "".join(text.split()), f"{file}: more than white space would change"
    return result


def _is_row(code: str) -> bool:
    """Of a weight table: these stand between functions without braces of their own."""
    return bool(code) and not re.match(r"(layer|graph|observe|config|weights|model|ignore)\b|\}", code)


def _without_comment(code: str) -> str:
    """Strings emptied, the comment cut off: what is left has only the language's own braces."""
    return re.sub(r'"[^"]*"', '""', code).partition("#")[0].rstrip()
