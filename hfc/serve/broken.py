"""The end of a stream that cannot go on, in the words of its dialect."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hfc.serve.answer import sse, sse_error
from hfc.serve.errors import ApiError, error_object

RESPONSES = "/v1/responses"


def failed_response(head: Mapping[str, Any], error: ApiError) -> list[dict[str, Any]]:
    """Of /v1/responses, without their numbers. OpenAI's clients look at the first of these events, Codex at the second."""
    told = error_object(error, RESPONSES)["error"]
    failed = {"code": told["code"] or told["type"], "message": told["message"]}
    return [
        {"type": "error", **{k: told[k] for k in ("code", "message", "param")}, "error": told},
        {"type": "response.failed", "response": {**head, "status": "failed", "error": failed}},
    ]


def broken_off(error: ApiError, path: str, media_type: str, opening: bytes = b"", events: int = 0) -> bytes:
    """opening: the stream's first bytes.  events: how many it had."""
    if not media_type.startswith("text/event-stream"):
        return json.dumps(error_object(error, path)).encode() + b"\n"
    if path != RESPONSES:
        return sse_error(error, path)
    first = opening.partition(b"data: ")[2].partition(b"\n")[0]
    head = json.loads(first)["response"] if first else {}
    told = failed_response(head, error)
    return b"".join(sse({**data, "sequence_number": events + i}, data["type"]) for i, data in enumerate(told))
