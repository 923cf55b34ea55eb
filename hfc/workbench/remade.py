"""A plan made again from what its bundle was compiled from: its regions, and the source and assembly of each kernel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from hfc.backend import gpu
from hfc.backend.assembly import function_of
from hfc.backend.compile import KernelJob, compile_job
from hfc.backend.emit import Emitted, RegionCall
from hfc.backend.host import plan as host
from hfc.backend.host.build import host_source
from hfc.backend.library import assembly_for_cpu
from hfc.backend.shape import Geometry
from hfc.backend.skeletons import by_library, geometry
from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError, nearest
from hfc.compiler import After, CompilerInput, emit_model, source_of
from hfc.ir.graph import Graph, Op
from hfc.passes.pipeline import run_passes
from hfc.passes.settings import DEFAULT_KV, EDGE_FORMAT, ExpertsCut, RankCut, Settings, StageCut
from hfc.plan import Bundle, Plan
from hfc.target.arch import find_arch


@dataclass(frozen=True)
class Remade:
    """What a model is compiled to with these settings. Nothing is compiled before an assembly is asked for.

    after: called with each pass's name and graph when the passes run."""

    opened: CompilerInput
    settings: Settings
    after: After | None = None

    @classmethod
    def of(cls, bundle: Bundle, plan: Plan, weights: str | Path | None = None) -> Remade:
        """weights: where they are now, if not where the bundle says."""
        opened = source_of(bundle, weights, matrix_format(plan))
        drafts = {op.attrs["name"] for op in opened.pair().draft.ops_of("state")} if opened.draft else set()
        return cls(opened, settings_of(plan, drafts))

    @cached_property
    def _made(self) -> tuple[Emitted, list[Graph]]:
        """And the graphs as the last pass left them: the model's, and its draft's."""
        fused: dict[str, Graph] = {}

        def after(name: str, graph: Graph) -> None:
            fused[graph.name] = graph
            if self.after:
                self.after(name, graph)

        return emit_model(self.opened, self.settings, after), list(fused.values())

    @property
    def emitted(self) -> Emitted:
        return self._made[0]

    @property
    def calls(self) -> tuple[RegionCall, ...]:
        """Every region, the draft's after the model's."""
        return (*self.emitted.calls, *self.emitted.draft_calls)

    @property
    def region_ops(self) -> list[Op]:
        """The region op of each call."""
        return [op for graph in self._made[1] for op in graph.ops if op.is_region]

    @cached_property
    def jobs(self) -> dict[str, KernelJob]:
        """Of a GPU: symbol -> what is compiled for it."""
        jobs: dict[str, KernelJob] = {}
        gpu.list_launches(self.emitted, self.settings, jobs)
        return jobs

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        return tuple(self.emitted.kernels) if self.is_host else tuple(self.jobs)

    @property
    def is_host(self) -> bool:
        return not self.settings.arch.platform.is_gpu

    def find(self, name: str) -> str:
        """The kernel that `name` means: the whole name, or a part that only one has."""
        if name in self.symbols:
            return name
        holding = [symbol for symbol in self.symbols if name and name in symbol]
        if len(holding) == 1:
            return holding[0]
        arch = self.settings.arch.name
        if holding:
            raise HfcError(f"{name!r} is a part of {len(holding)} kernels of {arch}", hint=", ".join(holding[:12]))
        raise HfcError(
            f"unknown kernel of {arch} {name!r}",
            hint="nearest: " + ", ".join(nearest(name, self.symbols, 5, likeness=0.0)),
        )

    def source(self, symbol: str) -> str:
        """HIP, which compiles as it stands; of the host the C of one kernel, which follows the library's headers."""
        if self.is_host:
            return host_source(self.emitted.kernels[symbol], self.settings.context)
        return self.jobs[symbol].source

    def assembly(self, symbol: str) -> str:
        """What the code object was made from; of the host the function's part of the library's."""
        if self.is_host:
            return function_of(self._host_assembly, symbol)
        return compile_job(self.jobs[symbol]).assembly

    def object(self, symbol: str) -> bytes:
        """The code object of a GPU kernel."""
        return compile_job(self.jobs[symbol]).data

    @cached_property
    def _host_assembly(self) -> str:
        return assembly_for_cpu(host.library_text(self.emitted, self.settings))

    def regions(self, symbol: str) -> list[RegionCall]:
        """The regions that a kernel serves: equal ones share it. () for what belongs to no region."""
        return [call for call in self.calls if symbol in self.symbols_of(call.bound.name)]

    def symbols_of(self, region: str) -> tuple[str, ...]:
        """The kernels that serve the region of that name, in the order in which they are launched."""
        return self._symbols[region]

    @cached_property
    def _symbols(self) -> dict[str, tuple[str, ...]]:
        return {name: self._launched(name) for name in self.emitted.kernels}

    def _launched(self, name: str) -> tuple[str, ...]:
        if self.is_host:
            return (name,)
        bound, arch = self.emitted.kernels[name], self.settings.arch
        steps = (*geometry(bound, arch, "decode"), *geometry(bound, arch, "prefill"), *by_library(bound, arch))
        return tuple(dict.fromkeys(step.symbol for step in steps if isinstance(step, Geometry)))


