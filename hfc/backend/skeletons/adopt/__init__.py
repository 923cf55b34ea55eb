"""adopt: a draft's guesses take the place of the placeholders in the step that will verify them; a thread serves one row."""

from hfc.backend.shape import Geometry
from hfc.backend.skeleton import Skeleton, always
from hfc.backend.skeletons.adopt.bind import AdoptRegion
from hfc.backend.spec import Bound
from hfc.backend.template import KernelLimits, Params, template
from hfc.target.arch import Arch

ADOPT = template(__file__, "adopt", KernelLimits(256, "copies a word a lane"))


def launches(bound: Bound[AdoptRegion], arch: Arch) -> tuple[Geometry, ...]:
    return (Geometry(ADOPT, bound.name, (f"({bound.rows} + 255) / 256", "1", "1"), 256, Params()),)


TOLERANCE = 0.0  # tokens are copied
SKELETON = Skeleton("adopt", (), AdoptRegion, None, always(launches), (ADOPT,), tolerance=TOLERANCE)
