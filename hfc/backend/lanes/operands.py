"""Weights as operands of a matrix unit: which elements of 16 outputs each lane reads, so that nothing moves between lanes.

A product takes 16 elements of K, its weight rows shared by `k_lanes` neighbouring parts of the wave (device/matrix.h). The order of K
is free if weights and inputs have the same: a lane takes elements that lie together in memory, and inputs are laid out to suit.
All elements of one product belong to one group of the format, so that its scale can be applied to the sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache, cached_property

from hfc.backend.lanes.loaders import CONTIGUOUS, PAIR, QUAD, LaneLoader, LaneMap, map_loader, present
from hfc.backend.lanes.own_scales import own_groups, own_scales_source, own_symbol
from hfc.backend.lanes.scales import BATCH
from hfc.base.dataclass import dataclass
from hfc.formats.block import BlockFormat

DEPTH = 16  # elements of K in one product
RUNS = (32, 8, 4)
ITER_ELEMENTS = (64, 32)  # elements of a weight row that a lane takes in one iteration of the K loop
PLAIN = ("f16", "bf16")  # formats whose values are operands as they are, of bf16 those in the range of f16

# (lanes that share a weight row, neighbouring elements that a lane takes) -> maps, those that read the widest words first.
MAPS: dict[tuple[int, int], tuple[LaneMap, ...]] = {
    (4, 32): (LaneMap("wide", "c * 32", (0,), 128, 32),),
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
        CONTIGUOUS,
    ),
}


@dataclass(frozen=True)
class OperandProduct:
    """One product of a lane's call. group: of its scale.  at: where its 16 elements of K begin, from the call's first; in 16.
    words: of the call's codes (four a word), or of its plain values (two a word)."""

    group: int
    at: int
    words: tuple[int, ...]


@dataclass(frozen=True)
class Batch:
    """Codes that are dequantized together. groups: their scales, by number.  products: the MMAs that use these.  words: of codes, from `first_word` on."""

    number: int
    groups: tuple[int, ...]
    products: tuple[OperandProduct, ...]
    first_word: int
    words: int


