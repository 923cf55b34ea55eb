"""sample: rows of logits to tokens; a thread block serves one row."""

from hfc.backend.shape import Geometry, one_row_per_block
from hfc.backend.skeleton import Skeleton, always
from hfc.backend.skeletons.sample.bind import SampleRegion
from hfc.backend.spec import Bound
from hfc.backend.template import KernelLimits, Params, template
from hfc.target.arch import Arch

SAMPLE = template(__file__, "sample", KernelLimits(256, "scans the vocabulary: only many lanes hide the latency"))


def launches(bound: Bound[SampleRegion], arch: Arch) -> tuple[Geometry, ...]:
    return (Geometry(SAMPLE, bound.name, one_row_per_block(bound), 512, Params()),)


TOLERANCE = 0.0  # tokens: the same or not
SKELETON = Skeleton("sample", (), SampleRegion, None, always(launches), (SAMPLE,), tolerance=TOLERANCE)
