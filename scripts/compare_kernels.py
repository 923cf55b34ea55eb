"""Sources of about 15,000 kernels: record them, and say what differs between two versions of hfc. Compiles nothing.

    python scripts/compare_kernels.py record kernels.zip              # of this tree
    python scripts/compare_kernels.py record --tree ../other other.zip
    python scripts/compare_kernels.py compare other.zip kernels.zip   # or two trees: .. compare ../other .
    python scripts/compare_kernels.py compare other.zip kernels.zip --assembly 40

Every weight format once on every architecture, models and KV formats in turn (few layers each, so that every kind of layer is
there), the hand-made regions of tests/hip_cases.py, two drafts, and all of their host kernels. A kernel's name ends in a digest
of its region's content; recorded are the sources with the digest left out, by a readable name:

    gfx1100/SmolLM2-135M/q4_k/f16/linear_q4_k_k576_n3072_tiled

compare lists every kernel that differs, the first differences, and whether only white space and comments do. --assembly N compiles N of the
changed kernels on both sides and compares instructions, registers and LDS: what only moved into a function stays equal there.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ARCHS = ("gfx906", "gfx908", "gfx90a", "gfx942", "gfx1010", "gfx1030", "gfx1100", "gfx1102", "gfx1201", "sm_90")
DIGEST = re.compile(r"_[0-9a-f]{8}(?=_|\b)")
CONTEXT = 4096


def record(tree: Path, out: Path) -> None:
    """Runs this file with the hfc of `tree` and keeps what it renders."""
    environment = {**os.environ, "PYTHONPATH": f"{tree}{os.pathsep}{tree / 'tests'}"}
    subprocess.run([sys.executable, __file__, "render", str(out)], check=True, env=environment, cwd=tree)


def render(out: Path) -> None:
    """Every kernel of the hfc that is importable, as a zip: index.json (name -> sha256) and each source once."""
    index: dict[str, str] = {}
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name, source in (*models(), *cases(), *drafts()):
            text = DIGEST.sub("", source)
            digest = hashlib.sha256(text.encode()).hexdigest()
            if digest not in index.values():
                file.writestr(f"{digest}.txt", text)
            for number in range(1000):  # kernels that differ in their digest alone
                key = f"{name}#{number}" if number else name
                if index.setdefault(key, digest) == digest:
                    break
        file.writestr("index.json", json.dumps(index, indent=0))
    print(f"{len(index)} kernels, {len(set(index.values()))} different sources -> {out}", file=sys.stderr)


def models() -> Iterator[tuple[str, str]]:
    from hfc.backend.host.build import host_source
    from hfc.base.diagnostics import HfcError
    from hfc.formats import FORMATS, KV_FORMATS
    from hfc.matrix.cells import Place, Planner
    from hfc.matrix.models import REPRESENTATIVES
    from hfc.target.arch import find_arch

    kvs = list(KV_FORMATS)
    for f, weights in enumerate(FORMATS):
        planner, hosts = Planner(quick=True), {}
        for a, name in enumerate(ARCHS):
            for turn in range(len(REPRESENTATIVES)):  # what a model refuses, the next one takes
                model, kv = REPRESENTATIVES[(a + f + turn) % len(REPRESENTATIVES)], kvs[(a + f + turn) % len(kvs)]
                place, arch, jobs = Place(model, name, weights, kv), find_arch(name), {}
                with suppress(HfcError):
                    planner.plan(place, arch, jobs)
                    where = f"{name}/{model}/{weights}/{kv}"
                    yield from ((f"{where}/{DIGEST.sub('', job.name)}", job.source) for job in jobs.values())
                    emitted = planner._emit(place, planner._settings(place, arch))
                    for bound in emitted.kernels.values():  # hosts do not join mixtures: they run their members
                        members = bound.region.members if bound.stem == "mixture" else (bound,)
                        hosts |= {(model, kv, member.name): member for member in members}
                    break
        for (model, kv, name), bound in hosts.items():
            yield f"host/{model}/{weights}/{kv}/{DIGEST.sub('', name)}", host_source(bound, CONTEXT)


def cases() -> Iterator[tuple[str, str]]:
    """The regions that tests compile, with awkward sizes."""
    from hip_cases import CASES, SLOTS, MAX_ROWS  # noqa: I001  of the tree's tests

    yield from _regions("cases", CASES, MAX_ROWS, SLOTS)


def drafts() -> Iterator[tuple[str, str]]:
    """The regions that only drafts have."""
    sys.path.insert(0, str(Path.cwd() / "tests" / "isa"))
    from draft_regions import GRAPHS

    from hfc.backend.emit import emit
    from hfc.matrix.models import source
    from hfc.passes.pipeline import run_passes
    from hfc.passes.settings import Settings
    from hfc.target.arch import find_arch

    recurrent = source("Qwen3.5-9B", "q8_0", quick=True).graph
    for rows, graphs in ((0, GRAPHS), (8, {**GRAPHS, "recurrent": recurrent})):
        for name, graph in graphs.items():
            settings = Settings(find_arch("gfx1100"), 64, 2, 16, 16, "f16", "f16", journal_rows=rows)
            bounds = list(emit(run_passes(graph(), settings), settings, "rows").kernels.values())
            yield from _regions(f"draft {name} journal {rows}", bounds, 16, 2)


def _regions(what: str, bounds, max_rows: int, slots: int) -> Iterator[tuple[str, str]]:
    from hfc.backend.gpu import geometry, kernel_job
    from hfc.backend.host.build import host_source
    from hfc.passes.settings import Settings
    from hfc.target.arch import find_arch

    for bound in bounds:
        for name in ARCHS:
            arch = find_arch(name)
            settings = Settings(arch, CONTEXT, slots, max_rows, max_rows, "f16", "f16")
            for rows_class in ("decode", "prefill"):
                for shape in geometry(bound, arch, rows_class):
                    own = bound if shape.member is None else bound.region.members[shape.member]
                    yield f"{name}/{what}/{DIGEST.sub('', shape.symbol)}", kernel_job(own, shape, settings).source
        if bound.stem not in ("adopt", "sample", "mixture") and what != "cases":
            yield f"host/{what}/{DIGEST.sub('', bound.name)}", host_source(bound, CONTEXT)


class Recorded:
    """A recording, or a tree that is recorded first."""

    def __init__(self, place: Path):
        if place.is_dir():
            self._folder = tempfile.TemporaryDirectory()
            place, tree = Path(self._folder.name, "kernels.zip"), place.resolve()
            record(tree, place)
        self.file = zipfile.ZipFile(place)
        self.index: dict[str, str] = json.loads(self.file.read("index.json"))

    def source(self, name: str) -> str:
        return self.file.read(f"{self.index[name]}.txt").decode()


def compare(old: Recorded, new: Recorded, shown: int, assemblies: int) -> int:
    """The differences, printed; their number."""
    both = old.index.keys() & new.index.keys()
    changed = sorted(name for name in both if old.index[name] != new.index[name])
    for title, names in (("gone", old.index.keys() - both), ("new", new.index.keys() - both)):
        for name in sorted(names):
            print(f"{title:6} {name}")
    groups: dict[str, list[str]] = {}
    for name in changed:
        groups.setdefault(_difference(old.source(name), new.source(name)), []).append(name)
    for text, names in sorted(groups.items(), key=lambda item: -len(item[1]))[:shown]:
        print(f"\n{len(names)} kernels, e.g. {names[0]}\n{text[:3000]}")
    if assemblies:
        step = max(1, len(changed) // assemblies)
        _compare_assembly(old, new, changed[::step][:assemblies])
    print(
        f"\n{len(both) - len(changed)} equal, {len(changed)} changed, {len(old.index.keys() ^ new.index.keys())} alone"
    )
    return len(changed) + len(old.index.keys() ^ new.index.keys())


def _difference(old: str, new: str) -> str:
    if _bare(old) == _bare(new):
        return "only white space and comments"
    lines = difflib.unified_diff(_numberless(old), _numberless(new), lineterm="", n=0)
    return "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@")))


def _bare(source: str) -> str:
    """Without comments and white space; joined lines of macros are one."""
    return "".join(re.sub(r"//[^\n]*", "", source).replace("\\\n", "").split())


def _numberless(source: str) -> list[str]:
    return [re.sub(r"\b\d+\b", "0", " ".join(line.split())) for line in source.splitlines() if line.strip()]


def _compare_assembly(old: Recorded, new: Recorded, names: list[str]) -> None:
    from hfc.backend.compile import compile_kernel
    from hfc.target.arch import find_arch

    equal = 0
    for name in names:
        arch = name.split("/")[0]
        if arch == "host":
            continue
        made = [compile_kernel(side.source(name), find_arch(arch), _symbol(side.source(name))) for side in (old, new)]
        before, after = (_instructions(m.assembly) for m in made)
        if before == after:
            equal += 1
            continue
        print(f"{name}: {len(before)} -> {len(after)} instructions, {_figures(made[0])} -> {_figures(made[1])}")
    print(f"{equal} of {len(names)} changed kernels have equal instructions")


def _symbol(source: str) -> str:
    return re.search(r"^void (\w+)\(", source[source.index('extern "C" __global__') :], re.MULTILINE)[1]


def _instructions(assembly: str) -> list[str]:
    lines = (line.split(";")[0].split("//")[0].strip() for line in assembly.splitlines())
    return [line for line in lines if line and not line.startswith((".", "$", "}")) and not line.endswith(":")]


def _figures(made) -> str:
    return f"{made.resources.vgprs} registers, {made.resources.lds_bytes} B LDS"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record")
    recording.add_argument("out", type=Path)
    recording.add_argument("--tree", type=Path, default=ROOT)
    commands.add_parser("render").add_argument("out", type=Path)
    comparing = commands.add_parser("compare")
    comparing.add_argument("old", type=Path)
    comparing.add_argument("new", type=Path)
    comparing.add_argument("--shown", type=int, default=10, help="kinds of difference to print")
    comparing.add_argument("--assembly", type=int, default=0, help="so many changed kernels are compiled and compared")
    arguments = parser.parse_args()
    action: dict[str, Callable[[], int | None]] = {
        "record": lambda: record(arguments.tree.resolve(), arguments.out.resolve()),
        "render": lambda: render(arguments.out),
        "compare": lambda: compare(
            Recorded(arguments.old), Recorded(arguments.new), arguments.shown, arguments.assembly
        ),
    }
    return 1 if action[arguments.command]() else 0


if __name__ == "__main__":
    sys.exit(main())
