"""Estimates as rows of a table, as JSON, and as a trace for ui.perfetto.dev."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from hfc.predict.launch import Site
from hfc.predict.program import Estimate, Timed

HEADER = ("kernel", "blocks", "times", "us", "share %", "bound", "GB/s", "TFLOP/s", "issue %", "DRAM %")


def heading(estimate: Estimate, site: Site) -> str:
    what = f"{estimate.program} of {estimate.tokens} token(s) at context {estimate.context}"
    return (
        f"{what}: {estimate.tokens_per_second:.1f} tok/s; {estimate.count} launches, {estimate.kernel_seconds * 1e6:.0f} us in "
        f"kernels and {estimate.count * estimate.gap_seconds * 1e6:.0f} us between them"
        + ("" if is_absolute(estimate, site) else " (ranks kernels; not a speed to expect)")
    )


def is_absolute(estimate: Estimate, site: Site) -> bool:
    """Whether such figures were within 6 % of published ones: decode, on the architectures that were compared."""
    return estimate.program == "decode" and site.timing.absolute


def rows(estimate: Estimate) -> list[tuple]:
    return [_row(timed, estimate) for timed in estimate.launches]


def _row(timed: Timed, estimate: Estimate) -> tuple:
    time, call = timed.time, timed.call
    return (
        call.launch.kernel,
        call.sample.total,
        call.count,
        round(time.seconds * 1e6, 2),
        round(100 * timed.seconds / estimate.seconds, 1),
        bound_of(timed, estimate),
        round(call.weight_bytes / time.seconds / 1e9),
        round(call.operations / time.seconds / 1e12, 2),
        round(100 * time.busy["issue"]),
        round(100 * time.busy["DRAM"]),
    )


def bound_of(timed: Timed, estimate: Estimate) -> str:
    """What bounds the kernel; launch, where it is shorter than the gap after it."""
    return "launch" if timed.time.seconds < estimate.gap_seconds else timed.time.bound


def as_objects(name: str, site: Site, estimates: Sequence[Estimate]) -> dict[str, Any]:
    return {
        "card": name,
        "arch": site.arch.name,
        "units": site.units,
        "ghz": round(site.ghz, 3),
        "gb_s": site.gb_s,
        "steps": [
            {
                "program": estimate.program,
                "tokens": estimate.tokens,
                "context": estimate.context,
                "tok_s": round(estimate.tokens_per_second, 2),
                "kernel_us": round(estimate.kernel_seconds * 1e6, 2),
                "gap_us": round(estimate.gap_seconds * 1e6, 2),
                "absolute": is_absolute(estimate, site),
                "launches": [_object(timed, estimate) for timed in estimate.launches],
            }
            for estimate in estimates
        ],
    }


def _object(timed: Timed, estimate: Estimate) -> dict[str, Any]:
    time, call = timed.time, timed.call
    return {
        "kernel": call.launch.kernel,
        "blocks": call.sample.total,
        "threads": call.sample.threads,
        "times": call.count,
        "us": round(time.seconds * 1e6, 3),
        "bound": bound_of(timed, estimate),
        "weight_bytes": call.weight_bytes,
        "operations": call.operations,
        "dram_bytes": round(time.dram_bytes),
        "l2_bytes": round(time.l2_bytes),
        "busy": {name: round(share, 3) for name, share in time.busy.items()},
        "waits": {name: round(share, 3) for name, share in time.waits.items()},
        "text": call.launch.text,
    }


def as_trace(found: Iterable[tuple[str, Site, Sequence[Estimate]]]) -> dict[str, Any]:
    """Chrome's trace format: a process for each card, a thread for each step, each launch where the program has it first."""
    events: list[dict[str, Any]] = []
    for process, (name, _, estimates) in enumerate(found, 1):
        events.append({"ph": "M", "name": "process_name", "pid": process, "args": {"name": name}})
        for thread, estimate in enumerate(estimates, 1):
            label = f"{estimate.program} {estimate.tokens} at {estimate.context}"
            events.append({"ph": "M", "name": "thread_name", "pid": process, "tid": thread, "args": {"name": label}})
            events += _slices(estimate, process, thread)
    return {"traceEvents": events, "displayTimeUnit": "ns"}


def _slices(estimate: Estimate, process: int, thread: int) -> list[dict[str, Any]]:
    made, at, by_call = [], 0.0, {timed.call.key: timed for timed in estimate.launches}
    for key in estimate.order:
        timed = by_call[key]
        length = timed.time.seconds * 1e6
        place = {"pid": process, "tid": thread, "ts": at}
        made.append(
            {"ph": "X", "name": timed.call.launch.kernel, "dur": length, "args": _object(timed, estimate), **place}
        )
        for counter, value in (
            ("DRAM GB/s", timed.time.dram_bytes / length / 1e3),
            ("issue", timed.time.busy["issue"]),
        ):
            made.append(
                {"ph": "C", "name": f"{estimate.program} {counter}", **place, "args": {"value": round(value, 2)}}
            )
        at += length + estimate.gap_seconds * 1e6
    return made
