#!/usr/bin/env python3
"""Plant typical bugs in rendered GPU kernels, one at a time, and demand that the emulator suite catches each.

    scripts/mutate_kernels.py [--arch gfx1100] [-k NAME]

A mutation is caught when the emulator reports a fault, logits leave their bound, or two schedules of waves disagree.
Exit status 1 if one survives, or if its text is in no kernel any more (then the table below needs a new line).
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hfc.backend import gpu
from hfc.base.diagnostics import HfcError
from hfc.compiler import compile_model, open_source
from hfc.emulated import EmulatedModel
from hfc.isa import SCHEDULES
from hfc.oracle import InterpretedModel
from hfc.runtime.upload import CheckpointWeights
from hfc.step import Step

MODELS = Path(__file__).resolve().parents[1] / "tests/data/models"
CONTEXT, MAX_ROWS, DECODE_STEPS, PROMPT = 96, 64, 3, 21
BOUND = 1e-3  # relative L2, as in tests/isa/test_isa_models.py
DENSE, MOE = "llama", "qwen3_5_moe_text"


@dataclass(frozen=True)
class Mutation:
    """In kernels whose name matches `kernel`, every `old` (a regular expression) becomes `new`."""

    name: str
    checkpoint: str
    kernel: str
    old: str
    new: str


DECODE, MATRIX = r"(linear|zip).*(?<!_stage)(?<!_matrix)(?<!_tiled)$", "_matrix$"
MUTATIONS = (
    Mutation("sum over a wave skips a step", DENSE, "linear", r"if constexpr \(LANES >= 8\) x \+= .*;", ""),
    Mutation("maximum over a wave skips a step", MOE, "route", r"x = hfc_larger\(x, hfc_other<2>\(x\)\);", ""),
    Mutation("block sum without barrier", DENSE, "linear", r"(slots\[hfc_wave\(\)\] = x;\s+)hfc_barrier\(\);", r"\1"),
    Mutation("step buffer with another row count", DENSE, ".", r"#define MAX_ROWS \d+", "#define MAX_ROWS 63"),
    Mutation(
        "context ends one position early", DENSE, "attend", r"(const int last = position);", r"\1 - 1;"
    ),
    Mutation("context goes one position too far", DENSE, "attend", r"first \+ a > last\)", "first + a > last + 3)"),
    Mutation("softmax total is not rescaled", DENSE, "attend", r"total\[h\] \*= keep;", ""),
    Mutation("values of the next position", DENSE, "attend", r"(value_line = .*\(line0 \+ p)\)", r"\1 + 1)"),
    Mutation("waves joined before all wrote", DENSE, "attend", r"hfc_barrier\(\);(\s+float high)", r"\1"),
    Mutation("KV head of the wrong group", DENSE, "attend", r"head0 / 2\)", "head0 % 2)"),
    Mutation("slots in LDS used again too soon", DENSE, "attend", r"hfc_barrier\(\);(\s+\}\s+\}\s*)$", r"\1"),
    Mutation("one weight row too far", DENSE, DECODE, r"\+ index \* ", "+ (index + 1) * "),
    Mutation("lanes start one turn late", DENSE, DECODE, r"\* WAVE \+ lane; turn", "* WAVE + lane + 1; turn"),
    Mutation("inputs used before they are staged", DENSE, DECODE, r"hfc_barrier\(\);(\s+const int stop)", r"\1"),
    Mutation("sums of another team are joined", DENSE, DECODE, r"y = joined\[from\]", "y = joined[from ^ 4]"),
    Mutation(
        "shares joined before all wrote",
        DENSE,
        DECODE,
        r"hfc_barrier\(\);(\s+for \(int e = hfc_thread\(\); e < rows \* .*\s+const int r = .*, from = )",
        r"\1",
    ),
    Mutation("store guard off by one", DENSE, DECODE, r"if \(n < (\d+)\) \{", r"if (n < \1 - 1) {"),
    Mutation(
        "WMMA operands from swapped lanes", DENSE, MATRIX, r"(&weights\[buffer\]\[0\]\[from_line)\]", r"\1 ^ 16]"
    ),
    Mutation(
        "WMMA half-waves hold other lines",
        DENSE,
        MATRIX,
        r"(hfc_load_first\(const _Float16\* lines\) \{)",
        r"\1 lines += hfc_lane() / 16 * STRIDE;",
    ),
    Mutation("a tile is used before it is staged", DENSE, MATRIX, r"hfc_barrier\(\);(\s+start \+= )", r"\1"),
    Mutation("both tiles lie in one buffer", DENSE, MATRIX, r"buffer \^= 1;", ";"),
    Mutation("the scale of another row", DENSE, MATRIX, r"\(size_t\)\(row / 1\)", "(size_t)(row ^ 1)"),
    Mutation(
        "a tile reads rows beyond the step",
        DENSE,
        MATRIX,
        r"wanted < count \? wanted : count - 1;",
        "wanted;",
    ),
    Mutation(
        "the low half of inputs is dropped", DENSE, "_stage$", r"hfc_f32_to_f16\(x - .*\);", "hfc_f32_to_f16(x);"
    ),
    Mutation(
        "a sequence starts from an old state", MOE, "delta", r"= hfc_segment_position\(step, segment\) == 0", "= false"
    ),
    Mutation("the state is not kept", MOE, "delta", r"memory\[d \* \d+\] = state\[i\];", ";"),
    Mutation(
        "the window forgets its order",
        MOE,
        "delta",
        r"past\[turn\]\[i\] = past\[turn\]\[i \+ 1\]",
        "past[turn][i] = past[turn][i]",
    ),
    Mutation("the state does not decay", MOE, "delta", r"state\[(\S+ \* \S+ \+ \S+|i)\] \*= keep;", ""),
    Mutation("an expert is chosen twice", MOE, "route", r"i \* WAVE \+ lane == id \? -1\.0f : ", ""),
    Mutation("an expert's last pair is forgotten", MOE, "_sort$", r"(row < end; row\+\+)(\) \{)", r"row < end - 1; row++\2"),
    Mutation("pairs of an expert overlap", MOE, "_sort$", r"before\[thread\] - mine", "before[thread]"),
    Mutation("a tile's rows of another expert", MOE, MATRIX, r"pairs \+ 1 \+ entry\[1\]", "pairs + 2 + entry[1]"),
    Mutation("weights of another expert", MOE, "map_weighted_sum", r"\* 2 \+ 1\]", "* 2]"),
)


def compile_mutated(mutation: Mutation, arch: str) -> tuple[object, int]:
    """(bundle, kernels changed). The bundle cache is passed by; the kernel cache knows sources."""
    original, changed = gpu.hip_source, []

    def mutated(*arguments, **options) -> str:
        source = original(*arguments, **options)
        name = re.search(r"void (\w+)\(", source[source.index('extern "C"') :])[1]
        found = re.subn(mutation.old, mutation.new, source)
        if not re.search(mutation.kernel, name) or not found[1]:
            return source
        changed.append(name)
        return found[0]

    gpu.hip_source = mutated
    try:
        path = MODELS / mutation.checkpoint
        settings = dict(ctx=CONTEXT, max_rows=MAX_ROWS, kv="f32", print_after=lambda name, graph: None)
        return compile_model(path, [arch], **settings), len(changed)
    finally:
        gpu.hip_source = original


def steps_of(tokens: np.ndarray) -> list[Step]:
    """A prompt for the prefill program, single tokens for decode, and three rows of decode at once."""
    single = [Step.single(tokens[at : at + 1], position=at) for at in range(PROMPT, PROMPT + DECODE_STEPS)]
    return [Step.single(tokens[:PROMPT]), *single, Step.single(tokens[:3], position=PROMPT + DECODE_STEPS)]


def caught_by(mutation: Mutation, arch: str) -> str:
    """What gave the bug away, "" if nothing did. Raises HfcError when the bug is in no kernel."""
    bundle, changed = compile_mutated(mutation, arch)
    if not changed:
        raise HfcError(f"{mutation.name}: no kernel of {mutation.checkpoint} has {mutation.old!r}")
    source = open_source(MODELS / mutation.checkpoint)
    weights = CheckpointWeights(source.checkpoint, CONTEXT)
    steps = steps_of(np.random.default_rng(5).integers(0, bundle.plans[arch].vocab, PROMPT + DECODE_STEPS))
    reference = InterpretedModel(source, CONTEXT)
    expected = [reference.forward(step) for step in steps]
    first: list[np.ndarray] = []
    for options in SCHEDULES:
        model = EmulatedModel(bundle, arch, weights, options)
        try:
            found = [model.forward(step) for step in steps]
        except HfcError as error:
            return f"fault: {error.message[:90]}"
        error = max(float(np.linalg.norm(f - e) / np.linalg.norm(e)) for f, e in zip(found, expected))
        if not error <= BOUND:
            return f"logits differ by {error:.2g}"
        if first and not all(np.array_equal(a, b) for a, b in zip(first, found)):
            return "schedules disagree"
        first = first or found
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="gfx1100")
    parser.add_argument("-k", default="", help="only mutations whose name contains this")
    arguments = parser.parse_args()
    wanted = [m for m in MUTATIONS if arguments.k in m.name]
    survived = 0
    for mutation in wanted:
        started = time.perf_counter()
        try:
            how = caught_by(mutation, arguments.arch)
        except HfcError as error:
            how, missing = "", f" ({error.message})"
        else:
            missing = ""
        survived += not how
        state, seconds = "caught  " if how else "SURVIVED", time.perf_counter() - started
        print(f"{state} {mutation.name}: {how}{missing} [{seconds:.0f} s]", flush=True)
    print(f"{len(wanted) - survived} of {len(wanted)} caught on {arguments.arch}")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
