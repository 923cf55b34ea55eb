"""What drafts of speculative decoding need beside a model's own ops: neighbours inside a block, and the choice of its tokens."""

from __future__ import annotations

import numpy as np

from hfc.ir.element import Elements
from hfc.ir.graph import Op, TensorType, Value
from hfc.ir.index import Index, group
from hfc.ir.opdef import none_counted, require, root, row_local


def _previous_type(x: TensorType, first: TensorType | None = None) -> TensorType:
    require(first is None or first == x, f"previous: x is {x}, first is {first}; they must be equal")
    require(x.shape[0] == "T", f"previous: {x} must have T rows")
    return x


def _previous_element(elements: Elements, op: Op, value: Value, index: Index, row: str) -> str:
    before = elements.element(op.inputs[0], index, f"({row} - 1)")
    first = elements.element(op.inputs[1], index, row) if len(op.inputs) > 1 else "0.0f"
    return f"(hfc_follows(step, {row}, 1) ? {before} : {first})"


@row_local(_previous_type, reads=("rows", "rows"), element=_previous_element, neighbours=True)
def previous(x, first=None, *, step):
    """The row before in the same segment; the first row of a segment is that row of `first`, or 0."""
    out = np.zeros_like(x) if first is None else first.copy()
    for s in step.segments:
        out[s.row + 1 : s.row + s.rows] = x[s.row : s.row + s.rows - 1]
    return out


def _keep_first_type(x: TensorType, first: TensorType) -> TensorType:
    require(
        x == first and x.shape[0] == "T", f"keep_first: x is {x}, first is {first}; they must be equal, with T rows"
    )
    return x


def _keep_first_element(elements: Elements, op: Op, value: Value, index: Index, row: str) -> str:
    x, first = (elements.element(v, index, row) for v in op.inputs)
    return f"(hfc_follows(step, {row}, 1) ? {x} : {first})"


@row_local(_keep_first_type, reads=("rows", "rows"), element=_keep_first_element)
def keep_first(x, first, *, step):
    """x, but that row of `first` where a segment begins."""
    out = x.copy()
    for s in step.segments:
        if s.rows:
            out[s.row] = first[s.row]
    return out


def _recall_type(state: TensorType) -> TensorType:
    require(
        state.dtype == "f32" and len(state.shape) == 3 and state.shape[2] == 1,
        f"recall: {state} must be f32[S, size, 1]",
    )
    return TensorType("f32", ("T", state.shape[1]))


def _recall_element(elements: Elements, op: Op, value: Value, index: Index, row: str) -> str:
    state, size, rows = op.inputs[0], op.inputs[0].type.shape[1], elements.journal_rows
    kept = elements.pointer(state)
    waiting = elements.pointer(state, "journal") if rows else kept
    return f"hfc_recall({kept}, {waiting}, step, {row}, {size}, {rows}, {index[0]})"


@row_local(_recall_type, reads=("cache",), element=_recall_element)
def recall(state, *, step):
    """What the row's slot keeps, without carrying it on: f32 [S, N, 1], as causal_conv of two taps does -> [T, N].

    Rows of the slot's journal that count have been kept by then: the last of them is what the slot keeps."""
    return np.concatenate([np.repeat(state[s.slot].T, s.rows, axis=0) for s in step.segments])


def _dynamic_conv_type(x: TensorType, base: TensorType, dynamic: TensorType) -> TensorType:
    require(
        len(x.shape) == 2 and len(base.shape) == 2 and base.shape[1] == x.shape[1],
        f"dynamic_conv: x is {x}, base is {base}; base must be [taps, {x.shape[-1]}]",
    )
    fits = (
        len(dynamic.shape) == 3
        and dynamic.shape[:2] == (x.shape[0], base.shape[0])
        and x.size(1) % dynamic.size(2) == 0
    )
    require(fits, f"dynamic_conv: x is {x}, dynamic is {dynamic}; it must be [T, {base.shape[0]}, groups]")
    return x


