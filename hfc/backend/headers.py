"""The headers that kernels share, cut to what one kernel uses: `explain --source` shows no more, and clang reads no more.

A header is a row of definitions that begin in the first column, with comments above them, between preprocessor lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from hfc.backend.meeting import meeting_source
from hfc.backend.render import render
from hfc.backend.step_words import step_words_source
from hfc.base.dataclass import dataclass

STEP_WORDS, MEETING = "step_words", "meeting"  # made from tables, the others are files
HEADERS = (
    "device/types.h", "device/wave.h", "device/math.h", "scalar.h", STEP_WORDS, "step.h", "device/codes.h", "device/matrix.h",
    "device/operands.h", "device/dots.h", "device/tile_rows.h", "device/rotate.h", MEETING,
)  # fmt: skip
WORD = re.compile(r"[A-Za-z_]\w*")
COMMENT = re.compile(r"//.*")
ENUM = re.compile(r"enum \{(.*)\}", re.DOTALL)
EMPTY_BRANCHES = re.compile(r"^[ ]*#if[^\n]*\n(?:[ ]*#el[^\n]*\n|\n)*[ ]*#endif[^\n]*\n", re.MULTILINE)
NAME = re.compile(
    r"([A-Za-z_]\w*)\s*(?:\(|\[|=|;|$)"
)  # the first word that something follows: a function, table, constant or type


@dataclass(frozen=True)
class Definition:
    """text: with the comments above.  names: what it defines; empty: it stays.  words: all that its code mentions."""

    text: str
    names: frozenset[str]
    words: frozenset[str]


def headers_for(source: str) -> str:
    """The definitions of HEADERS that `source` uses, and those that these use, in order."""
    definitions = _definitions()
    kept = [not d.names for d in definitions]
    wanted = set(words_of(source)).union(*(d.words for d in definitions if not d.names))
    for i in reversed(range(len(definitions))):  # C: what is used stands above
        if definitions[i].names & wanted:
            kept[i] = True
            wanted |= definitions[i].words
    return _without_empty_branches("".join(d.text for d, keep in zip(definitions, kept) if keep))


def words_of(source: str) -> Iterable[str]:
    """Every name outside comments."""
    return WORD.findall(COMMENT.sub("", source))


@cache
def _definitions() -> tuple[Definition, ...]:
    return tuple(d for name in HEADERS for d in split_definitions(_header(name)))


def _header(name: str) -> str:
    if name == STEP_WORDS:
        return step_words_source()
    return (meeting_source() if name == MEETING else render(name)).replace("#pragma once\n", "")


def split_definitions(text: str) -> list[Definition]:
    """The definitions and preprocessor lines of a header, in order; together they are the text."""
    found, lines = [], []
    for line in text.splitlines(keepends=True):
        lines.append(line)
        if _is_whole("".join(lines)):
            found.append(_definition("".join(lines)))
            lines = []
    return found + ([_definition("".join(lines))] if lines else [])


def _is_whole(text: str) -> bool:
    """Whether a definition or a preprocessor line ends here; comments and empty lines belong to what follows."""
    code = COMMENT.sub("", text).strip()
    if code.startswith("#"):
        return not code.endswith("\\")
    return code.endswith((";", "}")) and code.count("{") == code.count("}")


def _definition(text: str) -> Definition:
    code = COMMENT.sub("", text).strip()
    return Definition(text, _names(code), frozenset(words_of(text)))


def _names(code: str) -> frozenset[str]:
    if code.startswith("#"):
        macro = re.match(r"#\s*define\s+(\w+)", code)
        return frozenset(macro.groups()) if macro else frozenset()
    if enum := ENUM.search(code):
        return frozenset(re.findall(r"([A-Za-z_]\w*)\s*(?:=[^,]*)?(?:,|$)", enum[1]))
    if code.startswith("typedef"):
        return frozenset(WORD.findall(re.sub(r"__attribute__\(\(.*?\)\)+", "", code.rpartition("}")[2]))[-1:])
    head = re.sub(r"__attribute__\(\(.*?\)\)|^template <[^>]*>", "", code.partition("{")[0])
    found = NAME.search(head)
    return frozenset(found.groups()) if found else frozenset()


def _without_empty_branches(text: str) -> str:
    shorter = EMPTY_BRANCHES.sub("", text)
    return shorter if shorter == text else _without_empty_branches(shorter)