def matrix_format(plan: Plan) -> str:
    """The format that a config without weights was compiled for: the one that most matrices have."""
    return Counter(w.format for w in plan.weights if len(w.shape) > 1).most_common(1)[0][0]


def fused_graphs(opened: CompilerInput, plan: Plan) -> tuple[Graph, Graph | None]:
    """The graphs behind the plan, made again: the model's and its draft's."""
    settings = settings_of(plan)
    pair = opened.pair(settings.graph_taps) if opened.draft else None
    graph = pair.target if pair else opened.graph(settings.graph_taps)
    settings = settings_of(plan, {op.attrs["name"] for op in pair.draft.ops_of("state")} if pair else set())
    if pair is None or not settings.gives_logits:
        return run_passes(graph, settings), None
    return run_passes(graph, settings), run_passes(
        pair.draft, replace(settings, taps=(), is_draft=True, kv_edges=(0, 0), stage=None, experts=None)
    )


def settings_of(plan: Plan, drafts: Collection[str] = ()) -> Settings:
    """What the plan was made for. drafts: names of the draft's states."""
    sizes = (plan.context, plan.slots, plan.max_rows, plan.max_outputs)
    k_format, v_format, edges = kv_of(plan, set(drafts))
    return Settings(
        find_arch(plan.arch), *sizes, k_format, v_format, tuple(plan.taps), plan.journal_rows, kv_edges=edges,
        profile=plan.profile, stage=StageCut(plan.stage.number, plan.stage.ranges) if plan.stage else None,
        experts=experts_cut(plan), rank=RankCut(plan.rank.number, plan.rank.count) if plan.rank else None,
    )  # fmt: skip


def experts_cut(plan: Plan) -> ExpertsCut | None:
    """Which experts the host computes, by the parts that its plan has, or that the card's leaves to it."""
    if plan.parts:
        return ExpertsCut(len(plan.parts), True)
    left = {launch.hosted for launches in plan.programs.values() for launch in launches if launch.hosted is not None}
    return ExpertsCut(len(left), False) if left else None


def kv_of(plan: Plan, drafts: set[str]) -> tuple[str, str, tuple[int, int]]:
    """What parse_kv gave for the plan. drafts: names of the draft's states, which have no edges."""
    formats = [(s.formats["k"], s.formats["v"]) for s in plan.states if "k" in s.planes and s.name not in drafts]
    inner = [at for at, pair in enumerate(formats) if pair != (EDGE_FORMAT, EDGE_FORMAT)]
    if not inner:
        return *(formats[0] if formats else (DEFAULT_KV, DEFAULT_KV)), (0, 0)
    return *formats[inner[0]], (inner[0], len(formats) - 1 - inner[-1])
