"""What the host adds to a step of a card that leaves experts to it: its time is its memory's, which nobody knows from afar."""

from __future__ import annotations

from hfc.base.dataclass import dataclass
from hfc.plan import Plan, at_most_once, weight_sizes
from hfc.predict.program import Estimate

HANDOVER_S = (
    20e-6  # of a part: copies there and back, and the wait between; what an H200 and its CPU take beyond their reading
)


@dataclass(frozen=True)
class HostedTime:
    """bytes: of weights that the host reads in the step.  gb_s: its memory's speed, None where it was not told."""

    parts: int
    bytes: int
    gb_s: float | None

    @property
    def seconds(self) -> float | None:
        return self.parts * HANDOVER_S + self.bytes / self.gb_s / 1e9 if self.gb_s else None


def hosted_time(plan: Plan, tokens: int, gb_s: float | None) -> HostedTime:
    """plan: the host's for experts."""
    weights, buffers = weight_sizes(plan), {b.pointer: b.row_bytes for b in plan.buffers}
    launches = [launch for program in plan.programs.values() for launch in program]
    moved = sum(at_most_once(launch, tokens, weights, buffers) for launch in launches)
    return HostedTime(len(plan.parts), moved, gb_s)


def hosted_text(time: HostedTime, card: Estimate) -> str:
    """Behind the card's own figures."""
    read = f"experts of {time.parts} layers on the host: {time.bytes / 1e6:.0f} MB are read there in the step"
    if time.seconds is None:
        return f"{read}; the figure above is the card's part alone, --host-gb-s gives both"
    both = card.tokens / (card.seconds + time.seconds)
    return f"{read}, {time.seconds * 1e3:.2f} ms at {time.gb_s:.0f} GB/s; with the card's part {both:.1f} tok/s"
