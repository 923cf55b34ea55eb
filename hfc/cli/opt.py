"""`hfc opt`: run passes over a graph and print it."""

from __future__ import annotations

import sys
from pathlib import Path

from hfc.base.diagnostics import HfcError
from hfc.cli.open_model import resolve
from hfc.compiler import CompileOptions, open_source, settings_for
from hfc.ir.graph import Graph
from hfc.ir.text import parse_graph, print_graph
from hfc.passes.pipeline import PIPELINE, run_passes
from hfc.passes.settings import Settings, parse_kv
from hfc.target.arch import find_arch

GRAPH_SUFFIX = ".ir"


def command(
    model: str,
    passes: str | None,
    arch: str,
    weights: str | None,
    kv: str | None,
    ctx: int | None,
    print_after_all: bool,
    list_passes: bool,
) -> None:
    """Print a model's graph as text, after all passes or the chosen ones."""
    if list_passes:
        print("\n".join(f"{row.name}: {row.reason}" for row in PIPELINE))
        return
    graph, settings = read_text(model, arch, kv, ctx) if is_text(model) else read_model(model, weights, arch, kv, ctx)
    only = None if passes is None else [] if passes == "none" else [name.strip() for name in passes.split(",")]
    after = (lambda name, result: print(f"# after {name}\n{print_graph(result)}")) if print_after_all else None
    result = run_passes(graph, settings, only, after)
    if not print_after_all:
        print(print_graph(result), end="")


def is_text(model: str) -> bool:
    return model == "-" or Path(model).suffix == GRAPH_SUFFIX


def read_model(model: str, weights: str | None, arch: str, kv: str | None, ctx: int | None) -> tuple[Graph, Settings]:
    source = resolve(model)
    if source.kind == "bundle":
        raise HfcError(f"{model} is a bundle: its graph is compiled away", hint="give the model that it was made from")
    opened = open_source(source.path, weights)
    return opened.graph(), settings_for(opened, find_arch(arch), CompileOptions(kv=kv, ctx=ctx))


def read_text(path: str, arch: str, kv: str | None, ctx: int | None) -> tuple[Graph, Settings]:
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise HfcError(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}") from None
    k_format, v_format, edges = parse_kv(kv)
    context = ctx or 128
    settings = Settings(find_arch(arch), context, 1, context, context, k_format, v_format, kv_edges=edges)
    return parse_graph(text, path), settings
