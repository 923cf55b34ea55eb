"""Every reader of files that strangers make: its seeds, how they are damaged, and what reading one means.

A reader ends in a result or in an HfcError. Anything else is a fault: another exception, an end of the process, a second of time,
memory out of proportion to the file.
"""

from __future__ import annotations

import functools
import io
import json
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fuzz.mutate import mutated_bytes, mutated_json_text, mutated_text
from hfqm_files import entry, hfqm

from hfc.base.diagnostics import HfcError
from hfc.bundles import read_bundle
from hfc.cli.inspect import contents, describe
from hfc.cli.logits import read_tokens
from hfc.compiler import open_source, settings_for
from hfc.formats import READABLE
from hfc.formats.checkpoint import open_checkpoint
from hfc.formats.checkpoint.mapped import read_json
from hfc.formats.recipe import apply, tensor
from hfc.frontend.build import build_graph
from hfc.frontend.model import find_model, load_model, model_type_of
from hfc.ir.text import parse_graph
from hfc.plan import MANIFEST, Buffer, Bundle, ConstRef, Kernel, Launch, Plan, StateRef, WeightRef
from hfc.pointer import PARAMETERS, TOKENS, Pointer
from hfc.program import Program
from hfc.quantize.imatrix import read_imatrix
from hfc.runtime.chat import chat_template, template_of_gguf
from hfc.runtime.tokenizer_gguf import tokenizer_from_gguf
from hfc.runtime.vocabulary import load_vocabulary
from hfc.target.arch import find_arch

CORPUS = Path(__file__).parent / "corpus"
GGUF = Path(__file__).parent.parent / "data" / "models" / "llama" / "model.gguf"
PUBLISHED = Path(__file__).parent.parent / "data" / "published"
MODELS = Path(__file__).parent.parent.parent / "models"
TEXT = "Grüße, 12 cats! <|im_end|>\n"
Mutate = Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True)
class Loader:
    """seeds: name -> content.  read(path): reads the file there, in a folder with `beside` it."""

    seeds: Callable[[], dict[str, bytes]]
    mutate: Mutate
    read: Callable[[Path], Any]
    file: str
    beside: Callable[[], dict[str, bytes]] = dict


def damaged(loader: Loader, seed: int) -> bytes:
    rng = random.Random(seed)
    seeds = _seeds(loader)
    return loader.mutate(seeds[rng.choice(sorted(seeds))], rng)


@functools.cache
def _seeds(loader: Loader) -> dict[str, bytes]:
    return loader.seeds()


def corpus(pattern: str) -> dict[str, bytes]:
    found = {path.name: path.read_bytes() for path in sorted(CORPUS.glob(pattern))}
    assert found, f"no seeds {pattern}"
    return found


def read_checkpoint(path: Path) -> None:
    with open_checkpoint(path) as checkpoint:
        describe(contents(checkpoint))
        for name in checkpoint.names():
            if checkpoint.info(name).format in READABLE:
                checkpoint.f32(name)


def published(name: str) -> dict[str, bytes]:
    """A weight as another program quantized it, and the config that says how."""
    file = (PUBLISHED / f"{name}.safetensors").read_bytes()
    header = json.loads(file[8 : 8 + struct.unpack("<Q", file[:8])[0]])
    config = {"model_type": "llama", "quantization_config": json.loads(header["__metadata__"]["config"])}
    return {"model.safetensors": file, "config.json": json.dumps(config).encode()}


def read_config(path: Path) -> None:
    """As far as the graph: no kernel depends on anything else."""
    opened = open_source(path)
    opened.graph()
    settings_for(opened, find_arch("gfx1100"))


def read_gguf_config(path: Path) -> None:
    """GGUF keys of any type and value, beside the tensors of a good file."""
    config = read_json(path)
    with open_checkpoint(GGUF) as checkpoint:
        build_graph(find_model(model_type_of(config, "gguf")), config, "gguf", checkpoint)


def read_vocabulary(path: Path) -> None:
    use_tokenizer(*(lambda v: (v.tokenizer, v.template))(load_vocabulary(path.parent)))


def read_gguf_vocabulary(path: Path) -> None:
    metadata = read_json(path)  # stands in for the keys of a GGUF, whose own bytes "gguf" damages
    use_tokenizer(tokenizer_from_gguf(metadata), template_of_gguf(metadata))


