#!/usr/bin/env python3
"""Measures what weight formats and KV formats cost on small models, and writes docs/quality.md.

usage: quality_table.py [--out docs/quality.md] [--ggml libggml-base.so] [--tokens N] [--results FILE] NAME=MODEL=TEXT[=TOKENS] ...

Every model is quantized to each format and compared with itself as it is on disk, on the host device. --ggml: llama.cpp's
library, whose own encoders then make the K-quants. TEXT: a UTF-8 file, or a folder with Python files; empty for Python's manual. Its
second half calibrates imatrix, awq and gptq, which are tried where the file holds floats; its first tokens are what is measured.
--results: a JSON file that keeps every row, so that an interrupted run goes on; remove it when code or texts change.

The page was made with: qwen35-tiny-code=../shared/models/qwen35-tiny-code=hfc "SmolLM2-135M-Instruct (Q4_1 on disk)=smollm2:135m==1024"
"""

from __future__ import annotations

import argparse
import ctypes
import json
import platform
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np

from hfc.calibrate.collect import collect
from hfc.cli.calibration import Calibration, prepare
from hfc.cli.eval import digest, read_tokens
from hfc.cli.imatrix import calibration_pieces
from hfc.cli.open_model import OpenModel
from hfc.compiler import CompileOptions, compile_model, open_source
from hfc.formats import KV_FORMATS, weight_format
from hfc.formats.checkpoint import open_checkpoint
from hfc.passes.settings import EDGE_FORMAT, parse_kv
from hfc.quality import chunks, evaluate
from hfc.quantize.convert import plan, quantize
from hfc.quantize.imatrix import write_imatrix
from hfc.runtime.executor import load
from hfc.runtime.source import find_source
from hfc.runtime.vocabulary import load_vocabulary

CHUNK = 512
WEIGHTS = (
    "q8_0", "q6_k", "mq6g256", "mq6g256v2", "hfq6g256", "q5_k", "q5_0", "hfc4", "q4_k", "iq4_nl", "q4_0", "iq4_xs", "mq4g256v2",
    "mq4g256", "hfq4g256v2", "hfq4g256", "mq3g256v2", "mq3g256", "hfq3g256",
)  # fmt: skip
TREATED = (  # of files that hold floats: format, what the encoder learns from activations
    ("hfc4", "imatrix"), ("hfc4", "awq"), ("hfc4", "gptq"), ("hfc4", "awq gptq"), ("mq4g256v2", "imatrix"), ("mq4g256v2", "awq"),
    ("mq4g256v2", "gptq"), ("mq3g256v2", "imatrix"), ("mq3g256v2", "gptq"),
)  # fmt: skip
CALIBRATION_TOKENS = 4096
BY_GGML = ("q5_k", "q4_k", "q6_k", "iq4_nl", "iq4_xs")
CACHES = (
    "f32",
    "f16",
    "q8",
    "q8/q4",
    "fwht4",
    "fwht3",
    "fwht2",
    "asym4",
    "asym3",
    "asym2",
    "fwht4/q4",
    "fwht3@0+1",
    "asym3@0+1",
)


