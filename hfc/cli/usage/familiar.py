"""Flags that people know from llama.cpp, Ollama and vLLM: what hfc does instead, in one line each.

Where a flag cannot change the answer, it is accepted with that line as a note; else the line is the hint of a refusal."""

from __future__ import annotations

from typing import NamedTuple


class Familiar(NamedTuple):
    """words: 1 if a value follows.  argument: the value is that argument.  is_refused: it would change what comes out."""

    instead: str
    words: int = 0
    argument: str = ""
    is_refused: bool = False


_LAYERS = Familiar("--device takes the whole model, or with --experts host all but a mixture's experts", 1)
_FUSED = Familiar("attention is always fused")
_BATCH = Familiar("a step takes as many tokens as fit", 1)
_MAPPED = Familiar("the CPU reads weights from the mapped file, a card has its own copy")
_ONE_CARD = Familiar(
    "--device hip:1 is one card; several share a model by --tensor-parallel, or by layers: --devices 0,1",
    1,
    is_refused=True,
)
_KV = Familiar("use --kv K/V, e.g. --kv q8/q8", 1, is_refused=True)
_CHAT = Familiar("use hfc chat MODEL", is_refused=True)
_GRAMMAR = Familiar("hfc serve takes response_format in a request", 1, is_refused=True)
_DRAFT = Familiar("the governor chooses how many tokens are drafted, from measured speed", 1)
_VERBOSE = Familiar("the speed is always on standard error; --debug shows the traceback of an error")

_TEXT = Familiar("hfc runs text models", 1, is_refused=True)

FAMILIAR: dict[str, Familiar] = {
    "-m": Familiar("", 1, "model"),
    "--model": Familiar("", 1, "model"),
    "-hf": Familiar("", 1, "model"),
    "--hf-repo": Familiar("", 1, "model"),
    "-p": Familiar("", 1, "prompt"),
    "--prompt": Familiar("", 1, "prompt"),
    **dict.fromkeys(("-ngl", "--n-gpu-layers", "--gpu-layers", "--num-gpu"), _LAYERS),
    **dict.fromkeys(("--cpu-moe", "-cmoe"), Familiar("use --experts host", is_refused=True)),
    **dict.fromkeys(("-fa", "--flash-attn"), _FUSED),
    **dict.fromkeys(("-b", "--batch-size", "-ub", "--ubatch-size"), _BATCH),
    **dict.fromkeys(("--mlock", "--no-mmap", "--mmap"), _MAPPED),
    **dict.fromkeys(("-sm", "--split-mode", "-ts", "--tensor-split", "-mg", "--main-gpu"), _ONE_CARD),
    **dict.fromkeys(("-ctk", "--cache-type-k", "-ctv", "--cache-type-v", "--kv-cache-dtype"), _KV),
    **dict.fromkeys(("-cnv", "--conversation", "-i", "--interactive"), _CHAT),
    **dict.fromkeys(("--grammar", "--grammar-file", "--json-schema"), _GRAMMAR),
    **dict.fromkeys(("--draft-max", "--draft-min", "--draft-n"), _DRAFT),
    **dict.fromkeys(("-v", "--verbose"), _VERBOSE),
    **dict.fromkeys(("--metrics", "--props"), Familiar("the server always tells them")),
    **dict.fromkeys(("--embedding", "--embeddings"), Familiar("every model gives embeddings beside answers")),
    **dict.fromkeys(
        ("--tool-call-parser", "--reasoning-parser"), Familiar("the chat template says how they are written", 1)
    ),
    "--enable-auto-tool-choice": Familiar("a model may always call the tools of a request"),
    "--enable-prefix-caching": Familiar("what was computed before is always used; --cache-mb is its memory"),
    "-tb": Familiar("--threads is for prompts too", 1),
    "--threads-batch": Familiar("--threads is for prompts too", 1),
    "--jinja": Familiar("chat templates are always Jinja"),
    "--cont-batching": Familiar("batches are always continuous"),
    "-cb": Familiar("batches are always continuous"),
    "--no-warmup": Familiar("nothing is run to warm up"),
    "--no-display-prompt": Familiar("the prompt is never repeated"),
    "--no-context-shift": Familiar("a full context ends the answer"),
    "--context-shift": Familiar("a full context ends the answer; --ctx makes it larger", is_refused=True),
    "-no-cnv": Familiar("use --raw", is_refused=True),
    **dict.fromkeys(("--mmproj", "--image", "--images", "--audio", "--video"), _TEXT),
    "--lora": Familiar("merge the adapter into the model first", 1, is_refused=True),
    "--lora-scaled": Familiar("merge the adapter into the model first", 2, is_refused=True),
    "--list-devices": Familiar("use hfc devices", is_refused=True),
    **dict.fromkeys(
        ("--no-think", "--nothink", "-rea", "--reasoning", "--reasoning-budget"),
        Familiar("use --think off", is_refused=True),
    ),
    "--chat-template-kwargs": Familiar("use --var NAME=VALUE", 1, is_refused=True),
    "--hidethinking": Familiar("hfc chat folds what a model thinks"),
    "--nowordwrap": Familiar("lines are never wrapped"),
    "--format": Familiar(
        "--json prints an answer as an object, hfc serve takes response_format; a format of weights: ORG/REPO:q8_0, or hfc quantize",
        1,
        is_refused=True,
    ),
    "--keepalive": Familiar("use hfc serve --idle-unload SECONDS", 1, is_refused=True),
    "--gpu-memory-utilization": Familiar("use --memory-mb", 1, is_refused=True),
    "--rope-freq-base": Familiar("the model's own configuration says it", 1, is_refused=True),
    "--rope-scaling": Familiar("the model's own configuration says it", 1, is_refused=True),
}
