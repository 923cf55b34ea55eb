"""Weights as operands of a matrix unit: which elements of 16 outputs each lane reads, so that nothing moves between lanes.

A product takes 16 elements of K, its lines shared by `share` neighbouring parts of the wave (device/matrix.h). The order of K
is free if weights and inputs have the same: a lane takes elements that lie together in memory, and inputs are laid out to suit.
All elements of one product belong to one group of the format, so that its scale can be applied to the sum.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property

from hfc.backend.lanes.loaders import LINE, PAIR, QUAD, LaneLoader, LaneMap, map_loader
from hfc.backend.lanes.scales import BATCH
from hfc.formats.block import BlockFormat

DEPTH = 16  # elements of K in one product
TURNS = (64, 32)  # elements of an output that a lane takes in one turn
PLAIN = ("f16", "bf16")  # formats whose values are operands as they are, of bf16 those in the range of f16

# (lanes that share a line, neighbouring elements that a lane takes) -> maps, those that read the widest words first.
MAPS: dict[tuple[int, int], tuple[LaneMap, ...]] = {
    (4, 8): (
        LaneMap("octet", "c / 4 * 256 + c % 4 * 8", (0, 32, 64, 96, 128, 160, 192, 224), 256),
        QUAD,
        LaneMap("oct", "c * 8", (0,), 32),
    ),
    (4, 4): (
        LaneMap("cross", "c / 8 * 128 + c % 8 / 4 * 32 + c % 4 * 4", (0, 16, 64, 80), 128, 4),
        LaneMap("step", "c / 4 * 32 + c % 4 * 4", (0, 16), 32, 4),
    ),
    (2, 8): (
        LaneMap("half_cross", "c / 4 * 128 + c % 4 / 2 * 32 + c % 2 * 8", (0, 16, 64, 80), 128),
        LaneMap("half_quad", "c / 2 * 64 + c % 2 * 8", (0, 16, 32, 48), 64),
        LaneMap("half_step", "c / 2 * 32 + c % 2 * 8", (0, 16), 32),
    ),
    (1, 8): (
        LaneMap("whole_cross", "c / 4 * 128 + c % 4 * 16", (0, 8, 64, 72), 128),
        PAIR,
        LINE,
    ),
}


@dataclass(frozen=True)
class Product:
    """One product of a lane's call. group: of its scale.  at: where its 16 elements of K begin, from the call's first; in 16.
    words: of the call's codes (four a word), or of its plain values (two a word)."""

    group: int
    at: int
    words: tuple[int, ...]


@dataclass(frozen=True)
class Batch:
    """What is cut at once. groups: scales, by number.  products: those with these.  words: of codes, from `first_word` on."""

    number: int
    groups: tuple[int, ...]
    products: tuple[Product, ...]
    first_word: int
    words: int


@dataclass(frozen=True)
class OperandLanes:
    """How lanes read one format. loader: None for a plain one.  calls: of a block.  pieces: calls that make a turn of `turn` elements."""

    form: BlockFormat
    map: LaneMap
    share: int
    loader: LaneLoader | None
    turn: int

    @property
    def calls(self) -> int:
        return self.loader.calls if self.loader else 1

    @property
    def pieces(self) -> int:
        return self.turn // self.map.elements

    @property
    def piece_elements(self) -> int:
        """Of K that all lanes take in one call."""
        return self.map.elements * self.share

    @property
    def words(self) -> int:
        """That a call reads."""
        return self.loader.words if self.loader else self.map.elements // 2

    @property
    def run_words(self) -> int:
        """Of a plain format's run."""
        return self.map.run // 2

    @property
    def group_count(self) -> int:
        return self.loader.group_count if self.loader else 1

    @property
    def has_low(self) -> bool:
        return bool(self.loader and self.loader.has_low)

    @cached_property
    def products(self) -> tuple[Product, ...]:
        each = DEPTH // self.share  # elements of a lane in one product
        count = each // (4 if self.loader else 2)
        made = []
        for first in range(0, self.map.elements, each):
            run, inside = divmod(first, self.map.run)
            at = self.map.offsets[run] // DEPTH + inside // each
            group = self.loader.groups[run] if self.loader else 0
            made.append(Product(group, at, tuple(range(first // each * count, (first // each + 1) * count))))
        return tuple(made)

    @cached_property
    def batches(self) -> tuple[Batch, ...]:
        made = []
        for number in range(-(-self.group_count // BATCH)):
            groups = tuple(range(number * BATCH, min(self.group_count, (number + 1) * BATCH)))
            some = tuple(product for product in self.products if product.group in groups)
            words = sorted(word for product in some for word in product.words)
            made.append(Batch(number, groups, some, words[0], len(words)))
        return tuple(made)

    def chunks(self, group: int, size: int) -> tuple[int, ...]:
        """Where the elements of K that a call multiplies by one scale lie, from its first: in whole chunks of `size`; () if not so."""
        begins = [DEPTH * product.at for product in self.products if product.group == group]
        found = tuple(sorted({begin // size * size for begin in begins}))
        return found if len(found) * size == len(begins) * DEPTH else ()


def operand_lanes(forms: Iterable[BlockFormat], share: int) -> dict[str, OperandLanes] | None:
    """Format name -> its lanes, all for turns and inputs in one layout; those that read the fewest words. None where there are none."""
    forms = tuple(dict.fromkeys(forms))
    choices = [[_lanes(form, share, run, turn) for form in forms] for run in (8, 4) for turn in TURNS]
    whole = [choice for choice in choices if all(choice)]
    best = min(whole, key=lambda choice: sum(lanes.words / lanes.map.elements for lanes in choice), default=None)
    return best and {lanes.form.name: lanes for lanes in best}


@cache
def _lanes(form: BlockFormat, share: int, run: int, turn: int) -> OperandLanes | None:
    """A long turn is one call: its words must have room in registers."""
    maps = [
        lanes
        for lanes in MAPS.get((share, run), ())
        if lanes.elements == turn or turn == TURNS[-1] and lanes.elements < turn
    ]
    if not form.quantized:
        return (
            OperandLanes(form, maps[-1], share, None, turn)
            if form.name in PLAIN and maps and turn == TURNS[-1]
            else None
        )
    made = [OperandLanes(form, lanes, share, loader, turn) for lanes in maps if (loader := map_loader(form, lanes))]
    made = [lanes for lanes in made if _one_group_each(lanes)]
    return min(made, key=lambda lanes: lanes.words / lanes.map.elements, default=None)


def _one_group_each(lanes: OperandLanes) -> bool:
    """Whether the elements of every product, those of all lanes that share it, have one scale."""
    return lanes.form.group % max(lanes.map.run * lanes.share, DEPTH) == 0