def text_of(word: str) -> str:
    if not word:
        return "\n".join(topics[name] for name in sorted(topics))
    path = Path(word)
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def ggml_packers(path: str) -> dict:
    """llama.cpp's reference encoders by format."""
    library = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_void_p,
        *[ctypes.c_int64] * 3,
        ctypes.c_void_p,
    ]

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
        whole = text_of(text)
        for name, part in (("measured", whole[: len(whole) // 2]), ("calibration", whole[len(whole) // 2 :])):
            (folder / f"{name}.txt").write_text(part, encoding="utf-8")
        self.pieces = chunks(read_tokens(opened, folder / "measured.txt", count), CHUNK)
        self.logits = np.zeros((sum(map(len, self.pieces)), own.vocab), np.float32)
        report = evaluate(own, self.pieces, keep=self.logits)
        layers = sum("k" in state.planes for state in own.plan.states)
        own.close()
        self.facts = {
            "tokens": len(self.logits),
            "digest": digest(self.pieces),
            "perplexity": report["perplexity"],
            "layers": layers,
        }

    def _open(self, path: str, kv: str):
        return load(compile_model(path, ["host"], CompileOptions(kv=kv, ctx=CHUNK)), "host")

    def weights(self, format: str, packers: dict, method: str = "") -> dict:
        """Bits of the format and of all weights together, and the figures against the source."""
        folder = self.folder / f"{self.name}-{format}-{method.replace(' ', '-')}"
        with open_checkpoint(self.source) as checkpoint:
            made = plan(checkpoint, format, packers=packers)
            ready = prepare(Path(self.source), checkpoint, made, self._calibration(method))
            made = plan(checkpoint, format, packers=packers, treatments=ready.treatments, method=method)
            quantize(
                checkpoint, made, folder, packers=packers, treatments=ready.treatments, first=ready.first, key=ready.key
            )
        took = sum(t.nbytes for t in made.tensors if t.format == format) / max(1, sum(t.nbytes for t in made.tensors))
        found = {
            "bits": weight_format(format).bits_per_weight,
            "all": made.bits_per_weight,
            "share": took,
        } | self._against(str(folder), "f16")
        shutil.rmtree(folder)
        return found

    def _calibration(self, method: str) -> Calibration:
        """Activations on a text that no row is measured on."""
        words, text, imatrix = method.split(), self.folder / "calibration.txt", self.folder / "imatrix.gguf"
        if "imatrix" in words and not imatrix.exists():
            source = open_source(self.source)
            write_imatrix(
                imatrix,
                collect(source, calibration_pieces(source, text, CALIBRATION_TOKENS, CHUNK), "pydoc_data.topics"),
            )
        return Calibration(
            imatrix if "imatrix" in words else None, "awq" in words, "gptq" in words, text, CALIBRATION_TOKENS
        )

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
    return [
        f"{found['perplexity']:.3f}",
        change,
        f"{found['kl_mean']:.5f}",
        f"{found['kl_p99']:.4f}",
        f"{100 * found['top1_agreement']:.1f} %",
    ]


class Results:
    """Rows by model, kept in a file as they come."""

    def __init__(self, path: Path | None):
        self._path = path
        self._rows = json.loads(path.read_text()) if path and path.exists() else {}

    def of(self, model: str, row: str, measure: Callable[[], dict]) -> dict:
        rows = self._rows.setdefault(model, {})
        if row not in rows:
            rows[row] = measure()
            print(model, row, rows[row], flush=True)
            if self._path:
                self._path.write_text(json.dumps(self._rows, indent=1))
        return rows[row]


def holds_floats(model: str) -> bool:
    with open_checkpoint(find_source(model).path) as checkpoint:
        infos = [checkpoint.info(name) for name in checkpoint.names()]
        return all(not weight_format(info.format).quantized for info in infos)


def section(name: str, model: str, text: str, count: int, folder: Path, packers: dict, results: Results) -> str:
    @cache
    def bench() -> Bench:
        return Bench(name, model, text, count, folder)

    facts = results.of(name, "itself", lambda: bench().facts)
    wanted = [(f, "") for f in WEIGHTS if weight_format(f).encode or f in packers] + [*TREATED] * holds_floats(model)
    weights, caches, rows = [], [], {}
    for format, method in wanted:
        row = f"{format} {method}".strip()
        rows[row] = found = results.of(name, row, lambda: bench().weights(format, packers, method))
        weights.append(
            [row, f"{found['bits']:.4g}", f"{found['all']:.2f}", f"{100 * found['share']:.0f} %", *figures(found)]
        )
    for kv in CACHES:
        rows[kv] = found = results.of(name, kv, lambda: bench().cache(kv))
        caches.append([kv, f"{kv_bytes(kv, facts['layers']):.4g}", *figures(found)])
    head = f"{facts['tokens']} tokens in pieces of {CHUNK} (digest {facts['digest']}); perplexity as on disk: {facts['perplexity']:.4f}."
    asked = [[asked, found, "reached" if good else "**not reached**"] for asked, found, good in bars(rows)]
    tables = (
        (["weights", "bits", "bits of all", "share of bytes", *FIGURES], weights),
        (["KV", "bytes at head 256", *FIGURES], caches),
        (["asked", "found", ""], asked),
    )
    return "\n\n".join([f"## {name}", head, *(table(*t) for t in tables)]) + "\n"


def kv_bytes(kv: str, layers: int) -> float:
    """Of a token, a layer and a KV head of 256, on average over the layers."""
    k, v, edges = parse_kv(kv)
    edge = 2 * KV_FORMATS[EDGE_FORMAT].row_bytes(256)
    return (
        sum(edges) * edge + (layers - sum(edges)) * (KV_FORMATS[k].row_bytes(256) + KV_FORMATS[v].row_bytes(256))
    ) / layers


def bars(rows: dict[str, dict]) -> list[tuple[str, str, bool]]:
    """What was asked of the formats, what came out, and whether it is enough."""
    made = []
    for kv, most in (("q8", 0.001), ("fwht3", 0.01), ("fwht3@0+1", 0.01), ("asym3", 0.01), ("asym3@0+1", 0.01)):
        change = rows[kv]["perplexity_change"]
        made.append(
            (f"perplexity with KV {kv} within {100 * most:g} % of f16", f"{100 * change:+.2f} %", abs(change) <= most)
        )
    pairs = [
        ("mq4g256v2", "q4_0", "perplexity"),
        ("mq4g256v2", "q4_0", "kl_mean"),
        ("mq4g256v2 gptq", "q4_0", "kl_mean"),
        ("hfc4", "q4_k", "kl_mean"),
    ]
    for better, than, figure in pairs:
        if better in rows and than in rows:
            mine, theirs = rows[better][figure], rows[than][figure]
            bits = f"at {rows[better]['bits']:.4g} bits against {rows[than]['bits']:.4g}"
            name = figure.replace("kl_mean", "KL divergence")
            made.append(
                (f"{name} of {better} no more than {than}'s, {bits}", f"{mine:.5g}, {theirs:.5g}", mine <= theirs)
            )
    return made


INTRODUCTION = """# What formats cost

Made by `scripts/quality_table.py` on the host device ({machine}); do not edit. Every row is compared with the same model as it lies
on disk: perplexity on the text, its change (with the standard error of the difference), the KL divergence of the next-token
distribution and how often the likeliest token is the same. Less is better everywhere but for top-1.

Embeddings, the head and small gates keep 8 bits in every row ("bits of all" counts them), as `hfc quantize` does without being
told; "share of bytes" is how much of the file lies in the format at all: rows that are no multiple of 256 fall back to q5_0 or q8_0,
and tensors that are stored in fewer bits than a format has stay as they are.
{encoders}
imatrix, awq and gptq are the options of `hfc quantize`, with activations on {calibration} tokens of the second half of the text.

Only a model whose file holds floats compares formats fairly. Where it is quantized already, formats on the same kind of grid repeat it:
a Q4_1 file (32 weights with scale and minimum) is repeated almost exactly by q4_k and q5_k, and not by formats with a table or rotation.

MQ4 has 16 equal steps for 128 weights. Of normally distributed weights, which those of qwen35-tiny-code are, they leave a squared error of
0.0088 (0.0087 with every range tried), and Q4_0 with a scale for 32 weights leaves 0.0074: that is what a quarter of a bit is worth.
Rotation makes weights with outliers as good as these, and no better; error feedback (gptq) makes up for the difference.

fwht3@0+1 has the last attention layer's cache in q8; bytes are the layers' mean. Codes of 3 bits leave 19 % of a key's length as error
(Lloyd-Max for a normal distribution; 12.5 % is what any code of 3 bits must leave), and the error of a score grows with the length of
query and key. Models that norm their keys (Qwen 3.5) bear it. SmolLM2 does not: four fifths of its keys' length is a vector that all
positions of a head share, the error is spread evenly over its 30 layers, so that no few layers in q8 help, and exact keys at the first
position change nothing. Taking the shared vector off before packing would leave a third to two thirds of the divergence, still far from
1 %. For such models there is q8, and f16 is the default on every architecture.

## Precision profiles

What a GPU's plan rounds (`hfc compile --profile`), not what a format does: the model in its format on one H200 against the interpreter on the same
weights, in float32. qwen35-tiny-code in mq4g256v2, 4096 tokens of Python's manual in pieces of 512, by `hfc eval BUNDLE --weights FOLDER
--device cuda --against FOLDER --against-device interpret`, measured by hand.

| profile | KLD mean | KLD p99 | largest | top-1 |
| --- | --- | --- | --- | --- |
| exact | 0.00000003 | 0.0000003 | 0.0000012 | 99.976 % |
| fast | 0.00000027 | 0.0000012 | 0.0000054 | 99.927 % |
| fast may have | 0.000002 | 0.00002 | | 99.9 % |

SmolLM2 in Q4_1 is more sensitive. The same text, 4096 tokens, on one H200: fast in prompts 0.0000017, p99 0.00001, largest 0.000052 and 99.976 %, decode (`--decode-rows 16`) 0.0000014, 0.0000095,
0.00005 and 99.902 %; exact 0.00000055, 0.0000049, 0.000019 and 100 %. qwen35-tiny-code with the same kernels, 2048 tokens: fast in prompts 0.0000002, 0.0000011 and 99.902 %, decode 0.00000003, 0.0000003
and 99.951 %. Before, SmolLM2's fast was over its bound (0.0000051 and 0.000014). Why, and what changed: performance.md.

`turbo` (`--profile turbo`, only where asked for) rounds inputs of products whose weights are codes to whole numbers of 8 bits, as llama.cpp does, with a scale for every 32
(NVIDIA's decode: for every 256); the head's inputs stay as in fast. By the interpreter with inputs rounded so (`scripts/input_rounding.py FOLDER`), 4096 tokens of the same text in pieces
of 512, against the interpreter as it is:

| qwen35-tiny-code | rounded | KLD mean | KLD p99 | largest | top-1 | perplexity |
| --- | --- | --- | --- | --- | --- | --- |
| mq4g256v2 | **turbo: 8 bits, a scale for 32** | 0.000065 | 0.00035 | 0.0020 | 99.438 % | +0.008 % |
| | turbo on NVIDIA in decode: for 256 | 0.00010 | 0.00058 | 0.0022 | 99.414 % | +0.026 % |
| | as llama.cpp: for 32, the head too | 0.000098 | 0.00041 | 0.0021 | 99.390 % | +0.026 % |
| | for 256, the head too | 0.00017 | 0.00069 | 0.0024 | 98.999 % | +0.016 % |
| | 4 bits, a scale for 32 | 0.022 | 0.12 | 0.31 | 90.210 % | +1.526 % |
| q8_0 | **turbo: 8 bits, a scale for 32** | 0.00012 | 0.00058 | 0.0041 | 99.097 % | +0.069 % |
| | turbo on NVIDIA in decode: for 256 | 0.00040 | 0.0021 | 0.0055 | 98.633 % | +0.001 % |

Machine code in the emulator, gfx1030 and mq4g256v2: prompts of 96 tokens in pieces of 32 0.000089, 64 tokens in decode of 16 rows 0.000076 (the model of the arithmetic there 0.000073 and 0.000088).
llama.cpp itself, on files of 4 to 8 bits and with its flash attention, was 0.005 to 0.026 from the interpreter; mq4g256v2 is 0.015 from the weights that it was made of. So 4 bits
cost more than the format, and no profile takes them.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "docs/quality.md")
    parser.add_argument("--ggml")
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--results", type=Path)
    parser.add_argument("models", nargs="+", metavar="NAME=MODEL=TEXT[=TOKENS]")
    arguments = parser.parse_args()
    packers = ggml_packers(arguments.ggml) if arguments.ggml else {}
    encoders = "K-quants and IQ4 are made by llama.cpp's own encoders, without an importance matrix." if packers else ""
    parts = [INTRODUCTION.format(machine=platform.machine(), encoders=encoders, calibration=CALIBRATION_TOKENS)]
    for word in arguments.models:
        name, model, text, *count = word.split("=")
        with tempfile.TemporaryDirectory() as folder:
            tokens = int(count[0]) if count else arguments.tokens
            parts.append(section(name, model, text, tokens, Path(folder), packers, Results(arguments.results)))
    arguments.out.write_text("\n".join(parts))


if __name__ == "__main__":
    main()
