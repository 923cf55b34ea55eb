"""Logits that are not numbers: a step again, launch by launch, until something that one leaves is not finite."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np

from hfc.base.diagnostics import HfcError
from hfc.plan import Buffer, Bundle, Launch, Plan
from hfc.pointer import STEP, Pointer
from hfc.program import Program
from hfc.runtime.driver import Driver
from hfc.runtime.launcher import GpuLauncher
from hfc.runtime.sampler import NotNumbers
from hfc.step import Segment, Step
from hfc.target.platform import FAST, TURBO

LAYER = re.compile(r"(.*\blayers\.\d+)\.")
LEFT = re.compile(r"kernel \w+ -> (%\w+(?:, %\w+)*) ")  # of a launch that ends its region


@runtime_checkable
class Traced(Protocol):
    """A model that can tell where its numbers end."""

    plan: Plan

    def first_not_finite(self, step: Step) -> str | None:
        """What the first output belongs to that is not finite when the step runs again; None: all are, or it cannot be told. Recurrent
        states of the step's sequences go on: they are lost."""
        ...


def located(error: NotNumbers, model: object, step: Step, segment: Segment) -> HfcError:
    """The error with the layer in which it began, of one sequence of a step."""
    where = model.first_not_finite(alone(step, segment)) if isinstance(model, Traced) else None
    if where is None:
        return error
    hint = error.hint
    if model.plan.profile == TURBO:
        hint = f"profile {TURBO} rounds inputs to 8 bits: take --profile {FAST}; if its logits are no numbers either, {hint}"
    return NotNumbers(f"{error.message}: {where} is the first whose output is not finite", hint=hint)


def alone(step: Step, segment: Segment) -> Step:
    """The same rows of one sequence, and no others."""
    rows = slice(segment.row, segment.row + segment.rows)
    wanted = np.array([segment.rows - 1], np.int32)
    return replace(step, tokens=step.tokens[rows], segments=(segment._replace(row=0),), output_rows=wanted, guessed=0)


def first_not_finite(
    bundle: Bundle, plan: Plan, driver: Driver, memory: Mapping[Pointer, int], step: Step
) -> str | None:
    """memory: where the model's pointers lie on the device."""
    launches = plan.programs[Program(step.rows_class)]
    if any(launch.is_by_runtime for launch in launches):
        return None
    driver.make_current()
    launcher = GpuLauncher(bundle, plan, driver)
    driver.copy_in(memory[STEP], step.encode(plan.max_rows).view(np.uint8))
    for launch in launches:
        launcher.launch(launch, [memory[STEP], *(memory[pointer] for pointer in launch.pointers)], step)
        for buffer in _left(plan, launch):
            rows = len(step.tokens if buffer.rows == "T" else step.output_rows)
            data = np.empty(rows * buffer.row_bytes, np.uint8)
            driver.copy_out(data, memory[buffer.pointer])
            if not np.isfinite(data.view(np.float32)).all():
                return _place(launch)
    return None


def _left(plan: Plan, launch: Launch) -> Iterator[Buffer]:
    """The values that a launch leaves, if it is the last one of its region."""
    found = LEFT.match(launch.text)
    names = {name.strip()[1:] for name in found[1].split(",")} if found else set()
    return (buffer for buffer in plan.buffers if buffer.name in names and buffer.dtype == "f32")


def _place(launch: Launch) -> str:
    """layers.3 (layers.3.down_proj), by its weights, else by its states; a kernel's name where it has neither."""
    names = [pointer.name for kind in ("weight", "state") for pointer in launch.pointers if pointer.kind == kind]
    if not names:
        return launch.kernel
    layer = LAYER.match(names[0])
    return f"{layer[1]} ({', '.join(dict.fromkeys(names))})" if layer else ", ".join(names)
