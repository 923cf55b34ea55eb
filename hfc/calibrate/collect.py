"""Mean squares of every linear's inputs: a model on texts -> an imatrix, and an imatrix -> what each tensor's inputs weigh."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from hfc.base.diagnostics import HfcError
from hfc.calibrate.names import Linear, linears
from hfc.calibrate.stream import stream
from hfc.compiler import CompilerInput
from hfc.ir.graph import Op
from hfc.ir.roles import is_product
from hfc.quantize.imatrix import Imatrix, ImatrixEntry

# llama.cpp's names of one tensor for what other files keep apart. Longer names first.
FUSED = (
    ("attn_q.", "attn_qkv."), ("attn_k.", "attn_qkv."), ("attn_v.", "attn_qkv."), ("ffn_gate_exps.", "ffn_gate_up_exps."),
    ("ffn_up_exps.", "ffn_gate_up_exps."), ("ffn_gate.", "ffn_gate_up."), ("ffn_up.", "ffn_gate_up."),
)  # fmt: skip
LAYER = re.compile(r"blk\.(\d+)\.")


def collect(
    source: CompilerInput,
    pieces: Sequence[np.ndarray],
    dataset: str = "",
    update: Callable[[int, int], None] = lambda done, total: None,
) -> Imatrix:
    """Run the pieces of text through the model, each from its start."""
    graph = source.graph()
    named = {linear.op.output.name: linear for linear in linears(source, graph)}
    entries: dict[str, ImatrixEntry] = {}
    seen = []

    def watch(op: Op, x: np.ndarray, experts: np.ndarray | None) -> None:
        linear = named.get(op.output.name)
        seen.append(op)
        update(len(seen), total)
        if linear is None or linear.name in entries:  # several weights may be parts of one tensor
            return
        entry = _of_rows(x) if experts is None else _of_experts(x, experts, op.inputs[1].type.shape[0])
        entries[linear.name] = (
            entry if linear.order is None else ImatrixEntry(entry.sums[:, linear.order], entry.counts)
        )

    total = sum(map(is_product, graph.walk()))
    stream(source, pieces, watch)
    return Imatrix(entries, (dataset,), len(pieces), max(map(len, pieces)))


def _of_rows(x: np.ndarray) -> ImatrixEntry:
    rows = x.reshape(-1, x.shape[-1])
    return ImatrixEntry(
        np.einsum("rk,rk->k", rows, rows, dtype=np.float64).astype(np.float32)[None], np.array([len(rows)], np.float32)
    )


def _of_experts(x: np.ndarray, experts: np.ndarray, count: int) -> ImatrixEntry:
    """x [T, K] or [T, top, K], the inputs of experts [T, top]."""
    rows = np.broadcast_to(x[:, None] if x.ndim == 2 else x, (*experts.shape, x.shape[-1]))
    sums, counts = np.zeros((count, x.shape[-1]), np.float32), np.zeros(count, np.float32)
    for expert in np.unique(experts):
        mine = rows[experts == expert]
        sums[expert], counts[expert] = (mine.astype(np.float64) ** 2).sum(axis=0), len(mine)
    return ImatrixEntry(sums, counts)


def importances(source: CompilerInput, imatrix: Imatrix, where: str) -> dict[str, np.ndarray]:
    """Mean squares of the inputs of each tensor of the checkpoint, f32 [1 or experts, K].

    where: the file's name, for the error that says that it belongs to another model. Published files lack some entries (the head,
    experts that no text reached) and name others by what llama.cpp fused: a linear takes the entry of one that reads the same value,
    and one without any has no statistics. A file in which most linears find nothing belongs to another model."""
    found: dict[str, np.ndarray] = {}
    known = linears(source, source.graph())
    entries = [_entry_for(linear, known, imatrix) for linear in known]
    lacking = [linear.name for linear, entry in zip(known, entries) if entry is None]
    if len(lacking) > len(known) // 2:
        raise _another(
            where, source, f"it has nothing of {lacking[0]}" + f" and {len(lacking) - 1} more" * (len(lacking) > 1)
        )
    layers = [int(match[1]) for match in map(LAYER.match, (linear.name for linear in known)) if match]
    for name in imatrix.entries:
        match = LAYER.match(name)
        if match and int(match[1]) > max(layers, default=0) + 1:  # one more may be a head that drafts
            raise _another(where, source, f"it has {name}, which the model has not")
    for linear, entry in zip(known, entries):
        for number, tensor in enumerate(linear.tensors if entry else ()):
            found[tensor] = _fitting(where, source, linear, entry.mean, number)
    return found


def _entry_for(linear: Linear, known: Sequence[Linear], imatrix: Imatrix) -> ImatrixEntry | None:
    if linear.name in imatrix.entries:
        return imatrix.entries[linear.name]
    siblings = [
        other.name for other in known if other.op.inputs[0] is linear.op.inputs[0] and other.op.kind == linear.op.kind
    ]
    fused = [linear.name.replace(part, whole) for part, whole in FUSED if part in linear.name]
    return next((imatrix.entries[name] for name in (*fused, *siblings) if name in imatrix.entries), None)


def _fitting(where: str, source: CompilerInput, linear: Linear, mean: np.ndarray, number: int) -> np.ndarray:
    """The part for tensor `number` of the linear's, in the order of this checkpoint."""
    shape = linear.op.inputs[1].type.shape
    matrices = shape[0] if len(shape) == 3 else 1
    if mean.size != matrices * shape[-1]:
        raise _another(where, source, f"{linear.name} has {mean.size} inputs there and {matrices * shape[-1]} here")
    mean = mean.reshape(matrices, shape[-1])
    if linear.order is not None:
        ordered = np.empty_like(mean)
        ordered[:, linear.order] = mean
        mean = ordered
    return mean[number : number + 1] if len(linear.tensors) > 1 else mean


def _another(where: str, source: CompilerInput, reason: str) -> HfcError:
    return HfcError(
        f"{where} is an imatrix of another model than {source.path.name}: {reason}",
        hint=f"hfc imatrix {source.path.name} -o FILE makes one",
    )
