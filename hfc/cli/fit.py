"""`hfc fit`: what a model needs on a card, before anything is loaded or compiled."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from hfc.base.diagnostics import HfcError
from hfc.cli.compile import model_of
from hfc.cli.open_model import resolve
from hfc.cli.parameters import Draft, KvFormat, ModelName, Weights
from hfc.compiler import open_source, outline, settings_for
from hfc.runtime.fit import need_of, table
from hfc.runtime.speculate.drafts import OFF, check_draft
from hfc.target.arch import find_arch

UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def command(
    model: ModelName,
    vram: Annotated[str, typer.Option(help="Memory of the card: 8G, 24G, 196608M.")],
    ctx: Annotated[str | None, typer.Option("--ctx", help="Tokens of context: 4096, 32k.")] = None,
    slots: Annotated[int, typer.Option(min=1, help="Sequences at a time.")] = 1,
    kv: KvFormat = None,
    format: Annotated[str, typer.Option(help="Weight format, where MODEL is a config without weights.")] = "bf16",
    arch: Annotated[str, typer.Option(help="Architecture to plan for.")] = "gfx1100",
    weights: Weights = None,
    draft: Draft = OFF,
) -> None:
    """Print the memory plan: weights, scratch, state, the largest context. Exit code 1 if it does not fit."""
    check_draft(draft)
    source = open_source(resolve(model).path, weights, format, model_of(draft, None))
    memory = size_of(vram)
    settings = settings_for(source, find_arch(arch), kv, size_of(ctx) if ctx else None, slots=slots)
    need = need_of(outline(source, settings))
    print(table(need, memory))
    if need.total > memory:
        print(f"does not fit {vram}: {need.total - memory:,} bytes too many")
        raise typer.Exit(1)
    print(f"fits {vram}")


def size_of(text: str) -> int:
    """ "24G" -> 25769803776, "32k" -> 32768. Raises HfcError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmg]?)i?b?", text.strip().lower())
    if not match:
        raise HfcError(f"{text!r} is not a size like 24G or 32k")
    return int(float(match[1]) * UNITS[match[2]])
