"""Usage objects: what a request cost."""

from __future__ import annotations

from typing import Any

from hfc.base.dataclass import dataclass
from hfc.serve.job import Progress
from hfc.serve.sequence import Sequence


def openai_usage(sequences: list[Sequence]) -> dict[str, Any]:
    """Several choices of one prompt count it once; what is cached is the first's."""
    prompts = {s.job.prompt: s.usage for s in reversed(sequences)}  # the first of equals
    prompt = sum(u.prompt for u in prompts.values())
    completion = sum(s.usage.completion for s in sequences)
    cycles, drafted, accepted = (
        sum(getattr(s.usage, name) for s in sequences) for name in ("cycles", "drafted", "accepted")
    )
    details = {"reasoning_tokens": sum(s.usage.reasoning for s in sequences)}
    if cycles:
        details |= {"accepted_prediction_tokens": accepted, "rejected_prediction_tokens": drafted - accepted}
    found = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": sum(u.cached for u in prompts.values())},
        "completion_tokens_details": details,
    }
    if cycles:
        reasons = dict.fromkeys(s.usage.drafting for s in sequences if s.usage.cycles)
        found["speculation"] = {
            "cycles": cycles,
            "tokens_per_cycle": round((accepted + cycles) / cycles, 3),
            "reason": "; ".join(reasons),
        }
    return found


@dataclass(frozen=True)
class Spans:
    """Where the time of an answer went: in the queue, with its prompt, with its tokens."""

    queued_s: float
    prompt_s: float
    answer_s: float


def spans_of(sequence: Sequence) -> Spans:
    """Of an answer that is finished, or of what there is of it."""
    known = sequence.usage.timings
    queued_s = known.get("queue_s", 0.0)
    first_s = known.get("first_token_s", queued_s)
    return Spans(queued_s, first_s - queued_s, max(0.0, sequence.last_token_s - sequence.submitted_s - first_s))


def timings(sequence: Sequence) -> dict[str, float]:
    """As llama-server tells them."""
    usage, spans = sequence.usage, spans_of(sequence)
    computed = usage.prompt - usage.cached
    return {
        "cache_n": usage.cached,
        **_speed("prompt", computed, spans.prompt_s),
        **_speed("predicted", usage.completion, spans.answer_s),
    }


def prompt_progress(progress: Progress) -> dict[str, int]:
    """As llama-server tells it."""
    return {
        "total": progress.total,
        "cache": progress.cached,
        "processed": progress.processed,
        "time_ms": round(progress.seconds * 1e3),
    }


def _speed(name: str, count: int, seconds: float) -> dict[str, float]:
    return {
        f"{name}_n": count,
        f"{name}_ms": round(seconds * 1e3, 3),
        f"{name}_per_token_ms": round(seconds * 1e3 / count, 3) if count else 0.0,
        f"{name}_per_second": round(count / seconds, 3) if seconds else 0.0,
    }
