"""What the passes may ask about the plan to be: the target and the choices made for it, all resolved."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.formats import kv_format
from hfc.target.arch import Arch

DEFAULT_KV = "f16"  # on every arch: matrix units and rows of words read it as it is
ON_DEVICE, ON_HOST = "device", "host"  # of --experts
RANK_COUNTS = (2, 4, 8)  # of --tensor-parallel
EDGE_FORMAT = "q8"  # of the layers that --kv K/V@FIRST+LAST leaves out


@dataclass(frozen=True)
class StageCut:
    """One stage of a pipeline: stage `number` of those that run layers `ranges` (first, last) one after the other."""

    number: int
    ranges: tuple[tuple[int, int], ...]

    @property
    def is_last(self) -> bool:
        """Whether the logits come from it, and what they are chosen by."""
        return self.number == len(self.ranges) - 1

    @property
    def taps(self) -> tuple[str, ...]:
        """What every stage but the last hands on, as the model file taps it."""
        return tuple(f"hidden[{last}]" for _, last in self.ranges[:-1])


@dataclass(frozen=True)
class ExpertsCut:
    """Experts that the host computes while the card does the rest: of the first `layers` mixtures, None for all.

    is_host: the plan is the host's, for them alone; else the card's, for all but them."""

    layers: int | None
    is_host: bool


@dataclass(frozen=True)
class RankCut:
    """One of `count` equal devices that compute every layer together: tensor parallelism."""

    number: int
    count: int


@dataclass(frozen=True)
class Settings:
    """context: tokens a slot holds.  slots: lanes of the batch.  max_rows: rows (and segments) of the largest step.

    journal_rows: rows of a slot that recurrent states keep uncommitted for speculation, 0 for none.
    is_draft: the graph guesses for another one, and every row of its steps is wanted.
    kv_edges: first and last attention layers whose cache is in EDGE_FORMAT instead.
    max_outputs: most rows of one step whose logits are wanted.  taps: values besides the logits that the plan gives out.
    profile: one of target.profiles.PROFILES.  cpu: "native", or a row of target.cpus.CPUS; of the host's code.
    stage: the part of the model that the plan runs, None for all of it.  experts: which of them the host computes, None for none.
    rank: the part of every layer that the plan computes, None for all of it.
    """

    arch: Arch
    context: int
    slots: int
    max_rows: int
    max_outputs: int
    k_format: str
    v_format: str
    taps: tuple[str, ...] = ()
    journal_rows: int = 0
    is_draft: bool = False
    kv_edges: tuple[int, int] = (0, 0)
    profile: str = "exact"
    cpu: str = "native"
    stage: StageCut | None = None
    experts: ExpertsCut | None = None
    rank: RankCut | None = None

    @property
    def gives_logits(self) -> bool:
        if self.experts is not None and self.experts.is_host:
            return False
        return self.stage is None or self.stage.is_last

    @property
    def graph_taps(self) -> tuple[str, ...]:
        """What the model's graph must give out beside the logits before the passes: taps, then the places of the cuts."""
        return (*self.taps, *self.stage.taps) if self.stage else self.taps


def parse_experts(text: str) -> int | None:
    """ "device", "host", "host:20" or "20" -> how many mixtures of experts, from the first on, the host computes; None: all."""
    found = re.fullmatch(r"(?:host:)?(\d+)", text.strip())
    if text not in (ON_DEVICE, ON_HOST) and not found:
        raise HfcError(
            f"--experts {text}: device, host, or how many layers' experts the host computes is expected",
            hint="--experts host for all of them, --experts 20 for those of the first 20 layers that have some",
        )
    return int(found[1]) if found else 0 if text == ON_DEVICE else None


def refuse_staged(text: str) -> None:
    """HfcError for an --experts that a pipeline cannot have."""
    if parse_experts(text) != 0:
        raise HfcError(
            f"--experts {text} with --stages: a pipeline keeps its experts with their layers", hint="choose one of them"
        )


def with_experts(cards: Sequence[Settings], host: Settings, text: str) -> list[Settings]:
    """The settings of the plans where the host computes experts: those of the cards, and after them its own. `text`: of --experts.

    Plans for the CPU stay as they are: it computes everything."""
    layers = parse_experts(text)
    if layers == 0 or not any(card.arch.platform.is_gpu for card in cards):
        return list(cards)
    beside = [replace(card, experts=ExpertsCut(layers, False)) if card.arch.platform.is_gpu else card for card in cards]
    most = max(card.max_outputs for card in cards)
    return [*beside, replace(host, max_outputs=most, taps=(), journal_rows=0, experts=ExpertsCut(layers, True))]


def with_ranks(found: Sequence[Settings], count: int, beside: Sequence[str]) -> list[Settings]:
    """The settings of the plans of so many equal devices. beside: options that were given and do not go together with that."""
    if beside:
        raise HfcError(
            f"--tensor-parallel {count} with {beside[0]}: they do not go together", hint="choose one of them"
        )
    if count not in RANK_COUNTS:
        raise HfcError(f"--tensor-parallel {count}: {', '.join(map(str, RANK_COUNTS))} devices can share a model")
    if len(found) != 1:
        names = ", ".join(settings.arch.name for settings in found)
        raise HfcError(
            f"--tensor-parallel {count} for {names}: the devices of one model are of one architecture",
            hint="name one with --arch, or take a pipeline over unequal devices: --stages",
        )
    return [replace(found[0], rank=RankCut(number, count)) for number in range(count)]


def parse_kv(kv: str | None) -> tuple[str, str, tuple[int, int]]:
    """ "K", "K/V" or either with "@FIRST+LAST" -> formats of keys and values, and Settings.kv_edges."""
    formats, at, edges = (kv or DEFAULT_KV).partition("@")
    found = re.fullmatch(r"(\d+)\+(\d+)", edges)
    if at and not found:
        raise HfcError(
            f"--kv {kv}: {edges!r} does not count layers",
            hint=f"--kv {formats}@1+2: the first and the last two in {EDGE_FORMAT}",
        )
    k_format, _, v_format = formats.partition("/")
    v_format = v_format or kv_format(k_format).default_v or k_format
    if kv_format(v_format).default_v:  # its rotation is undone by rotating queries, which values never meet
        raise HfcError(f"--kv {kv}: values cannot lie in {v_format}, which is for keys", hint=f"--kv {k_format}/q8")
    return kv_format(k_format).name, kv_format(v_format).name, (int(found[1]), int(found[2])) if found else (0, 0)
