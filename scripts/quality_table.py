#!/usr/bin/env python3
"""Measures what weight formats and KV formats cost on small models, and writes docs/quality.md.

usage: quality_table.py [--out docs/quality.md] [--ggml libggml-base.so] [--tokens N] NAME=MODEL=TEXT ...

Every model is quantized to each format and compared with itself as it is on disk, on the host device. --ggml: llama.cpp's
library, whose own encoders then make the K-quants. TEXT: a UTF-8 file; empty for Python's manual.
"""

from __future__ import annotations

import argparse
import ctypes
import platform
import tempfile
from pathlib import Path

import numpy as np

from hfc.cli.eval import digest, read_tokens
from hfc.cli.open_model import OpenModel
from hfc.compiler import compile_model
from hfc.formats import KV_FORMATS, weight_format
from hfc.formats.checkpoint import open_checkpoint
from hfc.quality import chunks, evaluate
from hfc.quantize.convert import plan, quantize
from hfc.runtime.executor import load
from hfc.runtime.source import find_source
from hfc.runtime.vocabulary import load_vocabulary

CHUNK = 512
WEIGHTS = (
    "q8_0", "q6_k", "mq6g256", "mq6g256v2", "hfq6g256", "q5_k", "q5_0", "hfc4", "q4_k", "iq4_nl", "q4_0", "iq4_xs", "mq4g256v2",
    "mq4g256", "hfq4g256v2", "hfq4g256", "mq3g256v2", "mq3g256", "hfq3g256",
)  # fmt: skip
BY_GGML = ("q5_k", "q4_k", "q6_k", "iq4_nl", "iq4_xs")
CACHES = ("f32", "f16", "q8", "q8/q4", "fwht4", "fwht3", "fwht2", "asym4", "asym3", "asym2", "fwht4/q4")


def ggml_packers(path: str) -> dict:
    """llama.cpp's reference encoders by format."""
    library = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p]

    def packer(form):
        library.ggml_quantize_init(form.gguf_type)

        def pack(x: np.ndarray) -> np.ndarray:
            x = np.ascontiguousarray(x, np.float32)
            out = np.zeros((len(x), form.row_bytes(x.shape[1])), np.uint8)
            library.ggml_quantize_chunk(form.gguf_type, x.ctypes.data, out.ctypes.data, 0, *x.shape, None)
            return out

        return pack

    return {name: packer(weight_format(name)) for name in BY_GGML}


class Bench:
    """One model: its text, its own logits, and the measurement of a variant against them."""

    def __init__(self, name: str, model: str, text: str, count: int, folder: Path):
        self.name, self.source, self.folder = name, str(find_source(model).path), folder
        own = self._open(self.source, "f16")
        opened = OpenModel(own, own.plan, load_vocabulary(self.source))
        self.pieces = chunks(read_tokens(opened, Path(text) if text else None, count), CHUNK)
        self.logits = np.zeros((sum(map(len, self.pieces)), own.vocab), np.float32)
        self.report = evaluate(own, self.pieces, keep=self.logits)
        own.close()

    def _open(self, path: str, kv: str):
        return load(compile_model(path, ["host"], kv=kv, ctx=CHUNK), "host")

    def weights(self, format: str, packers: dict) -> dict:
        """Bits of the format and of all weights together, and the figures against the source."""
        with open_checkpoint(self.source) as checkpoint:
            made = plan(checkpoint, format, packers=packers)
            folder = self.folder / f"{self.name}-{format}"
            quantize(checkpoint, made, folder, packers=packers)
        took = sum(t.nbytes for t in made.tensors if t.format == format) / max(1, sum(t.nbytes for t in made.tensors))
        return {"bits": weight_format(format).bits_per_weight, "all": made.bits_per_weight, "share": took} | self._against(str(folder), "f16")

    def cache(self, kv: str) -> dict:
        return self._against(self.source, kv)

    def _against(self, path: str, kv: str) -> dict:
        model = self._open(path, kv)
        found = evaluate(model, self.pieces, self.logits)
        model.close()
        return found


def table(header: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *rows])


FIGURES = ["perplexity", "change", "KLD mean", "KLD p99", "top-1"]


def figures(found: dict) -> list[str]:
    change = f"{100 * found['perplexity_change']:+.2f} ± {100 * found['perplexity_change_error']:.2f} %"
    return [f"{found['perplexity']:.3f}", change, f"{found['kl_mean']:.5f}", f"{found['kl_p99']:.4f}", f"{100 * found['top1_agreement']:.1f} %"]


def section(bench: Bench, packers: dict) -> str:
    formats = [f for f in WEIGHTS if weight_format(f).encode or f in packers]
    weights, caches = [], []
    for format in formats:
        found = bench.weights(format, packers)
        print(bench.name, format, found, flush=True)
        weights.append([format, f"{found['bits']:.4g}", f"{found['all']:.2f}", f"{100 * found['share']:.0f} %", *figures(found)])
    for kv in CACHES:
        found = bench.cache(kv)
        print(bench.name, kv, found, flush=True)
        k, _, v = kv.partition("/")
        v = v or KV_FORMATS[k].default_v or k
        caches.append([kv, str(KV_FORMATS[k].row_bytes(256) + KV_FORMATS[v].row_bytes(256)), *figures(found)])
    text = f"## {bench.name}\n\n{len(bench.logits)} tokens in pieces of {CHUNK} (digest {digest(bench.pieces)}); perplexity as on disk: {bench.report['perplexity']:.4f}.\n\n"
    text += table(["weights", "bits", "bits of all", "share of bytes", *FIGURES], weights)
    return text + "\n\n" + table(["KV", "bytes at head 256", *FIGURES], caches) + "\n"


INTRODUCTION = """# What formats cost

Made by `scripts/quality_table.py` on the host device ({machine}); do not edit. Every row is compared with the same model as it lies
on disk: perplexity on the text, its change (with the standard error of the difference), the KL divergence of the next-token
distribution and how often the likeliest token is the same. Less is better everywhere but for top-1.

Embeddings, the head and small gates keep 8 bits in every row ("bits of all" counts them), as `hfc quantize` does without being
told; "share of bytes" is how much of the file lies in the format at all: rows that are no multiple of 256 fall back to q5_0 or q8_0,
and tensors that are stored in fewer bits than a format has stay as they are. {encoders}

Only a model whose file holds floats compares formats fairly. Where it is quantized already, formats on the same kind of grid repeat it:
a Q4_1 file (32 weights with scale and minimum) is repeated almost exactly by q4_k and q5_k, and not by formats with a table or rotation.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "docs/quality.md")
    parser.add_argument("--ggml")
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("models", nargs="+", metavar="NAME=MODEL=TEXT[=TOKENS]")
    arguments = parser.parse_args()
    packers = ggml_packers(arguments.ggml) if arguments.ggml else {}
    encoders = "K-quants and IQ4 are made by llama.cpp's own encoders, without an importance matrix." if packers else ""
    parts = [INTRODUCTION.format(machine=platform.machine(), encoders=encoders)]
    for word in arguments.models:
        name, model, text, *count = word.split("=")
        with tempfile.TemporaryDirectory() as folder:
            parts.append(section(Bench(name, model, text, int(count[0]) if count else arguments.tokens, Path(folder)), packers))
    arguments.out.write_text("\n".join(parts))


if __name__ == "__main__":
    main()
