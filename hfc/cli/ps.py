"""`hfc ps`: the servers of this machine."""

from __future__ import annotations

import time

from hfc.cli.table import table
from hfc.serve.record import running


def command() -> None:
    """List the servers that run."""
    now = time.time()
    rows = [
        (str(r.port), r.model, r.host, str(r.pid), f"{(now - r.started_s) / 60:.0f} min", r.log or "-")
        for r in running()
    ]
    print(table(("port", "model", "host", "process", "up", "log"), rows) if rows else "no server runs")
