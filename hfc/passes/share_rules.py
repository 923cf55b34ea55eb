"""What ops but products and arithmetic make of values that ranks share out: heads stay whole, and go together."""

from __future__ import annotations

from fractions import Fraction

from hfc.ir.element import row_shape
from hfc.ir.graph import Op, Value
from hfc.passes.share_layouts import TERM, UNKNOWN, WHOLE, Layout, Origin, Rule, Shares, Split
from hfc.passes.shares import BLOCKS, HEADS, AxisRun, Share, cut, in_units, scaled, section, united


def _reshape(shares: Shares, op: Op) -> Layout:
    """An axis that is cut into heads is shared out by heads."""
    layout, (x,) = shares.layouts.get(op.inputs[0]), op.inputs
    if not isinstance(layout, Split):
        return layout
    have, want = row_shape(x), row_shape(op.output)
    axis = _same_place(have, layout.axis, want)
    if axis is None:
        return shares.keep_whole([layout])
    size, new = have[layout.axis], want[axis]
    if new > size:
        share = scaled(layout.share, Fraction(new, size))
        assert share, "an axis grows by whole units"
        return Split(
            axis, share, tuple(Origin(o.product, o.start, o.per * Fraction(size, new)) for o in layout.origins)
        )
    asked = shares.ask([layout], in_units(layout.share, size // new, HEADS) if new < size else layout.share)
    if asked is UNKNOWN:
        return UNKNOWN
    share = scaled(layout.share, Fraction(new, size))
    assert share, "it was asked for in whole units"
    return Split(axis, share, tuple(Origin(o.product, o.start, o.per * Fraction(size, new)) for o in layout.origins))


def _same_place(have: tuple[int, ...], axis: int, want: tuple[int, ...]) -> int | None:
    """The axis of `want` that begins where `axis` of `have` does, and is a part or a multiple of it."""
    before = 1
    for n in have[:axis]:
        before *= n
    place = 1
    for at, n in enumerate(want):
        if place == before and n > 1:
            return at if max(n, have[axis]) % min(n, have[axis]) == 0 else None
        place *= n
    return None


def _split(shares: Shares, op: Op) -> Layout | tuple[Layout, ...]:
    layout, sizes = shares.layouts.get(op.inputs[0]), op.attrs["sizes"]
    if not isinstance(layout, Split) or layout.axis != len(row_shape(op.inputs[0])) - 1:
        return layout
    share: Share | None = layout.share
    borders = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
    for at in borders:
        share = share and cut(share, at)
    if shares.ask([layout], share) is UNKNOWN or share is None:
        return UNKNOWN
    made = []
    for first, end in zip(borders, borders[1:]):
        part = section(share, first, end)
        assert part, "it has borders there"
        own = tuple(Origin(o.product, o.start + int(first * o.per), o.per) for o in layout.origins)
        made.append(Split(layout.axis, part, own))
    return tuple(made)


def _concat(shares: Shares, op: Op) -> Layout:
    splits = shares.splits(op.inputs)
    if not splits:
        return WHOLE
    last = len(row_shape(op.output)) - 1
    if len(splits) < 2 or any(split.axis in (last,) or split.axis != splits[0].axis for split in splits):
        return shares.keep_whole(splits)
    share = united(splits[0].share, splits[1].share)
    return shares.ask(splits, share) or Split(splits[0].axis, splits[0].share, splits[0].origins + splits[1].origins)


def _weighted_sum(shares: Shares, op: Op) -> Layout:
    layout = shares.layouts.get(op.inputs[0])
    if layout is TERM and shares.layouts.get(op.inputs[1]) is WHOLE:
        return TERM
    return shares.whole(op)


def _append(shares: Shares, op: Op) -> Layout:
    """Heads of a cache are those of the keys and values written to it."""
    _, k, v = op.inputs
    splits = shares.splits((k, v))
    if not splits:
        return WHOLE
    if len(splits) < 2 or any(split.axis for split in splits):
        return shares.keep_whole(splits)
    share = united(united(splits[0].share, splits[1].share) or (), _heads(k))
    return shares.ask(splits, share) or Split(0, splits[0].share, splits[0].origins + splits[1].origins)


def _heads(x: Value) -> Share:
    heads = row_shape(x)[0]
    return (AxisRun(heads, heads, HEADS),)


def _attend(shares: Shares, op: Op) -> Layout:
    """Query heads follow the heads of the cache: with fewer of those than ranks, several ranks have the same."""
    q, kv = op.inputs[:2]
    own, cache = shares.layouts.get(q), shares.layouts.get(kv)
    is_single = kv.type.size(1) == 1
    if not isinstance(own, Split):
        return shares.keep_whole([cache]) if isinstance(cache, Split) else WHOLE
    if own.axis or not (isinstance(cache, Split) or is_single):
        return shares.keep_whole([own])
    if isinstance(cache, Split) and not all(run.fits(shares.ranks) for run in cache.share):
        return shares.keep_whole([own, cache])
    return shares.ask([own], united(own.share, _heads(q))) or own


def _conv(shares: Shares, op: Op) -> Layout:
    layout = shares.layouts.get(op.inputs[0])
    return layout if isinstance(layout, Split) else WHOLE


def _recurrence(shares: Shares, op: Op) -> Layout:
    """Value heads go with their key head; tiled, they are as many runs of key heads as a key head has value heads."""
    q, k, v, g, beta = op.inputs[:5]
    splits = shares.splits((q, k, v, g, beta))
    if not splits:
        return WHOLE
    values, keys = row_shape(v)[0], row_shape(q)[0]
    if any(split.axis for split in splits) or len(shares.splits((v, g, beta))) < 3:
        return shares.keep_whole(splits)
    if len(shares.splits((q, k))) < 2 and keys > 1:
        return shares.keep_whole(splits)
    repeats = values // keys if op.attrs["tiled"] and keys > 1 else 1
    wanted = (AxisRun(values // repeats, values // repeats, HEADS),) * repeats
    asked = shares.ask(shares.splits((v, g, beta)), wanted)
    asked = shares.ask(shares.splits((q, k)), _heads(q)) or asked
    return asked or shares.splits((v,))[0]


def _rotation(shares: Shares, op: Op) -> Layout:
    layout = shares.layouts.get(op.inputs[0])
    if not isinstance(layout, Split) or layout.axis != len(row_shape(op.inputs[0])) - 1:
        return layout if isinstance(layout, Split) else WHOLE
    return shares.ask([layout], in_units(layout.share, op.attrs["group"], BLOCKS)) or layout


RULES: dict[str, Rule] = {
    "reshape": _reshape,
    "split": _split,
    "pick_rows": lambda shares, op: shares.layouts.get(op.inputs[0]),
    "concat": _concat,
    "weighted_sum": _weighted_sum,
    "rope": lambda shares, op: shares.along(op, last=False),
    "position_scale": lambda shares, op: shares.along(op, last=True),
    "kv_append": _append,
    "attend": _attend,
    "causal_conv": _conv,
    "linear_recurrence": _recurrence,
    "hadamard": _rotation,
}
