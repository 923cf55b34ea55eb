"""Values of files as the types that they should have; another type is one message: where, what was found, what was expected."""

from __future__ import annotations

from typing import Any

import msgspec

from hfc.base.diagnostics import HfcError

MOST_ID = (1 << 31) - 1  # of tokens; ids are i32 everywhere


def typed(value: Any, kind: Any, where: str) -> Any:
    """`value` as `kind` (a type, a union, or a msgspec.Struct of the keys that matter). HfcError at `where`."""
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise HfcError(f"{where}: {error}", hint="the file is damaged, or of another kind") from None


def token_id(value: Any, where: str) -> int | None:
    """A token id, or None where there is none."""
    found = typed(value, int | None, where)
    if found is not None and not 0 <= found <= MOST_ID:
        raise HfcError(f"{where}: {found} is no token id; 0 to {MOST_ID} is expected")
    return found
