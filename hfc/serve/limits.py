"""What the server allows itself and its clients: one table, whose rows are options of `hfc serve`."""

from __future__ import annotations

from hfc.base.dataclass import dataclass


@dataclass(frozen=True)
class ServerLimits:
    """_s: seconds.

    A request: header_bytes and body_bytes; header_s and body_s until all of it has come; json_depth and json_values of its body, json_containers of
    these that are objects or lists, and json_fields of one object that hfc reads. All of them together: connections; idle_s between two requests of one; write_s that a client may
    leave an answer unread; bodies_bytes that are being read; planning requests that are being rendered, tokenized and compiled.

    Programs that clients and checkpoints bring run in workers: template_s and template_bytes of a chat template's rendering,
    grammar_s and grammar_bytes of a grammar's compilation, grammar_queue that wait for it, grammar_cache_bytes of compiled ones.
    """

    header_bytes: int = 32 << 10
    body_bytes: int = 16 << 20
    header_s: float = 20.0
    body_s: float = 60.0
    json_depth: int = 128
    json_values: int = 500_000
    json_containers: int = 32_768
    json_fields: int = 256
    connections: int = 512
    idle_s: float = 75.0
    write_s: float = 60.0
    bodies_bytes: int = 128 << 20
    planning: int = 64
    template_s: float = 2.0
    template_bytes: int = 512 << 20
    template_workers: int = 4
    grammar_s: float = 5.0
    grammar_bytes: int = 512 << 20
    grammar_workers: int = 2
    grammar_queue: int = 16
    grammar_cache_bytes: int = 8 << 20
