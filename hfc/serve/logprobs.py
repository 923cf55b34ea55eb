"""Log probabilities as the two OpenAI endpoints spell them."""

from __future__ import annotations

from typing import Any

from hfc.runtime.tokenizer import Tokenizer
from hfc.serve.job import Logprob

LOWEST = -9999.0  # JSON has no -infinity; OpenAI's documents name this value


def chat_logprob(tokenizer: Tokenizer, logprob: Logprob) -> dict[str, Any]:
    return {
        **_entry(tokenizer, logprob.token, logprob.logprob),
        "top_logprobs": [_entry(tokenizer, token, value) for token, value in logprob.top],
    }


def native_logprob(tokenizer: Tokenizer, logprob: Logprob) -> dict[str, Any]:
    """As llama-server tells it."""
    return {
        "id": logprob.token,
        **_entry(tokenizer, logprob.token, logprob.logprob),
        "top_logprobs": [{"id": token, **_entry(tokenizer, token, value)} for token, value in logprob.top],
    }


def completion_logprobs(
    tokenizer: Tokenizer, logprobs: list[Logprob | None], tokens: list[int], offset: int = 0
) -> dict[str, Any]:
    """Parallel lists; a prompt's first token has None. offset: characters before the first token."""
    texts = [token_string(tokenizer, t) for t in tokens]
    offsets = []
    for text in texts:
        offsets.append(offset)
        offset += len(text)
    return {
        "tokens": texts,
        "token_logprobs": [None if p is None else max(p.logprob, LOWEST) for p in logprobs],
        "top_logprobs": [
            None if p is None else {token_string(tokenizer, t): max(v, LOWEST) for t, v in p.top} for p in logprobs
        ],
        "text_offset": offsets,
    }


def token_bytes(tokenizer: Tokenizer, token: int) -> bytes:
    return tokenizer.bytes_of(token)


def token_string(tokenizer: Tokenizer, token: int) -> str:
    """A part of a character is spelled "bytes:\\xe6", as OpenAI does."""
    data = token_bytes(tokenizer, token)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{b:02x}" for b in data)


def _entry(tokenizer: Tokenizer, token: int, value: float) -> dict[str, Any]:
    data = token_bytes(tokenizer, token)
    return {"token": data.decode("utf-8", "replace"), "logprob": max(value, LOWEST), "bytes": list(data)}
