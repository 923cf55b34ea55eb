"""Compiles a random graph for a device and holds its outputs and states against the interpreter's."""

from __future__ import annotations

import numpy as np
from random_graphs import random_graph
from random_maker import CONTEXT, MAX_ROWS, SLOTS, STEPS, Store, decided

from hfc.backend import gpu
from hfc.backend.compile import compile_all
from hfc.backend.emit import emit, make_plan
from hfc.backend.host import plan as host
from hfc.emulated import EmulatedModel
from hfc.ir.graph import Graph
from hfc.ir.interpret import Interpreter, KvCache
from hfc.ir.text import parse_graph, print_graph
from hfc.ir.verify import verify
from hfc.passes.pipeline import run_passes
from hfc.passes.settings import Settings
from hfc.plan import Bundle, Kernel
from hfc.runtime.host import HostModel
from hfc.target.arch import find_arch

LIMIT = 5e-3  # relative L2: the host's 15-bit inputs and the GPUs' rows, behind a few ops that amplify


def check_graph(seed: int, *devices: str) -> None:
    """AssertionError or HfcError if the graph of this seed means something else anywhere."""
    graph, store, taps = random_graph(seed)
    verify(graph)
    text = print_graph(graph)
    assert print_graph(parse_graph(text)) == text
    compare(f"seed {seed}", graph, store, taps, *devices)


def compare(what: str, graph: Graph, store: Store, taps: tuple[str, ...], *devices: str) -> None:
    """Compiled for each device it computes what the interpreter does."""
    expected, states = interpreted(graph, store)
    for device in devices:
        settings = Settings(find_arch(device), CONTEXT, SLOTS, MAX_ROWS, 8, "f32", "f32", taps)
        model = (on_host if device == "host" else emulated)(graph, store, settings)
        try:
            _compare(f"{what} on {device}", graph, model, expected, states, taps)
        finally:
            model.close()


def interpreted(graph: Graph, store: Store) -> tuple[list[list[np.ndarray]], dict[str, object]]:
    """Logits of the wanted rows and all rows of the other outputs, step by step; the states after the last one."""
    ran = Interpreter(graph, store.value, SLOTS, CONTEXT)
    outputs = [(step, ran.run(step)) for step in STEPS]
    return [[found[0][step.output_rows], *found[1:]] for step, found in outputs], ran.states


def on_host(graph: Graph, store: Store, settings: Settings) -> HostModel:
    plan, files = host.build(emit(run_passes(graph, settings), settings, host.MATRIX_LAYOUT), settings)
    return HostModel(Bundle({}, {"host": plan}, files), plan, store, threads=1)


def emulated(graph: Graph, store: Store, settings: Settings) -> EmulatedModel:
    """Without the launch tape, which the emulator does not run."""
    jobs: dict = {}
    fused = emit(run_passes(graph, settings), settings, gpu.MATRIX_LAYOUT)
    fused, programs = gpu.list_launches(fused, settings, jobs)
    objects = compile_all(jobs.values())
    plan = make_plan(fused, settings, tuple(Kernel(o.name, o.name) for o in objects), programs)
    return EmulatedModel(
        Bundle({}, {settings.arch.name: plan}, {o.name: o.data for o in objects}), settings.arch.name, store
    )


def _compare(what: str, graph: Graph, model, expected, states, taps) -> None:
    # A choice between candidates was seen to be clear in the first step alone: behind one, later steps may differ.
    unclear = bool(decided(graph))
    for step, (logits, *tapped) in zip(STEPS[: 1 if unclear else None], expected):
        assert is_close(model.forward(step), logits), f"{what}: logits"
        for name, rows in zip(taps, tapped):
            assert is_close(model.tap(name, 0, len(rows)), rows), f"{what}: {name}"
    rings = _rings(graph)
    for name, state in states.items():
        if not isinstance(state, KvCache) and not unclear:
            found = model.state(name).view(np.float32).reshape(state.shape)
            has_value = _written(state.shape) if name in rings else np.ones(state.shape[:2], bool)
            assert is_close(found[has_value], state[has_value]), f"{what}: state {name}"


def _rings(graph: Graph) -> set[str]:
    """States in which tokens lie at their positions (pool): where no step had one, nothing is written and nothing is read."""
    made = graph.producers()
    return {made[op.inputs[3]].attrs["name"] for op in graph.ops_of("pool")}


def _written(shape: tuple[int, ...]) -> np.ndarray:
    """bool [slots, rows of a ring]: those of the positions of all steps."""
    written = np.zeros(shape[:2], bool)
    for segment in (segment for step in STEPS for segment in step.segments):
        written[segment.slot, np.arange(segment.position, segment.position + segment.rows) % shape[1]] = True
    return written


def is_close(found: np.ndarray, expected: np.ndarray) -> bool:
    expected, found = (np.asarray(x, np.float64).ravel() for x in (expected, found))
    return bool(np.linalg.norm(found - expected) <= LIMIT * np.linalg.norm(expected) + 1e-4 * expected.size**0.5)
