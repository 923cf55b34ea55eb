"""Two bundles to what differs between them: model, settings, formats, memory, launches, kernels with their registers and bytes."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from hfc.formats import weight_format
from hfc.plan import Bundle, Kernel, Launch, Plan

DIGEST = re.compile(r"_[0-9a-f]{8}(?=_|$)")  # of a kernel's name: what it is made of, in eight digits
SETTINGS = (
    "context",
    "slots",
    "max_rows",
    "max_outputs",
    "vocab",
    "profile",
    "journal_rows",
    "arena_bytes",
    "cpu",
    "taps",
)
USED = {"vgprs": "VGPRs", "agprs": "AGPRs", "sgprs": "SGPRs", "lds_bytes": "bytes of LDS", "scratch_bytes": "bytes of scratch",
        "occupancy": "waves a SIMD"}  # fmt: skip


def differences(old: Bundle, new: Bundle) -> list[str]:
    """One line a difference, under headings; empty if the bundles do the same with the same code."""
    lines = list(_section("model", _facts(_flat(old.model), _flat(new.model))))
    for name in sorted({f for f in (*old.files, *new.files) if f.endswith(".hfm")}):
        if old.files.get(name) != new.files.get(name):
            lines += _section(name, _text_lines(old.files.get(name, b""), new.files.get(name, b"")))
    for arch in sorted(old.plans.keys() | new.plans.keys()):
        if arch not in old.plans or arch not in new.plans:
            lines += ["", f"{arch}: only in the {'second' if arch in new.plans else 'first'} bundle"]
            continue
        lines += _section(arch, _plan(old, new, old.plans[arch], new.plans[arch]))
    return lines[1:] if lines and not lines[0] else lines


def _section(title: str, lines: Iterable[str]) -> list[str]:
    found = list(lines)
    return ["", f"{title}:", *(f"  {line}" for line in found)] if found else []


def _facts(old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[str]:
    for name in (*old, *(n for n in new if n not in old)):
        if old.get(name) != new.get(name):
            yield f"{name}: {_shown(old.get(name))} -> {_shown(new.get(name))}"


def _shown(value: object) -> str:
    return "-" if value is None or value == () else str(value)


def _flat(model: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in model.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def _text_lines(old: bytes, new: bytes) -> Iterator[str]:
    counts = [Counter(text.decode(errors="replace").splitlines()) for text in (old, new)]
    gone, come = counts[0] - counts[1], counts[1] - counts[0]
    yield from (f"- {line.strip()}" for line in gone)
    yield from (f"+ {line.strip()}" for line in come)


def _plan(old: Bundle, new: Bundle, before: Plan, after: Plan) -> Iterator[str]:
    yield from _facts({n: getattr(before, n) for n in SETTINGS}, {n: getattr(after, n) for n in SETTINGS})
    yield from _facts(_memory(before), _memory(after))
    yield from _programs(before, after)
    yield from _kernels(old, new, before, after)


def _memory(plan: Plan) -> dict[str, object]:
    """Bytes of weights by format, of states, of tables."""
    weights: dict[str, int] = defaultdict(int)
    for ref in plan.weights:
        weights[ref.format] += math.prod(ref.shape[:-1]) * weight_format(ref.format).row_bytes(ref.shape[-1])
    found: dict[str, object] = {f"weights in {name}": f"{nbytes} bytes" for name, nbytes in sorted(weights.items())}
    for formats in sorted({tuple(sorted(s.formats.items())) for s in plan.states if s.formats}):
        count = sum(tuple(sorted(s.formats.items())) == formats for s in plan.states)
        found[f"caches with {', '.join(f'{plane} in {form}' for plane, form in formats)}"] = count
    found["state a slot"] = f"{sum(sum(s.planes.values()) for s in plan.states)} bytes"
    return found


def _programs(before: Plan, after: Plan) -> Iterator[str]:
    for name in (*before.programs, *(n for n in after.programs if n not in before.programs)):
        old, new = (_program(plan.programs.get(name)) for plan in (before, after))
        yield from _facts({f"{name}: {k}": v for k, v in old.items()}, {f"{name}: {k}": v for k, v in new.items()})


def _program(launches: tuple[Launch, ...] | None) -> dict[str, object]:
    if launches is None:
        return {}
    return {
        "launches": len(launches),
        "bytes of a row": sum(sum(launch.bytes.values()) for launch in launches),
        "operations of a row": sum(sum(launch.flops.values()) for launch in launches),
    }


def _kernels(old: Bundle, new: Bundle, before: Plan, after: Plan) -> Iterator[str]:
    """By name without the digest; of several with one such name in order."""
    ours, theirs = _by_name(before.kernels), _by_name(after.kernels)
    for name in (*ours, *(n for n in theirs if n not in ours)):
        if name not in theirs:
            yield f"- kernel {name}"
        elif name not in ours:
            yield f"+ kernel {name}"
        else:
            changes = list(_kernel(old, new, ours[name], theirs[name]))
            if changes:
                yield f"~ kernel {name}: {', '.join(changes)}"
    if _library(old, before) != _library(new, after):
        yield "~ code of the host library"


def _by_name(kernels: Iterable[Kernel]) -> dict[str, Kernel]:
    found: dict[str, Kernel] = {}
    for kernel in kernels:
        name = DIGEST.sub("", kernel.symbol)
        count = sum(key.partition(" #")[0] == name for key in found)
        found[f"{name} #{count + 1}" if count else name] = kernel
    return found


def _kernel(old: Bundle, new: Bundle, before: Kernel, after: Kernel) -> Iterator[str]:
    for field, word in USED.items():
        was, now = before.resources.get(field), after.resources.get(field)
        if was != now:
            yield f"{_shown(was)} -> {_shown(now)} {word}"
    if before.file and after.file:
        sizes = [len(bundle.files[kernel.file]) for bundle, kernel in ((old, before), (new, after)) if kernel.file]
        if sizes[0] != sizes[1]:
            yield f"{sizes[0]} -> {sizes[1]} bytes of code"
        elif old.digest(before.file) != new.digest(after.file):
            yield "other code of the same size"
    if before.symbol != after.symbol:
        yield "of another region"


def _library(bundle: Bundle, plan: Plan) -> str | None:
    """The hash of a host plan's code; a GPU's plan has a tape instead, which its launches and kernels decide on."""
    return bundle.digest(plan.library) if plan.library in bundle.files else None
