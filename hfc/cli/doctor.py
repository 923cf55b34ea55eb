"""`hfc doctor`: what hfc finds on this machine, for bug reports."""

from __future__ import annotations

import ctypes.util
import importlib.metadata
import os
import platform
import sys
from collections.abc import Callable
from contextlib import suppress

from hfc import __version__
from hfc.backend.host.plan import cpu_features
from hfc.backend.toolchain import toolchain
from hfc.base.cache import cache_folder
from hfc.base.diagnostics import HfcError
from hfc.base.knobs import KNOBS, knob
from hfc.cli.table import table
from hfc.runtime.executor import OPENERS
from hfc.runtime.registry import REGISTRY, find_local
from hfc.target.arch import ARCHS, GENERIC

PACKAGES = (
    "numpy", "lark", "jinja2", "networkx", "safetensors", "gguf", "ml-dtypes", "tokenizers", "sentencepiece", "rich",
    "ziglang", "huggingface-hub", "cuda-bindings", "rocm-bindings-hip",
)  # fmt: skip
# What the host kernels choose by, as Linux names it.
CPU_FEATURES = ("f16c", "fma", "avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "asimddp", "i8mm", "bf16")


def command() -> None:
    """Print versions, compilers, devices, knobs and models. Paste it into a bug report."""
    rows = [
        ("hfc", __version__),
        ("python", f"{platform.python_version()} at {sys.executable}"),
        (
            "system",
            f"{platform.system()} {platform.release()} {platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        ),
        (
            "CPU features",
            _try(lambda: " ".join(f for f in CPU_FEATURES if f in cpu_features().split()) or "none of note"),
        ),
        ("compiler", _try(lambda: toolchain().version.splitlines()[0])),
        ("cache", f"{cache_folder()} ({_size_mb(cache_folder()):.0f} MB)"),
        ("libamdhip64", ctypes.util.find_library("amdhip64") or "not found: no AMD device can be used"),
        *((f"device {kind}", _try(lambda kind=kind: describe_devices(kind))) for kind in OPENERS),
        ("packages", ", ".join(f"{name} {_version(name)}" for name in PACKAGES)),
        *((f"model {e.name}", str(find_local(e) or "not here yet")) for e in REGISTRY.values()),
        *((f"knob {name}", f"{_try(lambda name=name: str(knob(name)))}: {KNOBS[name].effect}") for name in KNOBS),
    ]
    print(table(("what", "found"), rows))


def describe_devices(kind: str) -> str:
    """Every card that the driver knows. HfcError when there is none."""
    found = [OPENERS[kind]().info]
    with suppress(HfcError):  # the first number that the driver does not know
        while True:
            found.append(OPENERS[kind](len(found)).info)
    return "; ".join(
        f"{kind}:{i.index} {i.name}, {i.arch}{'' if i.arch in (*ARCHS, *GENERIC) else ' (no row in ARCHS)'}, {i.compute_units} CUs, {i.memory_bytes / 2**30:.1f} GiB"
        for i in found
    )


def _try(find: Callable[[], str]) -> str:
    """What was found, or the message of why not: one broken part must not hide the others."""
    try:
        return find()
    except HfcError as error:
        return str(error).removeprefix("error: ").replace("\n", " ")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _size_mb(folder) -> float:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6
