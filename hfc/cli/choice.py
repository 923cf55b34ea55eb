"""What the options of a command say about a model."""

from __future__ import annotations

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.base.system import core_count

THREADS_PER_CORE = 4  # of a machine's threads; more wait for each other without end, and nothing else runs beside them


@dataclass(frozen=True)
class ModelChoice:
    """What the options say about a model; None leaves a choice to the compiler.

    device: of a pipeline one for each stage, with commas between.  stages: its layers, as `hfc compile` takes them.
    experts: where a mixture's are computed, likewise.  tensor_parallel: devices that compute every layer together.
    trust: the code of a bundle that was made elsewhere may run.  fits_memory: without a context, take the longest that the model was
    trained for and that the device's memory holds.  memory: bytes that the plan may take of it, None: what is free."""

    device: str = "host"
    threads: int | None = None
    context: int | None = None
    kv: str | None = None
    weights: str | None = None
    slots: int | None = None
    format: str | None = None
    random_weights: bool = False
    taps: tuple[str, ...] = ()
    draft: str = "off"
    max_rows: int | None = None
    trust: bool = False
    fits_memory: bool = False
    memory: int | None = None
    profile: str | None = None
    stages: str | None = None
    experts: str | None = None
    tensor_parallel: int | None = None

    def __post_init__(self) -> None:
        most = THREADS_PER_CORE * core_count()
        if self.threads is not None and self.threads > most:
            raise HfcError(
                f"--threads {self.threads}: this machine runs {core_count()} at a time, at most {most} are expected",
                hint="leave --threads out: all cores are used",
            )
