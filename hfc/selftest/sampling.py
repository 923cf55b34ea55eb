"""The choice of tokens on a device against the host's sampler: same logits, same seeds, same tokens."""

from __future__ import annotations

import numpy as np

from hfc.plan import Plan
from hfc.runtime.launcher import Launcher
from hfc.runtime.sampler import Sampler, Sampling
from hfc.sampling import ROW_WORDS
from hfc.selftest.compare import Deviation, deviation
from hfc.step import Segment, Step

PROGRAM = "sample"
SAMPLINGS = (
    Sampling(temperature=0),
    Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=1),
    Sampling(temperature=0.8, top_k=40, top_p=0.95, min_p=0.05, seed=2),
    Sampling(temperature=1.5, top_k=0, top_p=0.7, min_p=0.0, repeat_penalty=1.2, seed=3),
    Sampling(temperature=0, repeat_penalty=1.5),
)
ROUNDS = 8  # tokens that each sampler chooses


def check_sampling(plan: Plan, launcher: Launcher) -> Deviation:
    """error: share of the tokens that differ."""
    rng = np.random.default_rng(0)
    prompt = rng.integers(0, plan.vocab, 50).tolist()
    rows = min(len(SAMPLINGS), plan.max_outputs)
    ours, theirs = ([Sampler(s, prompt) for s in SAMPLINGS[:rows]] for _ in range(2))
    total = Deviation(0.0, 0.0)
    for _ in range(ROUNDS):
        logits = 3 * rng.standard_normal((rows, plan.vocab), np.float32)
        expected = [sampler.choose(row.copy()) for sampler, row in zip(ours, logits)]
        found = _chosen(plan, launcher, logits, theirs)
        total |= deviation(found, np.array(expected, np.int32))
        for sampler, token in zip(theirs, expected):
            sampler.accept(token)
    return total


def _chosen(plan: Plan, launcher: Launcher, logits: np.ndarray, samplers: list[Sampler]) -> np.ndarray:
    """What the device chooses, i32 [rows]."""
    rows = len(logits)
    content = np.zeros((plan.max_outputs, plan.vocab), np.float32)
    content[:rows] = logits
    parameters = np.zeros((plan.max_outputs, ROW_WORDS), np.int32)
    for sampler, row in zip(samplers, parameters):
        sampler.encode(row)
    tokens = np.full(plan.max_outputs, -2, np.int32)
    arrays = {f"buffer:{plan.logits}": content, "io:parameters": parameters, "io:tokens": tokens}
    memory = {pointer: array.reshape(-1).view(np.uint8) for pointer, array in arrays.items()}
    step = Step(np.zeros(rows, np.int32), (Segment(0, 0, rows, 0),), np.arange(rows, dtype=np.int32))
    launcher.run(PROGRAM, 0, memory, step)
    return tokens[:rows]
