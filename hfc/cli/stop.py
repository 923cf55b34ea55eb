"""`hfc stop`: end a server."""

from __future__ import annotations

from hfc.base.diagnostics import HfcError
from hfc.serve.record import find, stop


def command(
    server: str | None,
    timeout_s: float,
) -> None:
    """Let a server finish what it runs, and end it."""
    record = find(server)
    if not stop(record, timeout_s):
        raise HfcError(
            f"process {record.pid} still runs after {timeout_s:g} s", hint="it drains; call again to end it at once"
        )
    print(f"stopped {record.model} on {record.url}")
