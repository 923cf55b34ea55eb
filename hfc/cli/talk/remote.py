"""Answers of a server that runs on this machine already: the model is not loaded a second time."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.cli.talk.piece import TextPiece
from hfc.runtime.sampler import Sampling
from hfc.serve.record import ServerRecord, running

TIMEOUT_S = 600
LOOPBACK = ("127.0.0.1", "localhost", "::1")
SENT = ("temperature", "top_k", "top_p", "min_p", "repeat_penalty", "frequency_penalty", "presence_penalty", "seed")


@dataclass(frozen=True)
class Remote:
    """An Answerer over HTTP."""

    name: str
    record: ServerRecord

    def answer(
        self,
        messages: Sequence[Mapping[str, Any]],
        sampling: Sampling,
        max_tokens: int | None,
        variables: Mapping[str, Any],
    ) -> Iterator[TextPiece]:
        body: dict[str, Any] = {name: value for name in SENT if (value := getattr(sampling, name)) is not None}
        body |= {
            "model": self.name,
            "messages": list(messages),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if max_tokens is not None:
            body["max_tokens"] = max_tokens
        if variables:
            body["chat_template_kwargs"] = dict(variables)
        start, finish, usage = time.monotonic(), "", {}
        for event in self._events(body):
            usage = event.get("usage") or usage
            for choice in event.get("choices", ()):
                delta = choice.get("delta", {})
                if delta.get("reasoning_content"):
                    yield TextPiece("thought", delta["reasoning_content"])
                if delta.get("content"):
                    yield TextPiece("text", delta["content"])
                finish = choice.get("finish_reason") or finish
        seconds = time.monotonic() - start
        yield TextPiece("end", f"prompt {usage.get('prompt_tokens', '?')} tokens; answer {usage.get('completion_tokens', '?')} tokens in "
                    f"{seconds:.1f} s; {finish}; server on port {self.record.port}")  # fmt: skip

    def _events(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        connection = http.client.HTTPConnection(self.record.host, self.record.port, timeout=TIMEOUT_S)
        try:
            connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            if response.status != 200:
                raise HfcError(f"the server on port {self.record.port} refuses: {_message(response.read())}")
            for line in response:
                data = line.decode("utf-8", "replace").strip().removeprefix("data: ")
                if data.startswith("{"):
                    event = json.loads(data)
                    if "error" in event:
                        raise HfcError(f"the server on port {self.record.port}: {event['error'].get('message', data)}")
                    yield event
        except (OSError, http.client.HTTPException) as error:
            raise HfcError(
                f"the server on port {self.record.port}: {error}", hint="`hfc ps` lists what runs"
            ) from error
        finally:
            connection.close()  # an answer that is not read to its end stops here


def find_server(name: str) -> Remote | None:
    """A server on loopback that serves a model of this name to anybody."""
    for record in running():
        if name in record.model.split(", ") and record.host in LOOPBACK and _answers(record):
            return Remote(name, record)
    return None


def _answers(record: ServerRecord) -> bool:
    connection = http.client.HTTPConnection(record.host, record.port, timeout=2)
    try:
        connection.request("GET", "/v1/models")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False  # TLS, or it is ending
    finally:
        connection.close()


def _message(body: bytes) -> str:
    try:
        return json.loads(body)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return body.decode("utf-8", "replace")[:200]
