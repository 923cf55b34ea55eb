#!/usr/bin/env python3
"""Plant typical bugs (scripts/mutations.py) in rendered GPU kernels, one at a time, and demand that the emulator suite catches each.

    scripts/mutate_kernels.py [--arch gfx1100] [-k NAME]

The subjects are those of tests/isa: whole models, and regions at awkward sizes, each with the bounds of its tests. A mutation is
caught when the emulator reports a fault, results leave their bound, two schedules of waves disagree, or a row's bits depend on its
company. Exit status 1 if one survives, or if its text is in no kernel any more (then the table needs a new line). The table is made for
gfx1100 and gfx906, with rows of their own for kernels that only gfx1201 runs; elsewhere a row may name a kernel that does not run.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from mutations import MUTATIONS, Mutation

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests/isa"), str(ROOT / "tests")]

from attention import Attention, error, step_of  # noqa: E402
from projection import Projection  # noqa: E402
from regions import Region  # noqa: E402
from test_isa_attend import DECODE_BOUND, PREFILL_BOUND  # noqa: E402
from test_isa_delta import BOUND as DELTA_BOUND  # noqa: E402
from test_isa_delta import Cut, delta_net  # noqa: E402
from test_isa_linear import bound_of  # noqa: E402

from hfc.backend import gpu  # noqa: E402
from hfc.base.diagnostics import HfcError  # noqa: E402
from hfc.compiler import CompileOptions, compile_model, open_source  # noqa: E402
from hfc.emulated import EmulatedModel  # noqa: E402
from hfc.isa import SCHEDULES, KernelFault  # noqa: E402
from hfc.oracle import InterpretedModel  # noqa: E402
from hfc.runtime.upload import CheckpointWeights  # noqa: E402
from hfc.step import Step  # noqa: E402
from hfc.target.arch import find_arch  # noqa: E402

CONTEXT, MAX_ROWS, DECODE_STEPS, PROMPT = 96, 64, 3, 21
MODEL_BOUND = 1e-4  # relative L2, as in tests/isa/test_isa_models.py


def examine_model(checkpoint: str, arch: str) -> Iterator[str]:
    """What is wrong with a model's logits: a prompt, single tokens, and three rows of decode at once."""
    path = ROOT / "tests/data/models" / checkpoint
    source = open_source(path)
    # A function of its own, so that no finished bundle is taken from the cache.
    bundle = compile_model(
        path, [arch], CompileOptions(ctx=CONTEXT, max_rows=MAX_ROWS, kv="f32"), print_after=lambda name, graph: None
    )
    weights = CheckpointWeights(source.checkpoint, CONTEXT)
    tokens = np.random.default_rng(5).integers(0, bundle.plans[arch].vocab, PROMPT + DECODE_STEPS)
    single = [Step.single(tokens[at : at + 1], position=at) for at in range(PROMPT, PROMPT + DECODE_STEPS)]
    steps = [Step.single(tokens[:PROMPT]), *single, Step.single(tokens[:3], position=PROMPT + DECODE_STEPS)]
    reference = InterpretedModel(source, CONTEXT)
    expected = [reference.forward(step) for step in steps]
    first: list[np.ndarray] = []
    for options in SCHEDULES:
        model = EmulatedModel(bundle, arch, weights, options)
        found = [model.forward(step) for step in steps]
        yield from beyond(MODEL_BOUND, "logits", found, expected)
        first = first or found
        yield from unequal("schedules disagree", found, first)


def examine_attention(formats: tuple[str, str], window: int, arch: str) -> Iterator[str]:
    """Decode over several splits, and chunks of prompts; rows alone."""
    case = Attention(arch, 1060, 6, 2, 64, window=window, formats=formats)
    programs = (
        ("decode", step_of((4, 1056), (1, 0), (7, 508)), step_of((1, 1058)), 2, DECODE_BOUND),
        ("prefill", step_of((63, 440), (16, 0), (1, 50)), step_of((20, 460)), 20, PREFILL_BOUND),
    )
    for rows_class, step, part, first, bound in programs:
        whole = case.run(step, rows_class)
        yield from beyond(bound, rows_class, [whole], [case.expected(step)])
        for options in SCHEDULES[1:]:
            yield from unequal("schedules disagree", [case.run(step, rows_class, options)], [whole])
        rows = len(part.tokens)
        yield from unequal("company matters", [case.run(part, rows_class, first=first)], [whole[first : first + rows]])


def examine_delta(arch: str) -> Iterator[str]:
    region = Region(delta_net(2, 4, 128, 128, 4, False, 1.0), arch, slots=4, context=256)
    cut, first = Cut(region), {}
    for options in SCHEDULES:
        region.launcher.options = options
        for check in region.check():
            if check.kernel.startswith("delta") and not (check.ok and check.deviation.error <= DELTA_BOUND):
                yield f"{check.program} differs by {check.deviation.error:.2g}"
        for parts in ([45], [17, 28], [1, 30, 14]):
            found = cut.run(parts)
            first = first or found
            yield from unequal("schedules or chunks disagree", list(found.values()), list(first.values()))


