"""What `hfc serve` is told of a deployment with Ray Serve: options that the command takes as one mapping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hfc.cli.usage.declare import PROJECT, USER, Option, flag, option


def _told(flags: str, kind: Callable[[str], Any], help: str, default: Any = None, **more: Any) -> Option:
    return option(flags, kind, help, default, into="ray", **more)


RAY = (
    flag("--ray", "Deploy replicas with Ray Serve behind this address: pip install 'hfc[ray]'.", into="ray", name="deploys"),
    _told("--replicas", str, "How many: N, or MIN:MAX, by requests in flight.", "1", metavar="N|MIN:MAX", settable=PROJECT),
    _told("--ray-address", str, "The Ray cluster to join, HOST:PORT. [default: one of our own, on this machine]",
          name="address", metavar="HOST:PORT", settable=USER),
    _told("--replica-load", float, "Requests in flight for each replica that their number follows. [default: its slots]",
          name="load", least=0.1, settable=PROJECT),
    _told("--scale-up", float, "Seconds for which there must be more requests before a replica is added.", 10.0,
          name="up_s", least=0, settable=PROJECT),
    _told("--scale-down", float, "Seconds for which there must be fewer before one ends.", 300.0,
          name="down_s", least=0, settable=PROJECT),
)  # fmt: skip
