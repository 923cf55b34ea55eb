"""The cells: every combination planned, every kernel compiled once, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import replace
from functools import partial
from itertools import product
from multiprocessing import get_context
from typing import Any

from hfc.backend import gpu
from hfc.backend.compile import KernelJob, Resources, compile_job
from hfc.backend.emit import Emitted, emit, make_plan
from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.base.knobs import knob
from hfc.base.progress import Update
from hfc.compiler import CompileOptions, settings_for
from hfc.matrix.models import source
from hfc.matrix.predict import SpeedBound, bounds, works
from hfc.passes.pipeline import run_passes
from hfc.passes.settings import Settings
from hfc.plan import Plan
from hfc.program import Program
from hfc.target.arch import Arch, find_arch

CONTEXT = 4096  # tokens: the depth of the predictions; a model made for fewer gets what it has


@dataclass(frozen=True)
class Place:
    """Where a cell stands."""

    model: str
    arch: str
    weights: str
    kv: str


@dataclass(frozen=True)
class Cell:
    """status: compiled | refused (the combination cannot be, `why` says what does not fit) | failed (a defect of ours).

    vgprs, lds_bytes: most of any kernel.  waves: fewest of any kernel on a SIMD; None where only the driver knows.
    launches: a decoded token's, with sampling.  bounds: the roofline on the known cards; empty for a quick run.
    """

    place: Place
    status: str
    why: str = ""
    kernels: int = 0
    vgprs: int | None = None
    lds_bytes: int = 0
    waves: int | None = None
    launches: int = 0
    bounds: tuple[SpeedBound, ...] = ()


@dataclass(frozen=True)
class _Planned:
    """A cell before its kernels are compiled."""

    place: Place
    plan: Plan
    kernels: tuple[str, ...]


class Planner:
    """Plans cells. What the passes make of a model does not depend on the arch (a test holds them to it), so it is made once."""

    def __init__(self, quick: bool = False):
        self.quick = quick
        self._emitted: dict[tuple[str, str, str], Emitted | HfcError] = {}

    def plan(self, place: Place, arch: Arch, jobs: dict[str, KernelJob]) -> _Planned:
        """The plan of a cell; kernels not yet in `jobs` are added to it. HfcError for what cannot be.

        jobs: of this model and arch alone: kernels of one name differ by model in the context and rows that they are made for."""
        settings = self._settings(place, arch)
        emitted, programs = gpu.list_launches(self._emit(place, settings), settings, jobs)
        names = tuple(
            dict.fromkeys(
                launch.kernel
                for steps in programs.values()
                for launch in steps
                if not launch.product and not launch.exchange
            )
        )
        return _Planned(place, make_plan(emitted, settings, (), programs), names)

    def _settings(self, place: Place, arch: Arch) -> Settings:
        opened = source(place.model, place.weights, self.quick)
        return settings_for(opened, arch, CompileOptions(kv=place.kv, ctx=min(CONTEXT, opened.context_limit)))

    def _emit(self, place: Place, settings: Settings) -> Emitted:
        key = (place.model, place.weights, place.kv)
        if key not in self._emitted:
            try:
                graph = source(place.model, place.weights, self.quick).graph()
                self._emitted[key] = emit(run_passes(graph, settings), settings, gpu.MATRIX_LAYOUT)
            except HfcError as error:
                self._emitted[key] = error
        found = self._emitted[key]
        if isinstance(found, HfcError):
            raise found
        return found


def places(models: Sequence[str], archs: Sequence[Arch], weights: Sequence[str], kvs: Sequence[str]) -> list[Place]:
    """All combinations."""
    return [Place(m, a.name, w, kv) for a in archs for m in models for w in weights for kv in kvs]


def run_covering(
    models: Sequence[str],
    archs: Sequence[Arch],
    weights: Sequence[str],
    kvs: Sequence[str],
    quick: bool,
    report: Update = lambda done, total: None,
) -> Iterator[Cell]:
    """Every model, architecture, weight and KV format at least once, in about as few cells as the longest of these lists is long.

    Each model has a cell, the first one all that are left: it should be the one of fewest kernels. What a model refuses, the next
    one takes. Architectures that share their kernels have the same cells."""
    names = [arch.name for arch in archs]
    alone = [arch.name for arch in archs if arch.twin not in names]
    count = max(map(len, (models, alone, weights, kvs)))
    # Each at a place of its own among all cells, so that they meet architectures of every kind.
    others = {-(-model * count // len(models)): model for model in range(len(models))}

    def places_of(n: int, turn: int) -> Iterator[Place]:
        model = models[(others.get(n, 0) + turn) % len(models)]
        for arch in archs:
            if alone[n % len(alone)] in (arch.name, arch.twin):
                yield Place(model, arch.name, weights[n % len(weights)], kvs[n % len(kvs)])

    return _run_in_turns(range(count), len(models), places_of, quick, report)


def run_in_turn(
    models: Sequence[str],
    archs: Sequence[Arch],
    weights: Sequence[str],
    kvs: Sequence[str],
    quick: bool,
    report: Update = lambda done, total: None,
) -> Iterator[Cell]:
    """Every weight format once on every architecture, models and KV formats in turn; what a model refuses, the next one takes."""

    def places_of(at: tuple[int, int], turn: int) -> Iterator[Place]:
        a, i = at
        # KV formats and models step differently, so that a model does not meet the same few over and over.
        kv = kvs[(a + i + i // len(kvs) + i // len(models)) % len(kvs)]
        yield Place(models[(a + i + turn) % len(models)], archs[a].name, weights[i], kv)

    return _run_in_turns(product(range(len(archs)), range(len(weights))), len(models), places_of, quick, report)


def _run_in_turns(
    wanted: Iterable[Any], turns: int, places_of: Callable[[Any, int], Iterable[Place]], quick: bool, report: Update
) -> Iterator[Cell]:
    """places_of(one of `wanted`, turn): its cells. What one of them refuses has cells in the next turn, too."""
    left = list(wanted)
    for turn in range(turns):
        owner = {place: one for one in left for place in places_of(one, turn)}
        cells = run(owner, quick, report)
        left = list(dict.fromkeys(owner[cell.place] for cell in cells if cell.status == "refused"))
        yield from cells


def run(wanted: Iterable[Place], quick: bool, report: Update = lambda done, total: None) -> list[Cell]:
    """The cells in the order of `wanted`. report: cells done, of how many.

    A model in one weight format is one task, for a process of its own where there are several: a graph is planned once for
    every arch, and planning alone would keep all but one core waiting. What tasks share, the cache of kernels hands on."""
    wanted = list(wanted)
    tasks: dict[tuple[str, str], list[Place]] = {}
    for place in wanted:
        tasks.setdefault((place.model, place.weights), []).append(place)
    jobs = knob("HFC_JOBS")
    processes = max(1, min(jobs, len(tasks)))
    run_task = partial(_run_task, quick=quick, threads=jobs // processes)
    done: dict[Place, Cell] = {}
    for cells in _each(run_task, list(tasks.values()), processes):
        done |= {cell.place: cell for cell in cells}
        report(len(done), len(wanted))
    return [done[place] for place in wanted]


def _each(work: Callable[[Any], Any], tasks: list, processes: int) -> Iterator[Any]:
    """work(task) for each, in the order in which they end. One process is this one."""
    if processes == 1:
        yield from map(work, tasks)
        return
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        try:
            for task in as_completed([pool.submit(work, task) for task in tasks]):
                yield task.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _run_task(places: list[Place], quick: bool, threads: int) -> list[Cell]:
    """Cells of one model in one weight format, arch by arch."""
    planner = Planner(quick)
    cells: list[Cell] = []
    for name in dict.fromkeys(place.arch for place in places):
        arch = find_arch(name)
        jobs: dict[str, KernelJob] = {}
        planned: list[_Planned | Cell] = []
        for place in (p for p in places if p.arch == name):
            try:
                planned.append(planner.plan(place, arch, jobs))
            except HfcError as error:
                planned.append(Cell(place, "refused", _first_line(error)))
        results = _compile(jobs, threads)
        cells += [cell if isinstance(cell, Cell) else _judge(cell, arch, jobs, results, quick) for cell in planned]
    return cells


def _compile(jobs: dict[str, KernelJob], threads: int) -> dict[str, Resources | HfcError]:
    """Every kernel, several at once; one that fails does not stop the others."""

    def attempt(job: KernelJob) -> Resources | HfcError:
        try:
            return compile_job(job).resources
        except HfcError as error:
            return error

    with ThreadPoolExecutor(threads) as pool:
        return dict(zip(jobs, pool.map(attempt, jobs.values()), strict=True))


def _judge(planned: _Planned, arch: Arch, jobs: dict[str, KernelJob], results: dict, quick: bool) -> Cell:
    errors = [results[name] for name in planned.kernels if isinstance(results[name], HfcError)]
    launches = sum(len(works(planned.plan, p, {}, 1, planned.plan.context)) for p in (Program.DECODE, Program.SAMPLE))
    cell = Cell(planned.place, "compiled", kernels=len(planned.kernels), launches=0 if quick else launches)
    if errors:
        return replace(cell, status="failed", why=_first_line(errors[0]))
    used = [results[name] for name in planned.kernels]
    features = {name: jobs[name].contract.promises[0] for name in planned.kernels if jobs[name].contract.promises}
    known = arch.platform.has_registers
    return replace(
        cell,
        vgprs=max(r.vgprs for r in used) if known else None,
        lds_bytes=max(r.lds_bytes for r in used),
        waves=min(r.occupancy for r in used) if known else None,
        bounds=() if quick else bounds(planned.plan, arch, features),
    )


def _first_line(error: HfcError) -> str:
    return error.message.splitlines()[0]
