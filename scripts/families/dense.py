"""Dense families: attention and one MLP in every layer."""

from __future__ import annotations

from families import Family, family

FAMILIES: dict[str, Family] = {
    "qwen2": family("Qwen2", 11, tie_word_embeddings=True),
}  # fmt: skip
