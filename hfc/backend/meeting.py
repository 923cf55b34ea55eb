"""What kernels call in which the ranks of a model meet, on cards that see each other's writes while kernels run."""

from __future__ import annotations

from hfc.backend.render import render
from hfc.ir.ops.exchange import MOST_RANKS
from hfc.plan import MeetingWords

LOOKS = 1 << 24  # for another rank: about ten seconds


def meeting_source() -> str:
    return render("meeting.h.j2", most_ranks=MOST_RANKS, looks=LOOKS, words=MeetingWords)
