"""Usage objects: what a request cost."""

from __future__ import annotations

from typing import Any

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
