"""Tiny configs of the shipped model families, one table for each kind: what scripts/make_family_fixtures.py makes checkpoints of.

A family is one row here, one models/*.hfm and one folder in tests/data/families, which tests/test_families.py walks over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

VOCAB, HIDDEN, FFN, HEADS, KV_HEADS, HEAD = 96, 32, 64, 4, 2, 16
COMMON = dict(
    vocab_size=VOCAB, hidden_size=HIDDEN, intermediate_size=FFN, num_hidden_layers=2, num_attention_heads=HEADS,
    num_key_value_heads=KV_HEADS, max_position_embeddings=256, bos_token_id=1, eos_token_id=2, pad_token_id=0, tie_word_embeddings=False,
)  # fmt: skip


@dataclass(frozen=True)
class Family:
    """config_class and model_class are transformers'; config: the arguments that make it tiny; seed: of weights and prompt.

    gguf: llama.cpp has a converter and a graph for it.  published: keys as published checkpoints spell them, where transformers 5
    writes other values than its converter knows; None: they have no such key.  lost: keys that its files cannot say, with the values that
    every reader of such a file takes instead: what transformers computes with these is what the file is compared with.
    names: parts of tensor names, and what published checkpoints have in their place.  attention: which of transformers' implementations."""

    config_class: str
    model_class: str
    config: dict[str, Any]
    seed: int
    gguf: bool = True
    published: dict[str, Any] = field(default_factory=dict)
    lost: dict[str, Any] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    attention: str = "eager"


def family(
    stem: str,
    seed: int,
    gguf: bool = True,
    without: tuple[str, ...] = (),
    published: dict[str, Any] | None = None,
    lost: dict[str, Any] | None = None,
    names: dict[str, str] | None = None,
    **config: Any,
) -> Family:
    """A model whose classes are {stem}Config and {stem}ForCausalLM. without: keys of COMMON that its config does not have."""
    arguments = {key: value for key, value in {**COMMON, **config}.items() if key not in without}
    return Family(
        f"{stem}Config", f"{stem}ForCausalLM", arguments, seed, gguf, published or {}, lost or {}, names or {}
    )
