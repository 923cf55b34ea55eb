"""`hfc doctor`: what is right and wrong on this machine, each with what mends it, and what a bug report needs."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict

from hfc import __version__
from hfc.backend.host.plan import cpu_features
from hfc.backend.toolchain import toolchain
from hfc.base.cache import cache_folder
from hfc.base.diagnostics import HfcError
from hfc.base.knobs import KNOBS, knob
from hfc.base.system import thread_count
from hfc.cli.checks import FAIL, Check, check_cache, check_environment, check_machine, check_runtime
from hfc.cli.table import table
from hfc.runtime.devices import find_cards
from hfc.runtime.hip_library import find_hip_library
from hfc.runtime.kfd import Who, read_machine
from hfc.runtime.registry import REGISTRY, find_local

PACKAGES = (
    "numpy", "lark", "jinja2", "networkx", "tokenizers", "sentencepiece", "rich", "ziglang", "huggingface-hub", "fastapi",
    "uvicorn", "llguidance", "prometheus-client", "cuda-bindings", "rocm-bindings-hip",
)  # fmt: skip
# What the host kernels choose by, as Linux names it.
CPU_FEATURES = ("f16c", "fma", "avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "asimddp", "i8mm", "bf16")


def command() -> None:
    checks = all_checks()
    print(show(checks))
    print()
    print(table(("what", "found"), facts()))
    if any(check.state == FAIL for check in checks):
        raise SystemExit(1)


def all_checks() -> list[Check]:
    machine = read_machine()
    return [
        *check_machine(machine, Who.me()),
        *check_runtime(machine, find_hip_library(), find_cards()),
        *check_environment(os.environ),
        *check_cache(cache_folder(), _toolchain()),
    ]


def show(checks: list[Check]) -> str:
    """A line for each check, under it what mends it."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{check.state}  {check.name:{width}}  {check.found}")
        if check.mend:
            lines.append(f"      {'':{width}}  -> {check.mend}")
    return "\n".join(lines)


def facts() -> list[tuple[str, str]]:
    """What a bug report needs."""
    cores = thread_count()
    return [
        ("hfc", __version__),
        ("python", f"{platform.python_version()} at {sys.executable}"),
        ("system", f"{platform.system()} {platform.release()} {platform.machine()}, {cores} cores"),
        (
            "CPU features",
            _try(lambda: " ".join(f for f in CPU_FEATURES if f in cpu_features().split()) or "none of note"),
        ),
        *((f"device {card.device}", str(asdict(card.info))) for card in find_cards().cards),
        ("packages", ", ".join(f"{name} {_version(name)}" for name in PACKAGES)),
        *((f"model {e.name}", str(path)) for e in REGISTRY.values() if (path := find_local(e))),
        *((f"knob {name}", f"{_try(lambda name=name: str(knob(name)))}: {KNOBS[name].effect}") for name in KNOBS),
    ]


def _toolchain() -> str | HfcError:
    try:
        return toolchain().version.splitlines()[0]
    except HfcError as error:
        return error


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
