"""Thread blocks of attention."""

from __future__ import annotations

from hfc.backend.geometry.shape import Geometry, make
from hfc.backend.spec import Bound
from hfc.target.arch import Arch


def attend(bound: Bound, arch: Arch, rows_class: str) -> tuple[Geometry, ...]:
    extra = bound.extra
    vector = -(-extra["size"] // arch.wave)
    group = extra["heads"] // extra["kv_heads"]
    if rows_class == "decode":  # few rows: many waves share a context; the heads of a group meet in the L2 cache
        waves, together, ahead = 512 // arch.wave, 1, 4
    else:
        # Each head keeps query and sum in registers: 2 * vector a lane. 96 registers leave room for the loop.
        most = 64 if arch.kind == "nvidia" else 48 if arch.vgprs == 256 else 96  # of 256, so that two waves fit a SIMD
        waves, ahead = 256 // arch.wave, 2
        together = max(h for h in range(1, group + 1) if group % h == 0 and (h == 1 or 2 * vector * h <= most))
    numbers = {"waves": waves, "vector": vector, "together": together, "group": group, "ahead": ahead}
    suffix = "" if rows_class == "decode" else "_rows"
    return (make(bound, "attend", (str(extra["heads"] // together), bound.rows, "1"), waves * arch.wave, numbers, suffix),)
