"""A kernel template: its file, the parameters that it takes, and the limits that its kernels keep to (hfc/backend/gates.py)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from pathlib import Path, PurePath

from hfc.base.dataclass import dataclass
from hfc.target.arch import Arch

BACKEND = Path(__file__).parent


@dataclass(frozen=True)
class Params:
    """Base of the templates' parameters: a frozen dataclass of plain data, whose fields are all that a template sees of its geometry."""


@dataclass(frozen=True)
class Allowance:
    """A kernel may go down to `limit` at `gate` ("lanes", "loads"), on archs and for formats that apply."""

    gate: str
    limit: int
    reason: str
    formats: frozenset[str] | None = None  # None: any
    arch: Callable[[Arch], bool] = lambda arch: True


@dataclass(frozen=True)
class KernelLimits:
    """What the kernels of one template keep to.

    lanes: fewest lanes that a SIMD must hold (4 waves of 32 are 128), and why.  narrowest: bytes of the narrowest global
    load in a loop, for rows of a multiple of 32 elements; None: the template moves single elements.
    tunables: parameters of the template that can be halved alone, for advice where a gate is broken.
    allowances: what may fall short of it, each with its reason.
    """

    lanes: int
    why: str
    narrowest: int | None = None
    tunables: tuple[str, ...] = ()
    allowances: tuple[Allowance, ...] = ()


READS_AND_WRITES = KernelLimits(256, "reads rows and writes them: only many lanes hide the latency")
LITTLE_WORK = KernelLimits(256, "little work a lane: only many lanes hide the latency")


@dataclass(frozen=True)
class KernelTemplate:
    """file: by its path from hfc/backend.  params: class of its parameters."""

    file: str
    limits: KernelLimits
    params: type[Params] = field(default=Params)

    @property
    def name(self) -> str:
        """ "linear_dot" of "skeletons/linear/dot/linear_dot.hip.j2"."""
        return PurePath(self.file).name.split(".")[0]


def template(module_file: str, name: str, limits: KernelLimits, params: type[Params] = Params) -> KernelTemplate:
    """The template `name` beside the module that declares it."""
    return KernelTemplate((Path(module_file).parent / f"{name}.hip.j2").relative_to(BACKEND).as_posix(), limits, params)