def use_tokenizer(tokenizer, template: str | None) -> None:
    ids = tokenizer.encode(TEXT) + tokenizer.encode(TEXT, parse_special=True, frame=False)
    tokenizer.decode(ids[:64])
    if template is not None:
        chat_template(template, tokenizer)


def read_description(path: Path) -> None:
    load_model(path)


def read_described_model(path: Path) -> None:
    """With the config that belongs to it."""
    open_source(path, CORPUS / "config" / "llama.json").graph()


def mutated_bundle(data: bytes, rng: random.Random) -> bytes:
    """Bytes of the file, or of its manifest."""
    if rng.random() < 0.5:
        return mutated_bytes(data, rng)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            target.writestr(name, mutated_json_text(content, rng) if name == MANIFEST else content)
    return out.getvalue()


def mutated_headers(data: bytes, rng: random.Random) -> bytes:
    """Of safetensors: the JSON at its head, or its bytes."""
    if rng.random() < 0.4:
        return mutated_bytes(data, rng)
    (length,) = struct.unpack("<Q", data[:8])
    head = mutated_json_text(data[8 : 8 + length], rng)
    return struct.pack("<Q", len(head)) + head + data[8 + length :]


def _folder(*names: str) -> Callable[[], dict[str, bytes]]:
    return lambda: {Path(name).name: (CORPUS / name).read_bytes() for name in names}


TOKENIZER = _folder("tokenizer/tokenizer.json")
LOADERS: dict[str, Loader] = {
    "gguf": Loader(lambda: corpus("*.gguf"), mutated_bytes, read_checkpoint, "model.gguf"),
    "safetensors": Loader(
        lambda: corpus("*.safetensors"), mutated_headers, read_checkpoint, "model.safetensors"
    ),
    "hfq": Loader(lambda: {"small.hfq": small_hfqm()}, mutated_bytes, read_checkpoint, "model.hfq"),
    "index": Loader(
        lambda: corpus("*.index.json"), mutated_json_text, read_checkpoint, "model.safetensors.index.json",
        lambda: {"part.safetensors": (CORPUS / "plain.safetensors").read_bytes()},
    ),
    "published": Loader(
        lambda: {"gptq": published("gptq-reordered")["model.safetensors"]}, mutated_headers, lambda path: read_checkpoint(path.parent),
        "model.safetensors", lambda: {"config.json": published("gptq-reordered")["config.json"]},
    ),
    "quantization_config": Loader(
        lambda: {"ct": published("ct-int4-zero-points")["config.json"]}, mutated_json_text, lambda path: read_checkpoint(path.parent),
        "config.json", lambda: {"model.safetensors": published("ct-int4-zero-points")["model.safetensors"]},
    ),
    "config": Loader(lambda: corpus("config/*.json"), mutated_json_text, read_config, "config.json"),
    "tokenizer": Loader(lambda: corpus("tokenizer/tokenizer*.json"), mutated_json_text, read_vocabulary, "tokenizer.json"),
    "tokenizer_config": Loader(
        lambda: corpus("tokenizer_config.json"), mutated_json_text, read_vocabulary, "tokenizer_config.json", TOKENIZER
    ),
    "generation_config": Loader(
        lambda: corpus("generation_config.json"), mutated_json_text, read_vocabulary, "generation_config.json", TOKENIZER
    ),
    "special_tokens_map": Loader(
        lambda: corpus("special_tokens_map.json"), mutated_json_text, read_vocabulary, "special_tokens_map.json", TOKENIZER
    ),
    "gguf_keys": Loader(lambda: corpus("keys/*.json"), mutated_json_text, read_gguf_vocabulary, "keys.json"),
    "hfm": Loader(lambda: {p.name: p.read_bytes() for p in sorted(MODELS.glob("*.hfm"))}, mutated_text, read_description, "model.hfm"),
    "hfm_graph": Loader(
        lambda: {"llama.hfm": (MODELS / "llama.hfm").read_bytes()}, mutated_text, read_described_model, "model.hfm"
    ),
    "ir": Loader(lambda: corpus("*.ir"), mutated_text, lambda path: parse_graph(path.read_text(errors="replace"), path.name), "graph.ir"),
    "bundle": Loader(
        lambda: {"small.hfp": small_bundle()}, mutated_bundle, lambda path: read_bundle(path.read_bytes(), path.name), "model.hfp"
    ),
    "npy": Loader(lambda: {"tokens.npy": small_npy()}, mutated_bytes, read_tokens, "tokens.npy"),
    "gguf_config": Loader(lambda: {"keys.json": gguf_keys()}, mutated_json_text, read_gguf_config, "keys.json"),
    "imatrix": Loader(lambda: corpus("imatrix*"), mutated_bytes, read_imatrix, "imatrix.dat"),
}  # fmt: skip


