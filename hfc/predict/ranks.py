"""What ranks add to a step of one of them: they meet before each value that they exchange, and read it of each other."""

from __future__ import annotations

from hfc.base.dataclass import dataclass
from hfc.plan import Plan
from hfc.predict.program import Estimate
from hfc.program import Program
from hfc.target.arch import Arch
from hfc.target.links import MEETING_S, Link, link_of


@dataclass(frozen=True)
class RankTime:
    """Of one step of a rank. bytes: that it reads of the others."""

    ranks: int
    meetings: int
    bytes: int
    link: Link

    @property
    def seconds(self) -> float:
        return self.meetings * MEETING_S + self.bytes / self.link.gb_s / 1e9


def rank_time(plan: Plan, arch: Arch, program: Program, tokens: int, gb_s: float | None) -> RankTime:
    """gb_s: of the link, where it was told."""
    assert plan.rank, "the plan is a whole model's"
    link = link_of(arch) if gb_s is None else Link("link", gb_s, "--link-gb-s")
    launches = [launch for launch in plan.programs[program] if launch.exchange]
    moved = 0
    for launch in launches:
        buffer = plan.buffer(launch.pointers[0].name)
        moved += buffer.row_bytes * (tokens if buffer.rows == "T" else 1) * (len(launch.pointers) - 1)
    return RankTime(plan.rank.count, len(launches), moved, link)


def rank_text(time: RankTime, card: Estimate) -> str:
    """Behind the figures of one rank."""
    both = card.tokens / (card.seconds + time.seconds)
    return (
        f"of {time.ranks} ranks one; they meet {time.meetings} times, {MEETING_S * 1e6:.0f} us each as on two H200s, and read "
        f"{time.bytes / 1e6:.2f} MB at {time.link.gb_s:.1f} GB/s at most ({time.link.name}; {time.link.source}): "
        f"{time.seconds * 1e3:.2f} ms; with the rank's own {both:.1f} tok/s "
        "(no pair of AMD cards was measured)"
    )
