"""Bound regions and a launch list to one shared library: kernels, threads and tape as a single C file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path

from hfc.backend.exchange import MEET
from hfc.backend.host.pack import pack_source
from hfc.backend.library import build_for_cpu
from hfc.backend.render import render, variables_of
from hfc.backend.skeletons import SKELETONS
from hfc.backend.spec import Bound
from hfc.backend.step_words import step_words_source

SHARED = ("host/math.h", "scalar.h")  # before the step buffer's words
HEADERS = (
    "step.h", "host/hfc.h", "host/tile.h", "host/rotate.h", "host/transpose.h", "host/attend.h", "host/recurrence.h", "host/pack.h"
)  # fmt: skip
MEETING = ("ranks.h", "host/exchange.h")  # of plans that are a rank of several
PLANES = 2  # bytes of an activation in integer dots: 2 keeps 15 bits, 1 is what other engines do
BACKEND = Path(__file__).parent.parent


def host_source(bound: Bound, context: int, planes: int = PLANES) -> str:
    """The C text of one region. context: tokens a slot of a KV cache holds."""
    path = SKELETONS[bound.stem].host
    assert path, f"{bound.stem}: no kernel for the host"
    region = {f.name: getattr(bound.region, f.name) for f in fields(bound.region)}
    standard = dict(name=bound.name, args=bound.args, rows=bound.rows, planes=planes, context=context)
    given, wanted = {**region, **standard}, variables_of(path)
    undeclared = wanted - given.keys()
    assert not undeclared, f"{path}: used and not declared: {', '.join(sorted(undeclared))}"
    return render(path, **{name: given[name] for name in wanted})


def library_source(
    bounds: Iterable[Bound],
    launches: Sequence[tuple[str, Sequence[int]]],
    max_rows: int,
    context: int,
    planes: int = PLANES,
    contract: str = "",
    packed: Iterable[str] = (),
) -> str:
    """One file that needs only the C library. launches: (kernel name, index of each pointer in the table given to hfc_create).

    contract: of the plan that it is for.  packed: weight formats whose packers it exports, see host/pack.py."""
    bounds = list(bounds)
    kernels = "\n".join(host_source(bound, context, planes) for bound in bounds)
    meets = [_header((BACKEND / name).read_text()) for name in MEETING if any(name == MEET for name, _ in launches)]
    tape = render("host/tape.c.j2", launches=launches, names=[bound.name for bound in bounds], contract=contract)
    return "\n".join((header_source(max_rows), *meets, kernels, *map(pack_source, packed), tape))


def header_source(max_rows: int) -> str:
    """What every file starts with: the C library's headers and ours."""
    system = ("stdatomic.h", "stddef.h", "stdint.h", "string.h")
    includes = "".join(f"#include <{name}>\n" for name in system)
    first, rest = ("\n".join(_header((BACKEND / name).read_text()) for name in names) for names in (SHARED, HEADERS))
    return f"#define _GNU_SOURCE\n{includes}#define MAX_ROWS {max_rows}\n{first}\n{step_words_source()}\n{rest}"


def build_host_library(
    bounds: Iterable[Bound],
    launches: Sequence[tuple[str, Sequence[int]]],
    max_rows: int,
    context: int,
    cpu: str = "native",
    planes: int = PLANES,
    contract: str = "",
    packed: Iterable[str] = (),
) -> Path:
    """The cached shared library. cpu: "native", or a name that clang knows (x86_64_v3)."""
    source = library_source(bounds, launches, max_rows, context, planes, contract, packed)
    return build_for_cpu(source, cpu)


def _header(text: str) -> str:
    """As a part of one file."""
    return "\n".join(line for line in text.splitlines() if not line.startswith(('#include "', "#pragma once")))