def small_npy() -> bytes:
    out = io.BytesIO()
    np.save(out, np.arange(9, dtype=np.int32))
    return out.getvalue()


def gguf_keys() -> bytes:
    """The keys of a GGUF but for its tokenizer, as JSON."""
    with open_checkpoint(GGUF) as checkpoint:
        plain = {key: getattr(value, "tolist", lambda value=value: value)() for key, value in checkpoint.config.items()}
    return json.dumps({key: value for key, value in plain.items() if not key.startswith("tokenizer.")}).encode()


def small_bundle() -> bytes:
    """A plan with one of everything, for a GPU whose code objects are text."""
    counts = {"step": 64, "row": 64, "segment": 0, "context": 4}
    states = (("kv", "k"), ("kv", "v"), ("memory", ""), ("memory", "journal"))
    pointers = (
        Pointer.buffer("x"), Pointer.weight("w"), Pointer.const("rope"), *(Pointer.state(*names) for names in states)
    )  # fmt: skip
    launch = Launch("kernel", pointers, ("(T + 3) / 4", "G", "(C > 128) * 2"), 64, 0, "text", counts, counts)
    own = Launch("sample", (Pointer.buffer("x"), PARAMETERS, TOKENS), ("R", "1", "1"), 64, 0, "sample", counts, counts)
    weight, table = tensor("w.weight"), apply("rope_table", rotary=8, theta=1e4)
    plan = Plan(
        "sm_90", 64, 2, 16, 4, 32, 4096, "x", (Buffer("x", "f32", 128, "T", 0, 2048),),
        (WeightRef("w", apply("rows", weight, axis=0, start=0, stop=4), "q4_0", (4, 64), "rows"),), (ConstRef("rope", table, ("C", 8)),),
        (StateRef("kv", ("S", 2, "C", 32), {"k": 8192, "v": 8192}, {"k": "f16", "v": "f16"}),
         StateRef("memory", ("S", 4, 4), {"": 64, "journal": 1024}, {"": "f32", "journal": "f32"})),
        (Kernel("kernel", "sm_90/kernel.hsaco", {"vgprs": 8}), Kernel("sample", "sm_90/sample.hsaco")),
        {Program.DECODE: (launch,), Program.PREFILL: (launch,), Program.SAMPLE: (own,)}, "sm_90/tape", {"last_hidden": "x"}, None, 16,
    )  # fmt: skip
    entry = lambda name, n: f".visible .entry {name}({', '.join(f'.param .u64 p{i}' for i in range(n))}) {{ }}".encode()  # noqa: E731
    files = {
        "sm_90/kernel.hsaco": entry("kernel", 8), "sm_90/sample.hsaco": entry("sample", 4), "sm_90/tape-x86_64.so": b"tape",
    }  # fmt: skip
    options = {"ctx": 64, "slots": 2, "max_rows": 16, "kv": None, "format": "bf16", "draft": "off", "taps": []}
    return Bundle(
        {"name": "m", "kind": "hf", "weights": "w", "context": 64, "options": options}, {"sm_90": plan}, files
    ).pack()


def small_hfqm() -> bytes:
    x = np.random.default_rng(3).standard_normal((2, 256)).astype(np.float32)
    tensors = {
        "norm": entry(READABLE["f16"], x[0, :8]),
        "matrix": entry(READABLE["mq4g256v2"], x),
        "conv": entry(READABLE["q8_0"], x[:1, :64], (16, 1, 4)),
        "odd": (19, (3, 4), bytes(range(12))),
        "rows": entry(READABLE["hfp4g32"], x),
    }
    return hfqm(tensors, {"model_type": "llama"}, align=64, tokenizer='{"a": "}"}', tokenizer_config={"b": [1, {}]})


def read(loader: Loader, folder: Path, content: bytes) -> str:
    """ "read", or "refused"; any other exception comes through."""
    path = folder / loader.file
    path.write_bytes(content)
    try:
        loader.read(path)
    except HfcError as error:
        str(error)
        return "refused"
    return "read"


def prepare(loader: Loader, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in loader.beside().items():
        (folder / name).write_bytes(content)


def cases(loader: Loader, first: int, count: int) -> Iterator[tuple[int, bytes]]:
    for seed in range(first, first + count):
        yield seed, damaged(loader, seed)
