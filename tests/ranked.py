"""The graphs of several ranks, interpreted side by side: after each op a rank finds what the others have made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hfc.ir.graph import Graph, Op
from hfc.ir.interpret import Interpreter
from hfc.passes.pipeline import run_passes
from hfc.passes.settings import RankCut, Settings
from hfc.step import Step


class InterpretedRanks:
    """weights: of ops that are weights or tables, as an Interpreter takes it."""

    def __init__(self, graphs: Sequence[Graph], weights: Callable[[Op], np.ndarray], **sizes: Any):
        found = lambda op: np.empty(0) if op.is_peer else weights(op)  # noqa: E731
        self.ranks = [Interpreter(graph, found, **sizes) for graph in graphs]

    def run(self, step: Step) -> list[list[np.ndarray]]:
        """One step: the outputs of every rank."""
        envs = [{v: rank._replayed(v, step) for v in rank._sources} for rank in self.ranks]
        for rank, env in zip(self.ranks, envs):
            env.update((value, step.tokens) for value in rank.graph.inputs)
        peers = [{op.output: op.attrs for op in rank.graph.ops if op.is_peer} for rank in self.ranks]
        made: list[dict[str, object]] = [{} for _ in self.ranks]
        walks = [[op for op in r.graph.walk() if not op.is_region and not op.is_source] for r in self.ranks]
        for ops in zip(*walks, strict=True):
            for rank, op, env, known in zip(self.ranks, ops, envs, peers):
                env.update({v: made[known[v]["rank"]][known[v]["name"]] for v in op.inputs if v in known})
                rank._execute(op, env, step)
            for own, op, env in zip(made, ops, envs):
                own.update((v.name, env[v]) for v in op.outputs)
        for rank, env in zip(self.ranks, envs):
            rank._sources.update((state, env[new]) for state, new in rank.graph.updates.items())
        return [[np.asarray(env[v]) for v in rank.graph.outputs] for rank, env in zip(self.ranks, envs)]


def rank_graphs(graph: Graph, settings: Settings, count: int) -> list[Graph]:
    """After all passes, of each rank."""
    return [run_passes(graph, replace(settings, rank=RankCut(number, count))) for number in range(count)]
