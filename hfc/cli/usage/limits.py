"""What `hfc serve` lets its clients do at most: options that are fields of ServerLimits, X_mb for X_bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hfc.cli.usage.declare import PROJECT, Option, option


def limit(flag: str, name: str, kind: Callable[[str], Any], help: str, default: float) -> Option:
    least = 0.1 if kind is float else 1
    return option(flag, kind, help, default, name=name, least=least, settable=PROJECT, into="limits")


LIMITS = (
    limit("--max-body-mb", "body_mb", int, "Largest body of a request, in MB.", 16),
    limit("--max-bodies-mb", "bodies_mb", int, "Bodies that are being read, together, in MB; more get 503.", 128),
    limit("--max-header-kb", "header_kb", int, "Largest head of a request, in KB.", 32),
    limit("--header-timeout", "header_s", float, "Seconds until the head of a request has come.", 20.0),
    limit("--body-timeout", "body_s", float, "Seconds until its body has come.", 60.0),
    limit("--idle-timeout", "idle_s", float, "Seconds that a connection may wait between two requests.", 75.0),
    limit("--write-timeout", "write_s", float, "Seconds that a client may leave an answer unread.", 60.0),
    limit("--max-connections", "connections", int, "Connections at a time; more get 503.", 512),
    limit("--json-depth", "json_depth", int, "Depth of a JSON body.", 128),
    limit("--json-values", "json_values", int, "Values in a JSON body.", 500_000),
    limit("--json-containers", "json_containers", int, "Objects and lists in a JSON body.", 32_768),
    limit("--json-fields", "json_fields", int, "Fields of one object of a request.", 256),
    limit("--max-planning", "planning", int, "Requests rendered, tokenized or compiled at a time; more get 429.", 64),
    limit("--template-timeout", "template_s", float, "Seconds that a chat template may take.", 2.0),
    limit("--template-mb", "template_mb", int, "Memory that it may take, in MB.", 512),
    limit("--template-workers", "template_workers", int, "Processes that render.", 4),
    limit("--grammar-timeout", "grammar_s", float, "Seconds that a grammar may compile.", 5.0),
    limit("--grammar-mb", "grammar_mb", int, "Memory that it may take, in MB.", 512),
    limit("--grammar-workers", "grammar_workers", int, "Processes that compile.", 2),
    limit("--grammar-queue", "grammar_queue", int, "Grammars that may wait for one; more get 429.", 16),
    limit("--grammar-cache-mb", "grammar_cache_mb", int, "Compiled grammars that are kept, in MB.", 8),
)