@dataclass(frozen=True)
class OperandLanes:
    """How lanes read one format. loader: None for a plain one.  calls: of the loader for a block.  iter_elements: elements of a weight row that a lane takes
    in one iteration of the K loop, in `pieces` calls."""

    form: BlockFormat
    map: LaneMap
    k_lanes: int
    loader: LaneLoader | None
    iter_elements: int

    @property
    def symbol(self) -> str:
        """Of the C++ type that describes the lanes to device/skinny.h."""
        return f"hfc_{self.form.name}_{self.map.name}_operands"

    @property
    def calls(self) -> int:
        return self.loader.calls if self.loader else 1

    @property
    def pieces(self) -> int:
        return self.iter_elements // self.map.elements

    @property
    def piece_elements(self) -> int:
        """Of K that all lanes take in one call."""
        return self.map.elements * self.k_lanes

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
    def products(self) -> tuple[OperandProduct, ...]:
        each = DEPTH // self.k_lanes  # elements of a lane in one product
        count = each // (4 if self.loader else 2)
        made = []
        for first in range(0, self.map.elements, each):
            run, inside = divmod(first, self.map.run)
            at = self.map.offsets[run] // DEPTH + inside // each
            group = self.loader.groups[run] if self.loader else 0
            made.append(OperandProduct(group, at, tuple(range(first // each * count, (first // each + 1) * count))))
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


def operand_lanes(forms: Iterable[BlockFormat], k_lanes: int, repeat: bool = False) -> dict[str, OperandLanes] | None:
    """Format name -> its lanes, all with equal iterations and one layout of inputs; those that read the fewest words. None where there are none.

    repeat: a long iteration may be several calls of the loader."""
    forms = tuple(dict.fromkeys(forms))
    return _fewest_words(
        [
            [_lanes(form, k_lanes, run, iter_elements, repeat) for form in forms]
            for run in RUNS
            for iter_elements in ITER_ELEMENTS
        ]
    )


def _fewest_words(choices: Iterable[Sequence[OperandLanes | None]]) -> dict[str, OperandLanes] | None:
    """The choice that reads the fewest words, of those that serve every format."""
    whole = [
        found for choice in choices for found in [[lanes for lanes in choice if lanes]] if len(found) == len(choice)
    ]
    best = min(whole, key=lambda choice: sum(lanes.words / lanes.map.elements for lanes in choice), default=None)
    return {lanes.form.name: lanes for lanes in best} if best else None


def prompt_lanes(forms: Iterable[BlockFormat]) -> dict[str, OperandLanes] | None:
    """As operand_lanes, for products of values, which have their scales: groups need not be whole, and lanes go along K in order."""
    forms = tuple(dict.fromkeys(forms))
    return _fewest_words([[_prompt_lanes(form, run) for form in forms] for run in RUNS if run > 4])


@cache
def _prompt_lanes(form: BlockFormat, run: int) -> OperandLanes | None:
    k_lanes = 4
    if not form.quantized:
        return _plain(form, MAPS[k_lanes, run], k_lanes)
    made = [
        OperandLanes(form, lanes, k_lanes, loader, max(lanes.elements, ITER_ELEMENTS[-1]))
        for lanes in MAPS[k_lanes, run]
        if (loader := map_loader(form, lanes))
    ]
    made = [lanes for lanes in made if [product.at for product in lanes.products] == list(range(len(lanes.products)))]
    return min(made, key=lambda lanes: lanes.words / lanes.map.elements, default=None)


@cache
def _lanes(form: BlockFormat, k_lanes: int, run: int, iter_elements: int, repeat: bool) -> OperandLanes | None:
    """A long iteration is one call of the loader, or several of the longest runs: its words must have room in registers."""
    maps = [
        lanes
        for lanes in MAPS.get((k_lanes, run), ())
        if lanes.elements == iter_elements
        or iter_elements == ITER_ELEMENTS[-1]
        and lanes.elements < iter_elements
        or repeat
        and lanes.run == RUNS[0]
        and iter_elements % lanes.elements == 0
    ]
    if not form.quantized:
        return _plain(form, maps, k_lanes) if iter_elements == ITER_ELEMENTS[-1] else None
    made = [
        OperandLanes(form, lanes, k_lanes, loader, iter_elements)
        for lanes in maps
        if (loader := map_loader(form, lanes))
    ]
    made = [lanes for lanes in made if _one_group_each(lanes)]
    return min(made, key=lambda lanes: lanes.words / lanes.map.elements, default=None)


def _plain(form: BlockFormat, maps: Sequence[LaneMap], k_lanes: int) -> OperandLanes | None:
    """Runs of 16 bytes: lanes that share a weight row read neighbouring ones, so that their loads are coalesced."""
    short = [lanes for lanes in maps if lanes.run <= 8]
    return OperandLanes(form, short[-1], k_lanes, None, ITER_ELEMENTS[-1]) if form.name in PLAIN and short else None


def _one_group_each(lanes: OperandLanes) -> bool:
    """Whether the elements of every product, those of all lanes that share it, have one scale."""
    return lanes.form.group % max(lanes.map.run * lanes.k_lanes, DEPTH) == 0


def multiplies_bytes(lanes: OperandLanes) -> bool:
    """Whether its codes are operands of integer MMAs: bytes, those of two successive MMAs next to each other along K."""
    pairs = [(one.at, two.at) for one, two in zip(lanes.products[::2], lanes.products[1::2])]
    return (
        lanes.loader is not None
        and len(lanes.products) == 2 * len(pairs)
        and all(len(product.words) == 1 for product in lanes.products)
        and all(one % 2 == 0 and two == one + 1 for one, two in pairs)
        and all(len(batch.products) % 2 == 0 for batch in lanes.batches)
        and (lanes.has_low or -128 <= lanes.loader.zero <= 128 - (1 << lanes.loader.bits))
    )


def groups_each(lanes: OperandLanes) -> int:
    """Scale groups that one of four lanes scales at a time where a row's are shared out among them (device/int8_row.h); 0: they are not."""
    if lanes.loader is None or lanes.group_count % 4:
        return 0
    return 2 if lanes.group_count % 8 == 0 else 1


def operand_sources(lanes: Mapping[str, OperandLanes], k: int, sum_group: int, own: bool) -> str:
    """C++ of how lanes read these formats. own: with scales of a lane's own groups, as products of bytes of one row take them."""
    sources = dict.fromkeys(lane.loader.source for lane in lanes.values() if lane.loader)
    each = {name: groups_each(lane) if own else 0 for name, lane in lanes.items()}
    sources |= {own_scales_source(present(lanes[name].loader), count): None for name, count in each.items() if count}
    types = (operand_source(lane, k, sum_group, each[name]) for name, lane in lanes.items())
    return "\n".join([*sources, *types])


def operand_source(lanes: OperandLanes, k: int, sum_group: int, each: int = 0) -> str:
    """The C++ type `lanes.symbol`. k: elements of a weight row.  sum_group: inputs whose sums the minimums multiply, else 0.
    each: groups that a lane scales at a time, where it needs their scales alone."""
    loader, batches = lanes.loader, lanes.batches
    words = "/".join(str(len(product.words)) for product in lanes.products).split("/")
    assert len(set(words)) == 1 and all(len(b.products) * int(words[0]) == b.words for b in batches), lanes.symbol
    chunks = [
        lanes.chunks(group, sum_group) if lanes.has_low and sum_group else () for group in range(lanes.group_count)
    ]
    constants = {
        "ROW_BYTES": lanes.form.row_bytes(k),
        "WORDS": lanes.words,
        "PIECES": lanes.pieces,
        "PIECE_ELEMENTS": lanes.piece_elements,
        "SPAN": lanes.map.span,
        "CALLS_OF_SPAN": lanes.map.span // lanes.map.elements,
        "GROUPS": lanes.group_count,
        "PRODUCTS": len(lanes.products),
        "PRODUCT_WORDS": int(words[0]),
        "BATCH_WORDS": max(b.words for b in batches),
        "BATCH_GROUPS": max(len(b.groups) for b in batches),
        "BATCHES": len(batches),
        "CHUNKS": max(map(len, chunks)),
        "CODED": int(loader is not None),
        "HAS_LOW": int(lanes.has_low),
        "BITS": loader.bits if loader else 8,
        "ZERO": loader.zero if loader else 0,
        "UNALIGNED": int(loader is not None and lanes.form.block_bytes % 4 > 0),
    }
    tables = {
        "group_of": [product.group for product in lanes.products],
        "place_of": [product.at for product in lanes.products],
        "chunk_of": [place for found in chunks for place in found] or [0],
    }
    return "\n".join([
        f"struct {lanes.symbol} {{",
        f"  enum {{ {', '.join(f'{name} = {value}' for name, value in constants.items())} }};",
        *(f"  {_lookup(name, values)}" for name, values in tables.items()),
        f"  HFC_FUNCTION int base(uint32_t c) {{ return (int)({lanes.map.base}); }}",
        "  HFC_FUNCTION void read(const uint8_t* weight_row, uint32_t call, uint32_t (&raw)[WORDS]) {",
        *_read_lines(lanes),
        "  }",
        "  template <int BATCH>",
        "  HFC_FUNCTION void cut(const uint32_t (&raw)[WORDS], uint32_t call, uint32_t (&codes)[BATCH_WORDS], "
        "float (&scale)[BATCH_GROUPS], float (&low)[BATCH_GROUPS]) {",
        *_cut_lines(lanes),
        "  }",
        *(_own_lines(lanes, each) if each else ()),
        "};",
        "",
    ])  # fmt: skip


def _own_lines(lanes: OperandLanes, each: int) -> list[str]:
    """Scales and minimums of the groups of lane `k_lane` of the four that share a weight row; SET: of `each` groups a lane."""
    loader = present(lanes.loader)
    low, groups = ", low" if lanes.has_low else "", own_groups(loader, each)
    return [
        f"  enum {{ OWN_STEP = {groups[0].step} }};",
        "  template <int SET> HFC_FUNCTION int own_begin(int part) {",
        *(f"    if constexpr (SET == {number}) return {own.c};" for number, own in enumerate(groups)),
        "  }",
        "  template <int SET>",
        "  HFC_FUNCTION void own(const uint32_t (&raw)[WORDS], uint32_t call, int k_lane, "
        f"float (&scale)[{each}], float (&low)[{each}]) {{",
        *(
            f"    if constexpr (SET == {number}) {own_symbol(loader, number)}(raw, call % {lanes.calls}, k_lane, scale{low});"
            for number in range(len(groups))
        ),
        "  }",
    ]


def _lookup(name: str, values: list[int]) -> str:
    """A table as a chain of choices: its index is a constant wherever loops are unrolled, so no memory is read."""
    chain = "".join(f"i == {i} ? {value} : " for i, value in enumerate(values[:-1]))
    return f"HFC_FUNCTION constexpr int {name}(int i) {{ return {chain}{values[-1]}; }}"


def _read_lines(lanes: OperandLanes) -> list[str]:
    if lanes.loader:
        block = f"weight_row + call / {lanes.calls} * {lanes.form.block_bytes}"
        return [f"    {lanes.loader.symbol}_read({block}, call % {lanes.calls}, raw);"]
    return [
        f"    hfc_words<{lanes.run_words}, {lanes.map.run * 2}>(weight_row + (base(call) + {offset}) * 2, raw + {i * lanes.run_words});"
        for i, offset in enumerate(lanes.map.offsets)
    ]


def _cut_lines(lanes: OperandLanes) -> list[str]:
    if not lanes.loader:
        return [f"    for (int i = 0; i < {lanes.words}; i++) codes[i] = hfc_pair_of_{lanes.form.name}(raw[i]);"]
    low = ", low" if lanes.has_low else ""
    return [
        f"    if constexpr (BATCH == {batch.number}) "
        f"{lanes.loader.symbol}_cut{batch.number or ''}(raw, call % {lanes.calls}, codes, scale{low});"
        for batch in lanes.batches
    ]
