"""Writes tests/data/sources: what small graphs become. Run it when a template or a pass was meant to change, and read the difference:

python tests/golden_sources.py && git diff tests/data/sources
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from hfc.backend import gpu
from hfc.backend.emit import emit
from hfc.backend.host import plan as host
from hfc.backend.host.build import host_source
from hfc.ir.text import parse_graph
from hfc.passes.pipeline import run_passes
from hfc.passes.settings import Settings
from hfc.target.arch import find_arch

FOLDER = Path(__file__).parent / "data" / "sources"
ARCHS = {"attention": ("host", "gfx906"), "mlp": ("host", "gfx1100")}  # graph -> what it is rendered for
DIGEST = re.compile(r"_[0-9a-f]{8}(?=_|\b)")
KERNEL = 'extern "C" __global__'


def sources() -> Iterator[tuple[str, str]]:
    """(file name, text): of GPUs the kernels alone, without the headers and loaders in front of them, which they share with others."""
    for path in sorted(FOLDER.glob("*.ir")):
        graph = parse_graph(path.read_text(), path.name)
        for arch in ARCHS[path.stem]:
            settings = Settings(find_arch(arch), 1024, 1, 64, 16, "f16", "f16")
            backend = host if arch == "host" else gpu
            emitted, jobs = emit(run_passes(graph, settings), settings, backend.MATRIX_LAYOUT), {}
            if arch == "host":
                yield f"{path.stem}.host.c", _joined(host_source(b, settings.context) for b in emitted.kernels.values())
                continue
            gpu.list_launches(emitted, settings, jobs)
            own = [job.source for symbol, job in jobs.items() if not symbol.startswith("sample")]
            yield f"{path.stem}.{arch}.hip", _joined(text[text.index(KERNEL) :] for text in own)


def _joined(parts: Iterator[str]) -> str:
    """Names lose the digest of their region's content, which changes with whatever the region is made of."""
    return "\n".join(DIGEST.sub("", part.strip()) + "\n" for part in parts)


if __name__ == "__main__":
    for name, text in sources():
        (FOLDER / name).write_text(text)
        print(FOLDER / name)
