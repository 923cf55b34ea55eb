"""What rounding the inputs of products costs: the interpreter with inputs rounded as a profile's kernels do, against itself.

    python scripts/input_rounding.py FOLDER -n 4096          # each way to round, docs/quality.md's table of profile turbo
    python scripts/input_rounding.py FOLDER --way 8,32,head  # one: bits, inputs that share a scale, the head's inputs too

It needs no card: sums are the interpreter's f32, and only inputs of products whose weights are codes are rounded, to whole numbers of the
largest of their group over 127 (of 4 bits over 7). `hfc eval BUNDLE --profile turbo --against FOLDER` measures a card.
"""

from __future__ import annotations

import argparse

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.cli.choice import ModelChoice
from hfc.cli.eval import tokens_of
from hfc.cli.open_model import open_model, resolve
from hfc.cli.table import table
from hfc.compiler import open_source
from hfc.formats import weight_format
from hfc.ir.graph import Op
from hfc.ir.roles import is_product
from hfc.oracle import InterpretedModel
from hfc.quality import Tally, chunks, logits_of


@dataclass(frozen=True)
class Way:
    """bits: of an input.  span: inputs that share a scale.  head: its inputs, too."""

    bits: int
    span: int
    head: bool

    def __str__(self) -> str:
        return f"{self.bits} bits, a scale for {self.span}, {'all products' if self.head else 'the head as in fast'}"


WAYS = (Way(8, 32, False), Way(8, 32, True), Way(8, 256, False), Way(8, 256, True), Way(4, 32, False))


def rounded(x: np.ndarray, way: Way) -> np.ndarray:
    """Whole numbers of a unit that makes the largest of each group the largest whole number."""
    most = 2 ** (way.bits - 1) - 1
    padded = np.pad(x.reshape(-1, x.shape[-1]), ((0, 0), (0, -x.shape[-1] % way.span)))
    groups = padded.reshape(len(padded), -1, way.span)
    unit = np.abs(groups).max(-1, keepdims=True) / np.float32(most)
    whole = np.rint(groups / np.where(unit > 0, unit, 1)) * unit
    return whole.reshape(len(padded), -1)[:, : x.shape[-1]].reshape(x.shape).astype(np.float32)


class RoundedModel(InterpretedModel):
    """The interpreter, whose products find rounded inputs."""

    def rounding(self, way: Way) -> RoundedModel:
        plain, head = self.interpreter._execute, self.interpreter.graph.outputs[0]

        def execute(op: Op, env: dict, step: object) -> None:
            coded = is_product(op) and weight_format(op.inputs[1].type.dtype).quantized
            if coded and (way.head or op.output is not head):
                env = _With(env, op.inputs[0], rounded(np.asarray(env[op.inputs[0]]), way))
            plain(op, env, step)

        self.interpreter._execute = execute
        return self


class _With(dict):
    """Values of a step, of which an op finds one rounded; what it makes goes to the others'."""

    def __init__(self, env: dict, value: object, array: np.ndarray):
        super().__init__({value: array})
        self._env = env

    def __missing__(self, value: object) -> object:
        return self._env[value]

    def __setitem__(self, value: object, array: object) -> None:
        self._env[value] = array


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("-n", type=int, default=4096, help="tokens of Python's manual")
    parser.add_argument("--chunk", type=int, default=512)
    parser.add_argument("--way", action="append")
    arguments = parser.parse_args()
    ways = [Way(int(w.split(",")[0]), int(w.split(",")[1]), w.endswith("head")) for w in arguments.way or ()] or WAYS
    source, model = open_source(resolve(arguments.model).path), arguments.model
    vocabulary = open_model(model, ModelChoice("interpret"), with_vocabulary=True).vocabulary
    exact = InterpretedModel(source, arguments.chunk)
    others = [RoundedModel(source, arguments.chunk).rounding(way) for way in ways]
    tallies = [Tally() for _ in ways]
    for piece in chunks(tokens_of(vocabulary.tokenizer, exact.vocab, None, arguments.n), arguments.chunk):
        (theirs,) = logits_of(exact, piece, len(piece))
        for tally, other in zip(tallies, others):
            (logits,) = logits_of(other, piece, len(piece))
            tally.add(logits, piece[1:], theirs)
    found = [tally.report() for tally in tallies]
    header = ("inputs of products", "KLD mean", "KLD p99", "largest", "top-1", "perplexity")
    print(table(header, [
        (str(way), *(f"{each[name]:.2g}" for name in ("kl_mean", "kl_p99", "kl_max")),
         f"{each['top1_agreement']:.3%}", f"{each['perplexity_change']:+.3%}")
        for way, each in zip(ways, found)
    ]))  # fmt: skip


if __name__ == "__main__":
    main()
