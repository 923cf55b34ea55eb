"""map: row-local vectors, each wave (or block, if groups are wide) one group of one task."""

from hfc.backend.shape import Geometry
from hfc.backend.skeleton import Skeleton, Variant
from hfc.backend.skeletons.map.bind import bind
from hfc.backend.skeletons.map.region import MapRegion, Task
from hfc.backend.spec import Bound
from hfc.backend.template import Allowance, KernelLimits, Params, template
from hfc.base.dataclass import dataclass
from hfc.formats import KV_FORMATS
from hfc.target.arch import Arch

WAVES = 4  # of a block
WIDE = 1024  # elements of a group that would take a wave too long
WIDE_THREADS = 512  # that make such a group: two norms of 2,560 elements 6.3 -> 2.8 us on gfx1100
LANES = 256  # of a SIMD
ELEMENTS = 8  # that a thread makes, one after the other; of few rows one of what it reads of another card, which answers a microsecond later


@dataclass(frozen=True)
class MapParams(Params):
    """waves: of a block.  wide: a block makes a group, else a wave.  By task: spans, elements that one unit of threads makes; starts,
    the first unit; units, how many.  simd_waves: that the compiler leaves registers for; 0: as many as it likes."""

    waves: int
    wide: bool
    spans: tuple[int, ...]
    starts: tuple[int, ...]
    units: tuple[int, ...]
    simd_waves: int


LEVEL_KEYS = frozenset(name for name, form in KV_FORMATS.items() if form.default_v)  # values cannot lie in them
MAP = template(
    __file__,
    "map",
    KernelLimits(
        LANES,
        "little work a lane: only many lanes hide the latency",
        allowances=(
            Allowance(
                "lanes",
                192,
                "a key is held whole while its levels are tried at four sizes: 80 registers on gfx906, 131 on gfx1010; one key a row "
                "and head is little work beside its projection",
                LEVEL_KEYS,
            ),
        ),
    ),
    MapParams,
)


def few_rows(bound: Bound[MapRegion], arch: Arch) -> tuple[Geometry, ...]:
    return _launches(bound, arch, 1 if bound.region.reads_peers else ELEMENTS, bound.name)


def many_rows(bound: Bound[MapRegion], arch: Arch) -> tuple[Geometry, ...]:
    """Blocks that wait for other ranks are fewer and do more."""
    return _launches(bound, arch, ELEMENTS, f"{bound.name}_many") if bound.region.meeting else few_rows(bound, arch)


def _launches(bound: Bound[MapRegion], arch: Arch, most: int, symbol: str) -> tuple[Geometry, ...]:
    """most: elements of a thread."""
    tasks = bound.region.tasks
    # A group that is rotated lies in LDS, where a block's waves meet.
    wide = any((task.stats and task.size > WIDE) or task.mixed for task in tasks)
    many = wide and not any(task.mixed for task in tasks)
    waves = WIDE_THREADS // arch.wave if many else WAVES
    spans = tuple(_span(task, most, waves * arch.wave if wide else arch.wave) for task in tasks)
    units = tuple(task.groups * -(-task.size // span) for task, span in zip(tasks, spans))
    starts = tuple(sum(units[:i]) for i in range(len(units)))
    blocks = sum(units) if wide else -(-sum(units) // waves)
    # Eight elements at a time of a sum over experts took 68 registers on gfx906, where 64 are allowed.
    params = MapParams(waves, wide, spans, starts, units, LANES // arch.wave if many and arch.scarce_registers else 0)
    declared = 4 * sum(task.mixed_size for task in tasks)
    return (Geometry(MAP, symbol, (str(blocks), bound.rows, "1"), waves * arch.wave, params, declared=declared),)


def _span(task: Task, most: int, threads: int) -> int:
    """Elements of a group that one unit of threads makes, `most` a thread: all when they share a reduction."""
    return task.size if task.stats or task.mixed else min(task.size, most * threads)


TOLERANCE = 1e-3  # keys and values that round the other way
SKELETON = Skeleton(
    "map",
    ("kv_append",),
    MapRegion,
    bind,
    {
        "decode": (Variant("only", "the one way for few rows", few_rows),),
        "prefill": (Variant("only", "the one way for many rows", many_rows),),
    },
    (MAP,),
    tolerance=TOLERANCE,
    host="skeletons/map/host.c.j2",
)
