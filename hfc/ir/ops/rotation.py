"""The rotation of activations that goes with weight formats whose weights were rotated offline."""

from __future__ import annotations

from hfc.formats import rotation
from hfc.ir.graph import TensorType
from hfc.ir.opdef import none_counted, require, root


def _hadamard_type(x: TensorType, *, group=rotation.GROUP) -> TensorType:
    require(
        group & (group - 1) == 0 and x.shape[-1] % group == 0,
        f"hadamard: x is {x}; its last axis must be a multiple of the group, {group}, a power of two",
    )
    return TensorType("f32", x.shape)


@root(_hadamard_type, stem="linear", reads=("rows",), flops=none_counted, internal=True)
def hadamard(x, *, group=rotation.GROUP):
    """D₂ H D₁ / √group on every `group` elements of the last axis; signs D as in hfc.formats.rotation"""
    return rotation.rotate(x, group)