def _dynamic_conv_element(elements: Elements, op: Op, value: Value, index: Index, row: str) -> str:
    x, base, dynamic = op.inputs
    (j,), size = index, x.type.size(1) // dynamic.type.size(2)
    terms = []
    for tap in range(base.type.size(0)):
        fixed = elements.load(base, (str(tap), j), row)
        weight = f"({fixed} + {elements.element(dynamic, (str(tap), f'({group(j)} / {size})'), row)})"
        term = f"{weight} * {elements.element(x, index, f'({row} - {tap})' if tap else row)}"
        terms.append(f"(hfc_follows(step, {row}, {tap}) ? {term} : 0.0f)" if tap else term)
    return f"({' + '.join(terms)})"


@row_local(_dynamic_conv_type, reads=("rows", "taps", "rows"), element=_dynamic_conv_element, neighbours=True)
def dynamic_conv(x, base, dynamic, *, step):
    """Causal convolution inside each segment, with weights that the row itself chooses (DFlash 2):

    y[t, c] = Σ_o (base[o, c] + dynamic[t, o, group of c]) · x[t - o, c];  rows before the segment are 0.
    x [T, C], base [taps, C], dynamic [T, taps, groups], groups of C / groups neighbours."""
    taps, channels = base.shape
    weights = base + np.repeat(dynamic, channels // dynamic.shape[2], axis=2)
    out = np.zeros_like(x)
    for s in step.segments:
        for tap in range(min(taps, s.rows)):
            rows = slice(s.row + tap, s.row + s.rows)
            out[rows] += weights[rows, tap] * x[s.row : s.row + s.rows - tap]
    return out


def _argmax_type(x: TensorType) -> TensorType:
    require(len(x.shape) == 2, f"argmax: x is {x}; it must be [T, N]")
    return TensorType("i32", x.shape[:1])


@root(_argmax_type, stem="top", reads=("rows",), flops=none_counted)
def argmax(x):
    """Where each row is largest, the lower place on ties: [T, N] -> i32 [T]"""
    return x.argmax(axis=-1).astype(np.int32)


def _top_type(x: TensorType, *, top) -> tuple[TensorType, TensorType]:
    require(len(x.shape) == 2 and 0 < top <= x.shape[1], f"top_candidates: x is {x}, top is {top}")
    return x.with_shape(x.shape[0], top), TensorType("i32", (x.shape[0], top))


@root(_top_type, stem="top", reads=("rows",), flops=none_counted)
def top_candidates(x, *, top):
    """The `top` largest of each row, falling, and their places; the lower place first on ties: [T, N] -> [T, top] twice"""
    ids = np.argsort(-x, axis=-1, kind="stable")[:, :top].astype(np.int32)
    return np.take_along_axis(x, ids, axis=-1), ids


def _select_type(
    scores: TensorType,
    candidates: TensorType,
    query: TensorType,
    before: TensorType,
    after: TensorType,
    tokens: TensorType,
) -> TensorType:
    require(
        candidates.dtype == "i32" and candidates.shape == scores.shape,
        f"select_candidates: scores is {scores}, candidates is {candidates}",
    )
    require(
        before.shape == after.shape and query.shape[1:] == before.shape[1:],
        f"select_candidates: query is {query}, before is {before}, after is {after}; their last axes must agree",
    )
    return tokens


@root(_select_type, stem="select", reads=("rows", "ids", "rows", "gathered", "gathered", "ids"), flops=none_counted)
def select_candidates(scores, candidates, query, before, after, tokens, *, step):
    """One candidate a row, from left to right, judged with the one chosen before it (DFlash 2):

    argmax over c of scores[t, c] + Σ_r before[chosen of t - 1, r] · query[t, r] · after[candidates[t, c], r], the first on ties.
    The first row of a segment keeps its token.  scores, candidates [T, top], query [T, R], before, after [V, R], tokens [T]."""
    chosen = tokens.copy()
    for s in step.segments:
        for row in range(s.row + 1, s.row + s.rows):
            edge = after[candidates[row]] @ (before[chosen[row - 1]] * query[row])
            chosen[row] = candidates[row, np.argmax(scores[row] + edge)]
    return chosen
