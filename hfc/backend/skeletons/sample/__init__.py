"""sample: rows of logits to tokens. The waves of one launch scan slices of a row, a thread block of the next chooses."""

from hfc.backend.shape import Geometry, Scratch, one_row_per_block
from hfc.backend.skeleton import Skeleton, always
from hfc.backend.skeletons.sample.bind import SampleRegion
from hfc.backend.spec import Bound
from hfc.backend.template import KernelLimits, Params, template
from hfc.base.dataclass import dataclass
from hfc.target.arch import Arch

SLICES = 512  # of a row of logits, and threads of the block that chooses
SCANNING = 256  # threads


@dataclass(frozen=True)
class SampleParams(Params):
    """slices: parts of a row, of which each has its largest logit; slice: logits of one."""

    slices: int
    slice: int


SCAN = template(__file__, "scan", KernelLimits(256, "reads the logits once: many lanes hide the latency"), SampleParams)
SAMPLE = template(
    __file__,
    "sample",
    KernelLimits(256, "scans the vocabulary where no list is short: only many lanes hide the latency"),
    SampleParams,
)


def launches(bound: Bound[SampleRegion], arch: Arch) -> tuple[Geometry, ...]:
    params = SampleParams(SLICES, -(-bound.region.vocab // SLICES))
    grid = (str(SLICES * arch.wave // SCANNING), bound.rows, "1")
    scan = Geometry(
        SCAN, bound.name + "_scan", grid, SCANNING, params, scratch=(_largest(written=True),), task="scan the logits of"
    )
    return scan, Geometry(
        SAMPLE, bound.name, one_row_per_block(bound), SLICES, params, scratch=(_largest(written=False),)
    )


def _largest(written: bool) -> Scratch:
    """Of each slice: key of the logit, and its token."""
    return Scratch("largest", "uint64_t", "u8", 8 * SLICES, written=written, outputs=True)


TOLERANCE = 0.0  # tokens: the same or not
SKELETON = Skeleton("sample", (), SampleRegion, None, always(launches), (SCAN, SAMPLE), tolerance=TOLERANCE)
