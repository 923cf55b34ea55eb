"""A compilation as a folder: the graph after each pass, and every kernel's source and assembly, in the order in which they are made."""

from __future__ import annotations

from pathlib import Path

from hfc.base.diagnostics import HfcError
from hfc.compiler import CompilerInput
from hfc.ir.graph import Graph
from hfc.ir.text import print_graph
from hfc.passes.settings import Settings
from hfc.workbench.remade import Remade

MARK = "hfc-dump.txt"  # says that the folder is one of ours, and what was dumped


def begin_dump(folder: Path, force: bool, title: str) -> None:
    """A new folder. One that exists is refused; `force` empties it where it is a dump."""
    if folder.exists():
        if not folder.is_dir():
            raise HfcError(f"--dump {folder}: there is a file of that name", hint="name a folder that does not exist")
        if not force:
            raise HfcError(
                f"--dump {folder}: the folder exists", hint="--force writes over it, or name one that does not exist"
            )
        if any(folder.iterdir()) and not (folder / MARK).is_file():
            raise HfcError(
                f"--dump {folder}: the folder holds other things than a dump, and --force would mix with them",
                hint="name a folder that does not exist, or an older dump",
            )
        for old in sorted(folder.rglob("*"), reverse=True):
            old.rmdir() if old.is_dir() and not old.is_symlink() else old.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).write_text(title + "\n")


def dump_plan(folder: Path, opened: CompilerInput, settings: Settings) -> Remade:
    """Graphs and sources of one architecture, before anything is compiled: what is written stays when compiling fails."""
    place = folder / settings.arch.name
    (place / "ir").mkdir(parents=True)
    number = 0

    def after(name: str, graph: Graph) -> None:
        nonlocal number
        (place / "ir" / f"{number:02}-{graph.name}-{name}.ir").write_text(print_graph(graph))
        number += 1

    graphs = opened.pair(settings.taps) if opened.draft else None
    for graph in (graphs.target, graphs.draft) if graphs else (opened.graph(settings.taps),):
        after("built", graph)
    remade = Remade(opened, settings, after)
    (place / "source").mkdir()
    for at, symbol in enumerate(remade.symbols):
        (place / "source" / f"{at:02}-{symbol}{'.c' if remade.is_host else '.hip'}").write_text(remade.source(symbol))
    return remade


def dump_assembly(folder: Path, remade: Remade) -> None:
    """What the code objects were made from; after `dump_plan`."""
    place = folder / remade.settings.arch.name / "assembly"
    place.mkdir()
    for at, symbol in enumerate(remade.symbols):
        (place / f"{at:02}-{symbol}.s").write_text(remade.assembly(symbol))
