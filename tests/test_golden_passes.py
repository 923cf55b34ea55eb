"""What each pass makes of one small graph, to read and to compare: tests/data/passes/<pass>.ir holds it before and after."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hfc.base.diagnostics import HfcError
from hfc.ir.interpret import Interpreter
from hfc.ir.text import parse_graph, print_graph
from hfc.ir.verify import verify
from hfc.passes.pipeline import PIPELINE
from hfc.passes.settings import ExpertsCut, RankCut, Settings, StageCut
from hfc.step import Step
from hfc.target.arch import find_arch

FOLDER = Path(__file__).parent / "data" / "passes"
SETTINGS = Settings(find_arch("host"), 16, 1, 8, 8, "q8", "f16")
OWN_SETTINGS = {
    "cut_stages": replace(SETTINGS, stage=StageCut(1, ((0, 0), (1, 1)))),
    "host_experts": replace(SETTINGS, arch=find_arch("gfx1100"), experts=ExpertsCut(1, False)),
    "split_ranks": replace(SETTINGS, rank=RankCut(1, 2)),
    "join_mixture": replace(SETTINGS, arch=find_arch("gfx1100")),
    "join_beside": replace(SETTINGS, arch=find_arch("gfx1100")),
}
CHANGES = {
    "choose_kv",
    "cut_stages",
    "split_ranks",
}  # formats are facts of the plan; a stage or a rank is a part of its graph
ROWS = PIPELINE


def golden(name: str) -> tuple[str, str]:
    """The texts before and after, without the comments on top of them."""
    before, found, after = (FOLDER / f"{name}.ir").read_text().partition(f"# after {name}\n")
    assert found, f"{name}.ir has no line '# after {name}'"
    return before, after


def weights(op) -> np.ndarray:
    """By the tensor behind the recipe, so that a folded weight is the arithmetic on the same numbers."""
    recipe, steps = op.attrs["recipe"], []
    if recipe.op == "join_columns":
        rows, columns = op.output.type.shape
        part = (rows, columns // len(recipe.args))
        return np.concatenate([_random(arg, part) for arg in recipe.args], -1)
    while recipe.args:
        steps.append((recipe.op, dict(recipe.params).get("c")))
        recipe = recipe.args[0]
    if recipe.op == "rope_table":
        angles = np.outer(np.arange(16), [1.0, 0.1])
        return np.concatenate([np.cos(angles), np.sin(angles)], -1).astype(np.float32)
    value = _random(recipe, op.output.type.shape)
    for kind, number in reversed(steps):
        value = {"add": lambda v, c: v + c, "mul": lambda v, c: v * c, "neg": lambda v, _: -v, "exp": lambda v, _: np.exp(v)}[kind](value, number)  # fmt: skip
    return value


def _random(recipe, shape) -> np.ndarray:
    """What a tensor of this name holds."""
    seed = sum(map(ord, dict(recipe.params)["name"]))
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_before_and_after(row):
    before, after = golden(row.name)
    graph = parse_graph(before, f"{row.name}.ir")
    verify(graph)
    found = row.run(graph, OWN_SETTINGS.get(row.name, SETTINGS))
    verify(found)
    assert print_graph(found) == after, f"{row.name} makes something else of its graph now"
    if row.name not in CHANGES:
        step = Step.single([3, 1, 4], outputs="last")
        one, other = (Interpreter(g, weights, context=16).run(step) for g in (graph, found))
        for value, want, have in zip(found.outputs, one, other):
            rows = (
                want[step.output_rows] if value.type.shape[0] == "R" and graph.outputs[0].type.shape[0] == "T" else want
            )
            np.testing.assert_allclose(have, rows, rtol=1e-5, atol=1e-6)


def test_every_pass_has_its_graph_and_no_other_is_kept():
    assert {path.stem for path in FOLDER.glob("*.ir")} == {row.name for row in PIPELINE}


def test_the_text_of_a_golden_graph_is_checked_by_place():
    before, _after = golden("fuse_gate")
    with pytest.raises(HfcError, match="fuse_gate.ir:4:19: error: unknown op 'gather_'"):
        parse_graph(before.replace("= gather(", "= gather_("), "fuse_gate.ir")
