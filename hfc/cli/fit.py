"""`hfc fit`: what a model needs on a card, before anything is loaded or compiled."""

from __future__ import annotations

import re

from hfc.base.diagnostics import HfcError
from hfc.cli.compile import model_of
from hfc.cli.open_model import resolve
from hfc.compiler import CompileOptions, open_source, outline, settings_for
from hfc.predict.cards import find_cards
from hfc.runtime.fit import need_of, table
from hfc.runtime.speculate.drafts import check_draft
from hfc.target.arch import find_arch

GIB = 1 << 30
UNITS = {"": GIB, "m": 1 << 20, "g": GIB}
MOST_GIB = 4096  # a larger number without a unit was meant as something else


def command(
    model: str,
    vram: str | None,
    ctx: int | None,
    slots: int,
    kv: str | None,
    format: str,
    arch: str,
    weights: str | None,
    draft: str,
    card: str | None,
) -> None:
    """Print the memory plan: weights, scratch, state, the largest context. Exit code 1 if it does not fit."""
    check_draft(draft)
    source = open_source(resolve(model).path, weights, format, model_of(draft, None))
    if card:
        known_arch, known = find_cards(card)[0]
        arch, vram = known_arch.name, vram or f"{known.memory_gb}G"
    if vram is None:
        raise HfcError("hfc fit needs --vram or --card", hint="--vram 24G, --card 'RX 7900 XTX'")
    memory = size_of(vram)
    settings = settings_for(source, find_arch(arch), CompileOptions(kv=kv, ctx=ctx, slots=slots))
    need = need_of(outline(source, settings))
    print(table(need, memory, source.context_limit))
    if need.total > memory:
        print(f"does not fit {memory / GIB:g} GiB: {need.total - memory:,} bytes too many")
        raise SystemExit(1)
    print(f"fits {memory / GIB:g} GiB" + (f"; how fast it is: hfc predict {model} --card {card!r}" if card else ""))


def size_of(text: str) -> int:
    """ "24G" -> 25769803776; a bare "24" is GiB, as on the box. Raises HfcError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([mg]?)i?b?", text.strip().lower())
    if not match or (not match[2] and float(match[1]) > MOST_GIB):
        raise HfcError(f"--vram {text}: expected a size like 24G or 16384M", hint="a number alone is GiB")
    return int(float(match[1]) * UNITS[match[2]])
