"""Small graphs around the ops that only drafts have, with awkward sizes."""

from __future__ import annotations

from regions import VOCAB, Builder, _head

from hfc.ir.graph import Graph, TensorType


def choices(size: int, top: int, rank: int, format: str) -> Graph:
    """The best few of `size` logits, and one of them a row; its vector goes on."""
    b = Builder()
    x = b.vectors("embed", 35)
    scores, ids = b.op("top_candidates", b.op("linear", x, b.matrix("logits", "f32", size, 35)), top=top)
    query = b.op("linear", x, b.matrix("selector", "f32", rank, 35))
    before, after = (b.matrix(name, format, size, rank) for name in ("before", "after"))
    chosen = b.op("select_candidates", scores, ids, query, before, after, b.tokens)
    return b.finish(_head(b, b.op("gather", b.matrix("table", "f32", size, 48), chosen)))


def guesses(size: int) -> Graph:
    """The largest logit of the row before names the vector that goes on."""
    b = Builder()
    logits = b.op("linear", b.vectors("embed", 35), b.matrix("logits", "f32", size, 35))
    guessed = b.op("keep_first", b.op("previous", b.op("argmax", logits), b.tokens), b.tokens)
    return b.finish(_head(b, b.op("gather", b.matrix("table", "f32", max(size, VOCAB), 48), guessed)))


def neighbours(size: int, taps: int, groups: int) -> Graph:
    """A convolution inside the block, the row before it, and what the slot keeps, side by side."""
    b = Builder()
    x = b.op("linear", b.vectors("embed", 35), b.matrix("w", "f32", size, 35))
    chosen = b.op("linear", x, b.matrix("chosen", "f32", taps * groups, size))
    y = b.op("dynamic_conv", x, b.matrix("base", "f32", taps, size), b.op("reshape", chosen, shape=(taps, groups)))
    kept = b.op("recall", b.state("kept", TensorType("f32", ("S", size, 1))))
    before = b.op("previous", b.op("add", x, y), kept)
    return b.finish(_head(b, b.op("concat", b.op("concat", y, before), b.op("previous", x))))


GRAPHS = {
    "few of many": lambda: choices(1003, 16, 50, "bf16"),
    "most of few": lambda: choices(VOCAB + 1, 31, 260, "f32"),
    "two of a quantized table": lambda: choices(515, 2, 96, "q8_0"),
    "the largest of 700": lambda: guesses(700),
    "the largest of fewer than a wave": lambda: guesses(21),
    "taps of two": lambda: neighbours(70, 2, 7),
    "taps of four": lambda: neighbours(36, 4, 36),
}