def examine_linear(formats: list[str], k: int, sizes: list[int], zipped: bool, top: int, arch: str) -> Iterator[str]:
    """Decode of 16 rows, and rows alone and in other company."""
    case = Projection(arch, formats, k, sizes, zipped, True, top)
    each = max(1, top)
    whole = case.run(16)
    yield from beyond(bound_of(case), "rows", whole, case.expected(16))
    for options in SCHEDULES[1:]:
        yield from unequal("schedules disagree", case.run(16, options=options), whole)
    for first, rows in ((0, 1), (15, 1), (3, 2), (4, 7)):
        found = case.run(rows, first)
        yield from unequal("company matters", found, [out[first * each : (first + rows) * each] for out in whole])
        for options in SCHEDULES[1:]:
            yield from unequal("schedules disagree", case.run(rows, first, options), found)


SUBJECTS: dict[str, Callable[[str], Iterator[str]]] = {
    "model llama": partial(examine_model, "llama"),
    "model qwen3_5_moe_text": partial(examine_model, "qwen3_5_moe_text"),
    "attention f16": partial(examine_attention, ("f16", "f16"), 0),
    "attention f16 window": partial(examine_attention, ("f16", "f16"), 200),
    "attention f32": partial(examine_attention, ("f32", "f32"), 0),
    "delta": examine_delta,
    "linear q4_k": partial(examine_linear, ["q4_k"], 512, [20], False, 0),
    "linear q8_0 and q4_0": partial(examine_linear, ["q8_0", "q4_0"], 96, [17, 50], False, 0),
    "linear q4_k of 8448": partial(examine_linear, ["q4_k"], 8448, [16], False, 0),
    "zipped q4_k": partial(examine_linear, ["q4_k", "q4_k"], 256, [33, 33], True, 0),
    "experts q4_k": partial(examine_linear, ["q4_k"], 256, [33], False, 2),
}


def beyond(bound: float, what: str, found: list[np.ndarray], expected: list[np.ndarray]) -> Iterator[str]:
    largest = max(error(f, e) for f, e in zip(found, expected))
    if not largest <= bound:
        yield f"{what} differ{'s' if what[-1] != 's' else ''} by {largest:.2g}"


def unequal(what: str, found: list[np.ndarray], expected: list[np.ndarray]) -> Iterator[str]:
    if not all(np.array_equal(f, e) for f, e in zip(found, expected)):
        yield what


def planted(mutation: Mutation, changed: set[str]) -> Callable[..., str]:
    """hip_source with the bug in it; names of kernels that have it are added to `changed`."""
    original = gpu.hip_source

    def source(*arguments, **options) -> str:
        text = original(*arguments, **options)
        name = re.search(r"void (\w+)\(", text[text.index('extern "C"') :])[1]
        found, count = re.subn(mutation.old, mutation.new, text)
        if not re.search(mutation.kernel, name) or not count:
            return text
        changed.add(name)
        return found

    return source


def caught_by(mutation: Mutation, arch: str) -> tuple[str, set[str]]:
    """What gave the bug away ("": nothing did), and the kernels that have it."""
    changed: set[str] = set()
    original, gpu.hip_source = gpu.hip_source, planted(mutation, changed)
    try:
        return next(SUBJECTS[mutation.subject](arch), ""), changed
    except KernelFault as fault:
        return f"fault: {fault.message[:90]}", changed
    finally:
        gpu.hip_source = original


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="gfx1100")
    parser.add_argument("-k", default="", help="only mutations whose name or subject contains this")
    arguments = parser.parse_args()
    arch = find_arch(arguments.arch)
    wanted = [m for m in MUTATIONS if arguments.k in m.name or arguments.k in m.subject]
    possible = [m for m in wanted if m.on or not m.needs or any(map(arch.has, m.needs))]
    survived = 0
    for mutation in possible:
        started = time.perf_counter()
        try:
            how, changed = caught_by(mutation, mutation.on or arch.name)
            why = "" if changed else f"no kernel of {mutation.subject} has {mutation.old!r}"
        except HfcError as error:  # the bug does not compile: then it is none
            how, why = "", error.message
        survived += not how
        state, seconds = "caught  " if how else "SURVIVED", time.perf_counter() - started
        where = f" ({mutation.on})" if mutation.on else ""
        print(f"{state} {mutation.name}{where}: {how or why} [{seconds:.0f} s]", flush=True)
    print(
        f"{len(possible) - survived} of {len(possible)} caught on {arch.name}; {len(wanted) - len(possible)} cannot exist there"
    )
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
