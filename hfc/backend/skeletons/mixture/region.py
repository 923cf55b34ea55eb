"""A mixture of experts after its router: what is chosen, the chosen experts and the shared one, and the sum of what they make."""

from __future__ import annotations

from hfc.backend.skeletons.linear.region import LinearRegion
from hfc.backend.skeletons.route.region import RouteRegion
from hfc.backend.spec import Arg, Bound, KernelRegion
from hfc.base.dataclass import dataclass
from hfc.formats.block import BlockFormat


@dataclass(frozen=True)
class MixtureRegion(KernelRegion):
    """choice: what the router's logits choose; None: another region has chosen.  router: the number of the member that makes the logits, if
    it is one.  gate: the product of one output a row by which the shared
    expert counts.  up, shared_up: first products, of one input.  down, shared_down: second products, whose results `store` takes; the
    shared expert may be absent, or its first product elsewhere.

    store: C statement in row and n that writes the outputs: chosen[k] is the second product of choice k, `shared` that of the shared
    expert.  members: the regions that were joined, and `tasks` the launch that does each one's work: "router", "prepare", "up" or "down"."""

    up: LinearRegion
    down: LinearRegion
    store: str
    choice: RouteRegion | None = None
    router: int | None = None
    gate: LinearRegion | None = None
    shared_up: LinearRegion | None = None
    shared_down: LinearRegion | None = None
    members: tuple[Bound, ...] = ()
    tasks: tuple[str, ...] = ()

    def doing(self, task: str) -> tuple[int, ...]:
        """The numbers of the members whose work a launch does."""
        return tuple(number for number, its in enumerate(self.tasks) if its == task)

    @property
    def ups(self) -> tuple[LinearRegion, ...]:
        return (self.up, self.shared_up) if self.shared_up else (self.up,)

    @property
    def downs(self) -> tuple[LinearRegion, ...]:
        return (self.down, self.shared_down) if self.shared_down else (self.down,)

    @property
    def matrix_args(self) -> tuple[Arg, ...]:
        return tuple(arg for product in (*self.ups, *self.downs) for arg in product.matrix_args)

    @property
    def weight_formats(self) -> tuple[BlockFormat, ...]:
        formats = (form for product in (*self.ups, *self.downs) for form in product.weight_formats)
        return tuple({form.name: form for form in formats}.values())

    @property
    def row_elements(self) -> int:
        return self.up.k

    @property
    def gated_formats(self) -> tuple[str, ...]:
        return tuple(form.name for form in self.weight_formats)
