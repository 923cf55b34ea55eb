"""The choice of tokens on a device against the host's sampler: same logits, same seeds, same tokens."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hfc.plan import Plan
from hfc.pointer import PARAMETERS, STEP, TOKENS, Pointer
from hfc.program import Program
from hfc.runtime.launcher import Launcher
from hfc.runtime.sampler import Sampler, Sampling
from hfc.runtime.speculate.accept import RowSampler
from hfc.sampling import BIASED, TokenLimits, encode_rows, mask_words, sampling_words
from hfc.selftest.compare import Deviation, deviation
from hfc.step import Segment, Step

PROGRAM = Program.SAMPLE
SAMPLINGS = (
    Sampling(temperature=0),
    Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=1),
    Sampling(temperature=0.8, top_k=40, top_p=0.95, min_p=0.05, seed=2),
    Sampling(temperature=1.5, top_k=0, top_p=0.7, min_p=0.0, repeat_penalty=1.2, seed=3),
    Sampling(temperature=0, repeat_penalty=1.5),
    Sampling(temperature=0.7, top_k=20, top_p=1.0, min_p=0.0, seed=4),
    Sampling(temperature=1.0, top_k=0, top_p=0.95, min_p=0.0, seed=5),  # of logits so flat, more than any list holds
    Sampling(temperature=0.9, top_k=0, top_p=1.0, min_p=0.1, seed=6),
    Sampling(temperature=1.2, top_k=700, top_p=0.9, min_p=0.02, seed=7),
    Sampling(temperature=0.6, top_k=1, seed=8),
)
TIES = 128  # top-k at most, where logits are equal
ROUNDS = 8  # tokens that each sampler chooses


def check_sampling(plan: Plan, launcher: Launcher) -> Deviation:
    """error: share of the tokens that differ."""
    rng = np.random.default_rng(0)
    prompt = rng.integers(0, plan.vocab, 50).tolist()
    limits = _limits(rng, plan.vocab)
    ours, theirs = ([Sampler(s, prompt) for s in SAMPLINGS] for _ in range(2))
    total = Deviation(0.0, 0.0)
    for round in range(ROUNDS):
        logits = 3 * rng.standard_normal((len(SAMPLINGS), plan.vocab), np.float32)
        if plan.vocab > 2048:
            logits[2] = np.resize(logits[2, :2048], plan.vocab)  # of one thread's many are equal
        for row, sampling in zip(logits, SAMPLINGS):
            if (
                0 < sampling.top_k <= TIES and plan.vocab <= 2048
            ):  # of more a device that has no short list keeps all equals
                row[: plan.vocab // 8] = np.round(row[: plan.vocab // 8])
        given = [limits[(round + i) % len(limits)] for i in range(len(SAMPLINGS))]
        expected = [sampler.choose(_limited(row, given[i])) for i, (sampler, row) in enumerate(zip(ours, logits))]
        for at in range(0, len(SAMPLINGS), plan.max_outputs):
            rows = slice(at, at + plan.max_outputs)
            found = _chosen(plan, launcher, logits[rows], theirs[rows], given[rows])
            total |= deviation(found, np.array(expected[rows], np.int32))
        for sampler, token in zip(theirs, expected):
            sampler.accept(token)
    return total


def _limits(rng: np.random.Generator, vocab: int) -> list[TokenLimits | None]:
    """None, one of each kind, and all kinds together."""
    biased, masked, forced, both = (TokenLimits(vocab) for _ in range(4))
    bits = np.zeros(32 * mask_words(vocab), bool)
    bits[rng.choice(vocab, vocab // 3, replace=False)] = True
    mask = np.packbits(bits, bitorder="little").view(np.uint32)
    for one in (biased, both):
        for token in rng.choice(vocab, min(BIASED, vocab // 2), replace=False):
            one.add(int(token), float(rng.normal() * 5))
    for one in (masked, both):
        one.allow_only(mask.copy())
        one.forbid(rng.integers(0, vocab, 5).tolist())
    forced.force(vocab - 1)
    return [None, biased, masked, forced, both]


def _limited(logits: np.ndarray, limits: TokenLimits | None) -> np.ndarray:
    """The same logits under limits, on the host."""
    out = logits.copy()
    if limits is not None:
        for token, value in limits.bias.items():
            out[token] += np.float32(value)
        if limits.mask is not None:
            out[~np.unpackbits(limits.mask.view(np.uint8), bitorder="little")[: len(out)].astype(bool)] = -np.inf
    return out


def _chosen(
    plan: Plan, launcher: Launcher, logits: np.ndarray, samplers: list[Sampler], limits: list[TokenLimits | None]
) -> np.ndarray:
    """What the device chooses, i32 [rows]."""
    rows = len(logits)
    content = np.zeros((plan.max_outputs, plan.vocab), np.float32)
    content[:rows] = logits
    parameters = np.zeros(sampling_words(plan.max_outputs, plan.vocab), np.int32)
    encode_rows(
        parameters, [RowSampler(s, (), given) for s, given in zip(samplers, limits)], plan.max_outputs, plan.vocab
    )
    tokens = np.full(plan.max_outputs, -2, np.int32)
    arrays = {Pointer.buffer(plan.logits): content, PARAMETERS: parameters, TOKENS: tokens}
    step = Step(np.zeros(rows, np.int32), (Segment(0, 0, rows, 0),), np.arange(rows, dtype=np.int32))
    choose_tokens(plan, launcher, arrays, step)
    return tokens[:rows]


def choose_tokens(plan: Plan, launcher: Launcher, arrays: Mapping[Pointer, np.ndarray], step: Step) -> None:
    """Run the launches that choose. arrays: logits, parameters and tokens; what one launch leaves for the next begins as NaN."""
    memory = {pointer: array.reshape(-1).view(np.uint8) for pointer, array in arrays.items()}
    launches = plan.programs[PROGRAM]
    for pointer in {pointer for launch in launches for pointer in launch.pointers} - memory.keys() - {STEP}:
        memory[pointer] = np.full(plan.max_outputs * plan.buffer(pointer.name).row_bytes, 0xFF, np.uint8)
    for index in range(len(launches)):
        launcher.run(PROGRAM, index, memory, step)
