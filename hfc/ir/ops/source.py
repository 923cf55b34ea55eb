"""Sources: ops without operands. Their types are given, their values come from the checkpoint or the running batch."""

from __future__ import annotations

from hfc.ir.opdef import source


@source
def weight(*, name, recipe):
    """A weight, made by `recipe` from checkpoint tensors when it is loaded."""


@source
def const(*, recipe):
    """A constant table made by `recipe`, e.g. RoPE's cosines."""


@source
def state(*, name, k_format="f32", v_format="f32"):
    """State that lives from step to step, one lane a slot. A KV cache has type kv[S, kv_heads, C, head] and two formats."""


@source
def peer(*, rank, name):
    """The value called `name` of the same step in the memory of another rank, complete when the ranks have met."""
