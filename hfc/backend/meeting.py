"""The kernel in which the ranks of a model meet, on cards that see each other's writes while kernels run."""

from __future__ import annotations

from hfc.backend.compile import KernelJob
from hfc.backend.exchange import MEET
from hfc.backend.hip import standalone_source
from hfc.backend.render import render
from hfc.ir.ops.exchange import MOST_RANKS
from hfc.plan import MeetingWords
from hfc.target.arch import Arch

THREADS = 32  # one for each rank
LOOKS = 1 << 24  # for another rank: about ten seconds


def meeting_job(arch: Arch) -> KernelJob:
    """Its only argument are this rank's MeetingWords."""

    def text(preface: str) -> str:
        return render(
            "exchange.hip.j2",
            preface=preface,
            symbol=MEET,
            block=THREADS,
            most_ranks=MOST_RANKS,
            looks=LOOKS,
            words=MeetingWords,
        )

    return KernelJob(MEET, standalone_source(arch, text), arch)
