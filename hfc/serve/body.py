"""Bodies of requests: read within a time and a size, and looked at before anything is made of them."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
from collections.abc import Awaitable, Callable

import numpy as np

from hfc.serve.errors import ApiError
from hfc.serve.limits import ServerLimits

# What a character outside of strings does to the depth, and whether it stands between two values; by its code.
DEEPER = np.zeros(256, np.int8)
DEEPER[list(b"[{")], DEEPER[list(b"]}")] = 1, -1
BETWEEN = np.zeros(256, bool)
BETWEEN[list(b",:")] = True


class Bodies:
    """All that are being read now, together within one size."""

    def __init__(self, limits: ServerLimits):
        self._limits, self._held = limits, 0

    async def read(self, receive: Callable[[], Awaitable[dict]]) -> bytes:
        """The body; what came before a disconnect is all that there is. ApiError 408, 413, 503."""
        parts: list[bytes] = []
        try:
            await asyncio.wait_for(self._collect(receive, parts), self._limits.body_s)
        except asyncio.TimeoutError:
            text = f"the body did not come within {self._limits.body_s:g} s"
            raise ApiError(408, text, None, "timeout", {"Connection": "close"}) from None
        finally:
            self._held -= sum(map(len, parts))
        return b"".join(parts)

    async def _collect(self, receive: Callable[[], Awaitable[dict]], parts: list[bytes]) -> None:
        size = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return
            part = message.get("body", b"")
            parts.append(part)
            size += len(part)
            self._held += len(part)
            if size > self._limits.body_bytes:
                raise too_large(self._limits)
            if self._held > self._limits.bodies_bytes:
                headers = {"Retry-After": "5", "Connection": "close"}
                raise ApiError(503, "too many large bodies are being read", None, "unavailable", headers)
            if not message.get("more_body"):
                return


def too_large(limits: ServerLimits) -> ApiError:
    text = f"the body is larger than {limits.body_bytes} bytes"
    return ApiError(413, text, None, "request_too_large", {"Connection": "close"})


def give_memory_back() -> None:
    """What large bodies took: errors and their tracebacks hold some in cycles, and the C library keeps what was freed."""
    gc.collect()
    with contextlib.suppress(AttributeError):  # glibc has it
        ctypes.CDLL(None).malloc_trim(0)


def check_shape(body: bytes, limits: ServerLimits) -> None:
    """ApiError 400 for JSON that is nested too deeply or has too many values, before it is parsed. Strings do not count."""
    opens = body.count(b"[") + body.count(b"{")
    between = body.count(b",") + body.count(b":")
    if opens <= limits.json_depth and between <= limits.json_values:
        return  # nearly every body ends here
    shape = _outside_strings(body)
    deepest = int(np.cumsum(DEEPER[shape], dtype=np.int32).max(initial=0))
    if deepest > limits.json_depth:
        raise ApiError(
            400, f"the body is nested {deepest} deep; at most {limits.json_depth} is read", None, "invalid_json"
        )
    values = int(np.count_nonzero(BETWEEN[shape]))
    if values > limits.json_values:
        raise ApiError(
            400, f"the body has {values} values; at most {limits.json_values} are read", None, "invalid_json"
        )


def _outside_strings(body: bytes) -> np.ndarray:
    """Characters of a JSON text that are in no string, u8 [n]: numpy lets other threads run meanwhile."""
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")  # what is left of quotes begins or ends a string
    characters = np.frombuffer(plain, np.uint8)
    is_quote = characters == ord('"')
    inside = np.cumsum(is_quote, dtype=np.uint8) & 1  # wraps around, which does not change whether it is odd
    return characters[(inside == 0) & ~is_quote]
