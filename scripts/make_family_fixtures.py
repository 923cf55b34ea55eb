"""Writes tests/data/families: a tiny random checkpoint of every shipped family with what transformers computes from it in float32.

usage: python scripts/make_family_fixtures.py [NAME...] [--llama-cpp SOURCES] [--llama-lib FOLDER]

Needs torch, transformers, safetensors and gguf; the tests need only gguf. A folder holds config.json, model.safetensors (bf16) and
reference.npz: tokens, logits of the whole prompt, greedy tokens with their logits, and every layer's state after the prompt; gguf_reference.npz
the same with the settings that llama.cpp's files cannot say as every reader of them takes these, where a family has such.
SOURCES: a checkout of llama.cpp, whose converter then writes model.gguf; put its gguf-py into PYTHONPATH, since the released gguf is older.  FOLDER: its shared libraries; reference.npz then has what
llama.cpp computes from that file (through ../shared/tools/llamacpp_oracle.py).
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import transformers
from families import Family
from make_fixtures import draw as draw_recurrent
from make_fixtures import token_by_token
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "tests/data/families"
PROMPT, GREEDY = 20, 8
MARGIN = 0.02  # between a greedy token's logit and the next: other devices round differently
RECURRENT = ("A_log", "dt_bias", "conv1d.weight", "conv.weight")


def tables() -> dict[str, Family]:
    found: dict[str, Family] = {}
    for path in sorted((Path(__file__).parent / "families").glob("[a-z]*.py")):
        found |= importlib.import_module(f"families.{path.stem}").FAMILIES
    return found


def draw(name: str, initial: torch.Tensor, config, generator: torch.Generator) -> torch.Tensor:
    """Values that keep activations near 1 and exercise every term: what is constant at first (norms, biases) varies around that,
    matrices keep the size of their inputs, a head is loud enough for clear choices."""
    shape = tuple(initial.shape)
    if name.endswith(RECURRENT):
        return draw_recurrent(name, shape, config, generator)
    normal = torch.randn(*shape, generator=generator)
    if initial.ndim <= 1 or initial.min() == initial.max():
        return initial.flatten()[:1].reshape([1] * initial.ndim) + 0.25 * normal
    if name.endswith("wpe.weight"):
        return normal * 0.7  # positions: beside a tied embedding they must be heard
    if "embed" in name or name.endswith("wte.weight"):
        return normal * (0.2 if config.tie_word_embeddings else 0.7)  # a tied head would repeat the last token
    return normal * ((2.5 if "lm_head" in name else 1.2) / shape[-1] ** 0.5)


def make(name: str, family: Family, out: Path) -> None:
    """The first seed from the family's on whose greedy choices are clear."""
    for seed in range(family.seed, family.seed + 4000, 1000):
        model, reference, margin = model_and_reference(family, seed)
        if margin >= MARGIN and len(set(reference["greedy_tokens"].tolist())) > 2:
            break
    else:
        raise SystemExit(f"{name}: greedy choices are never clear (the last margin is {margin:.3f})")
    out.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(out)
    (out / "generation_config.json").unlink(missing_ok=True)
    if family.published:
        config = json.loads((out / "config.json").read_text()) | family.published
        config = {key: value for key, value in config.items() if value is not None}
        (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    if family.names:
        rename(out / "model.safetensors", family.names)
    (out / "model.safetensors").chmod(0o644)
    np.savez_compressed(out / "reference.npz", **reference)
    if family.lost:
        said = replace(family, config={**family.config, **family.lost})
        reference = {
            key: value for key, value in model_and_reference(said, seed)[1].items() if not key.startswith("state.")
        }
        np.savez_compressed(out / "gguf_reference.npz", **reference)
    print(
        f"{name}: seed {seed}, logits std {reference['prefill_logits'].std():.2f}, margin {margin:.3f}, greedy {reference['greedy_tokens'].tolist()}"
    )


def rename(path: Path, names: dict[str, str]) -> None:
    """Tensors as published checkpoints name them."""
    tensors = load_file(path)
    for ours, published in names.items():
        tensors = {name.replace(ours, published): value for name, value in tensors.items()}
    save_file(tensors, path, {"format": "pt"})


def model_and_reference(family: Family, seed: int):
    config = getattr(transformers, family.config_class)(**family.config)
    config._attn_implementation, config._experts_implementation = family.attention, "eager"
    torch.manual_seed(seed)  # vectors that the model draws itself (sinks) are alike in both references
    model = getattr(transformers, family.model_class)(config).float().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            parameter.copy_(draw(name, parameter, config, generator).to(torch.bfloat16).float())
        stored = model.state_dict()  # a buffer that is not computed from the config: biases that only select
        for name, buffer in sorted(model.named_buffers()):
            if name in stored and buffer.is_floating_point() and buffer.ndim > 0:
                buffer.copy_(draw(name, buffer, config, generator).to(torch.bfloat16).float())
            elif name in stored and buffer.ndim == 2:  # the experts of each token
                order = torch.rand(len(buffer), config.n_routed_experts, generator=generator).argsort(dim=-1)
                buffer.copy_(order[:, : buffer.shape[1]])
        model.tie_weights()
        reference, margin = run(model, torch.randint(3, family.config["vocab_size"], (1, PROMPT), generator=generator))
    return model, reference, margin


def run(model, prompt: torch.Tensor) -> tuple[dict[str, np.ndarray], float]:
    """What the tests compare with, and how clear the closest greedy choice was."""
    whole = model(input_ids=prompt, use_cache=True)
    if not hasattr(whole, "cache"):
        return run_without_cache(model, prompt)
    reference = {"tokens": prompt[0].numpy().astype(np.int32), "prefill_logits": whole.logits[0].numpy()}
    cache, last, tokens, logits, margins = whole.cache, whole.logits[0, -1], [], [], []
    for _ in range(GREEDY):
        best = last.topk(2)
        margins.append(float(best.values[0] - best.values[1]))
        tokens.append(int(best.indices[0]))
        last = model(input_ids=best.indices[:1][None], cache=cache, use_cache=True).logits[0, -1]
        logits.append(last.numpy())
    reference |= {"greedy_tokens": np.array(tokens, np.int32), "greedy_logits": np.stack(logits)}
    stepwise, cache = token_by_token(model, prompt)
    error = np.linalg.norm(stepwise - reference["prefill_logits"]) / np.linalg.norm(reference["prefill_logits"])
    assert error < 1e-5, f"transformers: token by token differs from the whole prompt by {error:.1e}"
    return reference | states(cache), min(margins)


def run_without_cache(model, prompt: torch.Tensor) -> tuple[dict[str, np.ndarray], float]:
    """Of a model that keeps its state in itself (RecurrentGemma): everything from the start for each greedy token, and no states."""
    reference, tokens, logits, margins = {"tokens": prompt[0].numpy().astype(np.int32)}, prompt, [], []
    for _ in range(GREEDY + 1):
        logits.append(model(input_ids=tokens, use_cache=False).logits[0])
        best = logits[-1][-1].topk(2)
        margins.append(float(best.values[0] - best.values[1]))
        tokens = torch.cat([tokens, best.indices[None, :1]], dim=1)
    greedy = tokens[0, PROMPT : PROMPT + GREEDY].numpy().astype(np.int32)
    behind = np.stack([one[-1].numpy() for one in logits[1:]])
    return reference | {"prefill_logits": logits[0].numpy(), "greedy_tokens": greedy, "greedy_logits": behind}, min(
        margins[:-1]
    )


def states(cache) -> dict[str, np.ndarray]:
    """Every layer's state after the prompt; a sliding layer keeps only its window."""
    found = {}
    for at, layer in enumerate(cache.layers):
        parts = {
            "k": "keys",
            "v": "values",
            "window": "conv_states",
            "memory": "recurrent_states",
        }
        for part, attribute in parts.items():
            value = getattr(layer, attribute, None)
            value = value[0] if isinstance(value, (list, tuple)) and value else value
            value = value.get(0) if isinstance(value, dict) else value
            if isinstance(value, torch.Tensor) and value.numel():
                found[f"state.{at}.{part}"] = value[0].float().numpy()
        entries = getattr(layer, "compressed_kv", {}) | {"index": getattr(layer, "indexer_keys", None)}
        entries = {"entries": entries.get("compressor"), "index": entries.get("indexer", entries["index"])}
        found |= {f"state.{at}.{part}": x[0].float().numpy() for part, x in entries.items() if x is not None}
    return found


def convert(folder: Path, sources: Path, as_published: bool) -> None:
    """model.gguf, by llama.cpp's own converter; the vocabulary is made up, since these checkpoints have no tokenizer.

    as_published: it reads config.json itself and not what transformers 5 makes of it, which has keys of the whole family."""
    sys.path.insert(0, str(sources))
    conversion, gguf = importlib.import_module("conversion"), importlib.import_module("gguf")
    hparams = conversion.ModelBase.load_hparams(folder, False)
    kind = conversion.get_model_class(conversion.get_model_architecture(hparams, conversion.ModelType.TEXT))

    count = hparams.get("text_config", hparams)["vocab_size"]
    tokenizer = folder / "tokenizer.json"  # some count its tokens
    tokenizer.write_text(json.dumps({"model": {"vocab": {f"t{n}": n for n in range(count)}}, "added_tokens": []}))
    with torch.inference_mode():
        kind.no_mtp = True
        own = {"hparams": json.loads((folder / "config.json").read_text())} if as_published else {}
        model = kind(folder, gguf.LlamaFileType.MOSTLY_BF16, folder / "model.gguf", **own)
        for part in (model, getattr(model, "impl", model)):  # some delegate
            part.set_vocab = partial(add_vocabulary, part)
        model.write()
    tokenizer.unlink()


def add_vocabulary(model) -> None:
    """In place of the converter's, which reads the tokenizer."""
    writer, count = model.gguf_writer, {**model.hparams, **model.hparams.get("text_config", {})}["vocab_size"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    needed = ["<unk>", "<s>", "</s>", "<|endoftext|>"]  # Phi 3 asks for these by name
    writer.add_token_list(needed + [f"t{n}" for n in range(4, count)])
    writer.add_token_types([1] * count)
    writer.add_token_merges(["t 0"])  # llama.cpp refuses a vocabulary without
    writer.add_eos_token_id(2)


def add_llama_cpp(folder: Path, library: Path) -> None:
    """What llama.cpp computes from model.gguf, into reference.npz."""
    sys.path.insert(0, str(ROOT.parent / "shared/tools"))
    oracle = importlib.import_module("llamacpp_oracle")
    with np.load(folder / "reference.npz") as file:
        reference = dict(file)
    try:
        logits = oracle.Llama(str(library), folder / "model.gguf", n_ctx=256).logits(reference["tokens"].tolist())
    except AssertionError:  # some architectures ask for tokens of their own by name
        print(f"{folder.name}: llama.cpp does not load the made-up vocabulary")
        return
    of_file = folder / "gguf_reference.npz"
    with np.load(of_file if of_file.exists() else folder / "reference.npz") as file:
        expected = file["prefill_logits"]
    error = np.linalg.norm(logits - expected) / np.linalg.norm(expected)
    np.savez_compressed(folder / "reference.npz", **{**reference, "llamacpp_logits": logits})
    print(f"{folder.name}: llama.cpp differs from transformers by {error:.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--llama-cpp", type=Path)
    parser.add_argument("--llama-lib", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    known = tables()
    for name in given.names or known:
        make(name, known[name], OUT / name)
        if given.llama_cpp and known[name].gguf:
            convert(OUT / name, given.llama_cpp, bool(known[name].published))
            if given.llama_lib:
                add_llama_cpp(OUT / name, given.llama_lib)


if __name__ == "__main__":
    main()
