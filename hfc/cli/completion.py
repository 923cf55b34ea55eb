"""`hfc completion`: a script for a shell, which asks this command what a word could become."""

from __future__ import annotations

import importlib

from hfc.base.diagnostics import unknown
from hfc.cli.commands import COMMANDS, module_of
from hfc.cli.usage.declare import Option

SCRIPTS = {
    "bash": """_hfc() {
  local IFS=$'\\n'
  COMPREPLY=($(hfc completion words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _hfc hfc
""",
    "zsh": """_hfc() {
  local -a found
  found=(${(f)"$(hfc completion words -- "${(@)words[2,$CURRENT]}" 2>/dev/null)"})
  (( $#found )) && compadd -a found || _files
}
compdef _hfc hfc
""",
    "fish": """complete -c hfc -a '(hfc completion words -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
""",
}
VALUES = {  # option -> what it often is
    "device": ("auto", "hip", "cuda", "host", "interpret", "null"),
    "kv": ("f16", "f32", "q8", "q4", "fwht4", "asym4"),
    "draft": ("auto", "ngram", "mtp", "off"),
}


def command(shell: str, words: list[str] | None) -> None:
    if shell == "words":
        print("".join(f"{word}\n" for word in candidates(words or [""])), end="")
    elif shell in SCRIPTS:
        print(SCRIPTS[shell], end="")
    else:
        raise unknown("shell", shell, SCRIPTS)


def candidates(words: list[str]) -> list[str]:
    """What the last word could become; nothing where it is a file or free text."""
    *before, partial = words
    if not before:
        return [name for name in (*COMMANDS, "help", "--help", "--version") if name.startswith(partial)]
    if before == ["help"]:
        return [name for name in COMMANDS if name.startswith(partial)]
    if before[0] not in COMMANDS:
        return []
    options: list[Option] = importlib.import_module(f"hfc.cli.usage.{module_of(before[0])}").USAGE.options
    pending = next((o for o in options if before[-1] in o.flags and not o.is_flag), None)
    if pending:
        return [value for value in VALUES.get(pending.key, ()) if value.startswith(partial)]
    if partial.startswith("-"):
        return [
            flag for o in options for flag in (*o.flags, "--help") if flag.startswith(partial) and flag.startswith("--")
        ]
    return []
