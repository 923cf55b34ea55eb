"""The router: its meaning against those of transformers; host and emulated GPUs against the meaning, at odd shapes and with ties.

tests/data/routers.npz: scripts/make_router_fixtures.py.
"""

from pathlib import Path

import numpy as np
import pytest
from random_maker import CONTEXT, MAX_ROWS, SLOTS, STEPS, Maker
from random_runs import emulated, interpreted, is_close, on_host

from hfc.base.diagnostics import HfcError
from hfc.ir.graph import TensorType
from hfc.ir.ops import OPS
from hfc.passes.settings import Settings
from hfc.target.arch import find_arch

ROUTERS = {  # of transformers -> what the op is told
    "mixtral": {},
    "olmoe": {"normalize": False},
    "gpt_oss": {},
    "ernie4_5_moe": {},
    "deepseek_v2": {"normalize": False, "groups": 4, "top_groups": 2, "scale": 2.5},
    "deepseek_v3": {"score": "sigmoid", "groups": 4, "top_groups": 2, "group_best": 2, "scale": 2.5, "eps": 1e-20},
    "glm4_moe": {"score": "sigmoid", "scale": 1.5, "eps": 1e-20},
    "minimax_m2": {"score": "sigmoid"},
    "llama4": {"score": "sigmoid", "normalize": False},
    "phimoe": {"score": "sparsemixer", "normalize": False, "jitter": 0.2},
}
BIASED = ("ernie4_5_moe", "deepseek_v3", "glm4_moe", "minimax_m2")
SHAPES = (  # experts, biased, attributes
    (5, False, {"top": 5}),
    (1, True, {"top": 1, "score": "sigmoid"}),
    (77, True, {"top": 70, "score": "sigmoid", "scale": 2.5, "eps": 1e-20}),
    (60, False, {"top": 4, "normalize": False}),
    (36, True, {"top": 6, "score": "sigmoid", "groups": 6, "top_groups": 4, "group_best": 2}),
    (40, False, {"top": 3, "groups": 8, "top_groups": 2, "normalize": False, "scale": 16.0}),
    (70, False, {"top": 5, "score": "sparsemixer", "normalize": False, "jitter": 0.2, "scale": 1.5}),
    (2, False, {"top": 2, "score": "sparsemixer", "normalize": False, "jitter": 0.01}),
    (140, True, {"top": 2, "groups": 70, "top_groups": 3, "group_best": 2}),
)


@pytest.mark.parametrize("name", ROUTERS)
def test_meaning_is_that_of_transformers(name):
    with np.load(Path(__file__).parent / "data/routers.npz") as stored:
        bias = [stored[f"{name}.bias"]] if name in BIASED else []
        logits, shares = stored[f"{name}.logits"], stored[f"{name}.shares"]
        top = int((shares[0] != 0).sum())
    found, ids = OPS["route"].meaning(logits, *bias, top=top, **ROUTERS[name])
    spread = np.zeros_like(logits)
    np.put_along_axis(spread, ids, found, axis=-1)
    np.testing.assert_allclose(spread, shares, rtol=2e-6, atol=1e-9)


def routers() -> tuple[Maker, list]:
    """Every shape on its own logits, half of which are zero: they tie. Taps: shares, and numbers that only the chosen ids give."""
    m, taps = Maker(3), []
    for experts, biased, attrs in SHAPES:
        logits = m.op("relu", m.fresh(experts) if experts > 1 else m.op("reshape", m.fresh(1), shape=(1,)))
        bias = [m.op("scale", m.vector(experts), by=0.0)] if biased and experts > 60 else []  # ties again
        bias = bias or ([m.vector(experts)] if biased else [])
        shares, ids = m.op("route", logits, *bias, **attrs)
        taps += [shares, m.op("gather", m.vector(experts, 3), ids)]
    return m, taps


@pytest.mark.parametrize("device", ["host", "gfx1100", "gfx906"])
def test_routers(device):
    m, taps = routers()
    head = m.builder.op("linear", m.fresh(8), m.vector(24, 8))
    graph = m.builder.finish(head, *taps)
    names = tuple(f"tap{i}" for i in range(len(taps)))
    expected, _states = interpreted(graph, m.store)
    settings = Settings(find_arch(device), CONTEXT, SLOTS, MAX_ROWS, 8, "f32", "f32", names)
    model = (on_host if device == "host" else emulated)(graph, m.store, settings)
    try:
        for step, (_logits, *tapped) in zip(STEPS, expected):
            model.forward(step)
            for name, rows in zip(names, tapped):
                assert is_close(model.tap(name, 0, len(rows)), rows), f"{name} of {SHAPES[int(name[3:]) // 2]}"
                np.testing.assert_allclose(
                    model.tap(name, 0, len(rows)).reshape(rows.shape), rows, rtol=1e-5, atol=1e-6
                )
    finally:
        model.close()


@pytest.mark.parametrize(
    "attrs, said",
    [
        ({"top": 9}, "top is 9"),
        ({"top": 2, "score": "relu"}, "softmax, sigmoid"),
        ({"top": 2, "groups": 3}, "multiple of the groups"),
        ({"top": 5, "groups": 4, "top_groups": 2}, "only 4 experts"),
        ({"top": 2, "score": "sparsemixer", "normalize": True}, "neither a bias nor groups"),
        ({"top": 2, "jitter": 0.01}, "sparsemixer alone has one"),
        ({"top": 1, "groups": 8, "top_groups": 2, "group_best": 2}, "are 1 each"),
    ],
)
def test_what_cannot_be_chosen_is_refused(attrs, said):
    with pytest.raises(HfcError, match=said):
        OPS["route"].infer((TensorType("f32", ("T", 8)),), attrs)
