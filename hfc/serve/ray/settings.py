"""What a deployment is told."""

from __future__ import annotations

import re
import socket

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError

CONNECT_S = 5.0


@dataclass(frozen=True)
class RaySettings:
    """least, most: replicas.  load: requests in flight for each that the autoscaler aims at; None: the slots of a replica.  up_s, down_s: how long
    there must be more, or fewer, before their number changes.  address: of a Ray cluster; None: one of our own, on this machine.  cpus, gpus: that a replica needs.  cards: of this machine."""

    least: int
    most: int
    load: float | None
    up_s: float
    down_s: float
    address: str | None
    cpus: float = 1.0
    gpus: int = 0
    cards: int = 0

    @property
    def grows(self) -> bool:
        return self.least < self.most


def replicas_of(text: str) -> tuple[int, int]:
    """`3` or `1:4`. HfcError."""
    found = re.fullmatch(r"(\d{1,4})(?::(\d{1,4}))?", text.strip())
    least, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not found or not 1 <= least <= most:
        hint = "N, or MIN:MAX with MIN at most MAX: --replicas 3, --replicas 1:4"
        raise HfcError(
            f"--replicas {text}: expected a number of replicas from 1 on, or two with a colon between", hint=hint
        )
    return least, most


def check_address(text: str) -> None:
    """HfcError where nobody listens: Ray itself would try for minutes."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise HfcError(
            f"--ray-address {text}: expected the address of a cluster's head",
            hint="HOST:6379, as `ray start --head` says it",
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise HfcError(
            f"--ray-address {text}: nobody answers there: {error}", hint="`ray start --head` says where it listens"
        ) from error
