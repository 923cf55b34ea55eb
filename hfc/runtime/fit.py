"""The memory plan: what a plan needs, before anything is touched. Offline (`hfc fit`) and at load alike."""

from __future__ import annotations

import math

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.formats import weight_format
from hfc.plan import Plan, StateRef

RESERVE = 256 << 20  # bytes left to the driver, its modules and fragmentation


@dataclass(frozen=True)
class Need:
    """Bytes of each kind. per_token: of KV in one slot; per_slot: of everything else that a slot keeps, and of that journal:
    rows that wait to be committed."""

    weights: int
    scratch: int
    per_token: int
    per_slot: int
    context: int
    slots: int
    journal: int = 0

    @property
    def state(self) -> int:
        return self.slots * (self.per_slot + self.context * self.per_token)

    @property
    def total(self) -> int:
        return self.weights + self.scratch + self.state + RESERVE

    def largest_context(self, memory: int) -> int:
        """Tokens a slot could hold in `memory` bytes; 0 if not even the weights fit."""
        left = memory - self.weights - self.scratch - RESERVE - self.slots * self.per_slot
        return max(0, left // (self.slots * self.per_token)) if self.per_token else (self.context if left >= 0 else 0)


def need_of(plan: Plan) -> Need:
    """The arithmetic of a plan's own sizes."""
    per_token = -(-sum(_kv_bytes(s) for s in plan.states) // plan.context)
    per_slot = sum(sum(s.planes.values()) - _kv_bytes(s) for s in plan.states)
    weights = sum(_weight_bytes(w.format, w.shape) for w in plan.weights)
    tables = sum(4 * math.prod(plan.context if n == "C" else n for n in c.shape) for c in plan.consts)
    journal = sum(s.planes.get("journal", 0) for s in plan.states)
    return Need(weights + tables, plan.arena_bytes, per_token, per_slot, plan.context, plan.slots, journal)


def _kv_bytes(state: StateRef) -> int:
    return sum(state.planes.values()) if "k" in state.planes else 0


def _weight_bytes(format: str, shape: tuple[int, ...]) -> int:
    return math.prod(shape[:-1]) * weight_format(format).row_bytes(shape[-1])


def table(need: Need, memory: int, trained: int | None = None, is_compiled: bool = False) -> str:
    """The table that `hfc fit` prints and that a refusal shows. trained: the longest context that the model was made for.
    is_compiled: the context cannot become another one."""
    rows = [
        ("weights", need.weights),
        ("scratch", need.scratch),
        (f"state ({need.slots} slot(s), {need.context} tokens each)", need.state),
        ("reserve", RESERVE),
        ("total", need.total),
        ("memory", memory),
    ]
    if need.journal:
        rows.insert(3, ("  of it journals of uncommitted rows", need.slots * need.journal))
    lines = [f"{name:44} {nbytes / 2**20:12,.1f} MiB" for name, nbytes in rows]
    lines.append(f"{'per token and slot':44} {need.per_token:12,} bytes")
    if is_compiled:
        return "\n".join(lines)
    largest = need.largest_context(memory)
    if trained is not None and largest > trained:
        lines.append(f"{'context that fits':44} {largest:12,} tokens")
        lines.append(f"{'context that the model was made for':44} {trained:12,} tokens")
        largest = trained
    lines.append(f"{'largest context':44} {largest:12,} tokens")
    return "\n".join(lines)


def check_fit(plan: Plan, device: str, free: int) -> None:
    """HfcError with the table when the plan does not fit into `free` bytes."""
    need = need_of(plan)
    if need.total > free:
        raise HfcError(
            f"{device} has too little free memory for this plan\n{table(need, free)}",
            hint="take a smaller --ctx, --kv q8, fewer --slots, or smaller weights (hfc quantize, another quant of the hub); "
            "a bundle is to be compiled again with them",
        )
