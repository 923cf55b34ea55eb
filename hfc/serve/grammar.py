"""Structured output: a JSON schema, regular expression or Lark grammar as masks over tokens, through llguidance."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections import OrderedDict
from typing import Any

import llguidance
import llguidance.numpy
import numpy as np

from hfc.base.dataclass import dataclass
from hfc.runtime.tokenizer import Tokenizer
from hfc.sampling import TokenLimits, mask_words
from hfc.serve.errors import ApiError
from hfc.serve.job import Unanswerable
from hfc.serve.limits import ServerLimits
from hfc.serve.logprobs import token_bytes
from hfc.serve.memory import trim
from hfc.serve.reasoning import Thought
from hfc.serve.workers.child import compiled, first_line, library_of
from hfc.serve.workers.pool import Failed, Killed, TooMany, workers_of
from hfc.serve.workers.ticket import TICKET, Ticket

LONGEST = 1 << 18  # characters of a grammar
DEEPEST = 200  # objects and lists of a schema in one another
REMEMBERED = 256  # grammars, those that were refused too
TRIMMED = 1 << 20  # bytes of grammars that are forgotten: from here on they are given back
POLL_S = 0.05
# Tokens of a vocabulary that is ready before the first grammar. One of 248,320 takes 45 MB here, 40 in the process that forks workers
# and a second of processor time, 0.4 of it in one piece; a server that is asked for no grammar needs none of that.
READY = 1 << 16
LIMITS = ServerLimits()
# Of a string in JSON. llguidance's own are four, for 63 MB of tables instead of 17 (248,320 tokens); masks take as long with this one, but for
# strings of at most 29 characters (1.5 ms instead of 0.9).
SLICES = [r'[^"\\\x00-\x1F\x7F]{1,30}']


@dataclass(frozen=True)
class Compiled:
    """matcher: at its beginning, to be copied; None for a grammar that is refused, error says why."""

    matcher: llguidance.LLMatcher | None
    nbytes: int = 0
    error: str = ""


class GrammarCompiler:
    """Grammars over one vocabulary, compiled once each: first in a worker, under limits of time, memory and stack, and here only if
    that went well. vocab: logits a row, which may be more than the tokenizer has tokens."""

    def __init__(self, tokenizer: Tokenizer, vocab: int, limits: ServerLimits = LIMITS):
        self._tokenizer, self._vocab, self._pool = tokenizer, vocab, workers_of(limits).grammars
        self._cache_bytes = limits.grammar_cache_bytes
        self._known: OrderedDict[str, Compiled] = OrderedDict()
        self._making: dict[str, threading.Lock] = {}
        self._lock, self._building = threading.Lock(), threading.Lock()
        self._built: tuple[str, llguidance.LLTokenizer] | None = None

    def json_schema(self, schema: dict[str, Any], param: str) -> llguidance.LLMatcher:
        """ApiError 400 for what does not compile, as of all kinds."""
        if _depth(schema) > DEEPEST:
            raise _refusal(f"the schema is nested deeper than {DEEPEST}", param)
        return self._matcher("json_schema", json.dumps(schema), param)

    def regex(self, pattern: str, param: str) -> llguidance.LLMatcher:
        return self._matcher("regex", pattern, param)

    def lark(self, grammar: str, param: str) -> llguidance.LLMatcher:
        return self._matcher("lark", grammar, param)

    def warm(self) -> None:
        """Have a small vocabulary ready here and in the workers."""
        if self._vocab <= READY:
            with contextlib.suppress(ApiError):
                self.regex("a", "")

    def _library(self) -> tuple[str, llguidance.LLTokenizer]:
        """The vocabulary's id in the workers, and what it is here."""
        with self._building:
            if self._built is None:
                vocabulary = self._vocabulary()
                id = hashlib.sha256(json.dumps(vocabulary).encode()).hexdigest()
                self._pool.prepare(id, self._vocabulary)
                self._built = id, library_of(vocabulary, SLICES)
            return self._built

    def _vocabulary(self) -> dict[str, Any]:
        """Made again for a process that starts again: it takes 10 MB of 248,320 tokens."""
        tokenizer = self._tokenizer
        lengths = tokenizer.table.lengths()[: self._vocab]
        return {
            "data": tokenizer.table.data[: sum(lengths)].decode("latin-1"),
            "lengths": lengths + [0] * (self._vocab - len(lengths)),
            "special": sorted(i for i in tokenizer.special if i < self._vocab),
            "eos": tokenizer.eos if tokenizer.eos is not None else min(tokenizer.stop_ids, default=0),
            "bos": tokenizer.bos,
        }

    def _matcher(self, kind: str, text: str, param: str) -> llguidance.LLMatcher:
        if len(text) > LONGEST:
            raise _refusal(f"the grammar is longer than {LONGEST} characters", param)
        key = hashlib.sha256(f"{kind}:{text}".encode("utf-8", "surrogatepass")).hexdigest()
        known = self._recall(key) or self._make(key, kind, text)
        if known.matcher is None:
            raise _refusal(f"the grammar does not compile: {known.error}", param)
        return known.matcher.deep_copy()

    def gbnf(self, grammar: str, param: str) -> llguidance.LLMatcher:
        """llama.cpp's grammars; Lark is taken as it is."""
        return self._matcher("gbnf", grammar, param)

    def _recall(self, key: str) -> Compiled | None:
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
            return self._known.get(key)

    def _make(self, key: str, kind: str, text: str) -> Compiled:
        """Equal grammars that come at once are compiled once."""
        ticket = TICKET.get()
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with ticket.away():
            while not making.acquire(timeout=POLL_S):
                ticket.check()
        try:
            return self._recall(key) or self._remember(key, self._compile(kind, text, ticket))
        finally:
            making.release()
            with self._lock:
                self._making.pop(key, None)

    def _compile(self, kind: str, text: str, ticket: Ticket) -> Compiled:
        id, library = self._library()
        try:
            answer = self._pool.run({"do": "compile", "vocabulary": id, "kind": kind, "text": text}, ticket)
        except TooMany:
            raise ApiError(
                429, "too many grammars are being compiled", None, "queue_full", {"Retry-After": "5"}
            ) from None
        except Killed:
            raise ApiError(
                503, "the process that compiles was killed; try again", None, "unavailable", {"Retry-After": "1"}
            ) from None
        except Failed as error:
            return Compiled(None, error=error.message)
        if "error" in answer:
            return Compiled(None, error=answer["error"])
        matcher = compiled(library, kind, text)  # lets other threads run meanwhile
        if matcher.is_error():
            return Compiled(None, error=first_line(matcher.get_error()))
        return Compiled(matcher, answer["bytes"])

    def _remember(self, key: str, made: Compiled) -> Compiled:
        freed = 0
        with self._lock:
            self._known[key] = made
            while len(self._known) > 1 and (
                len(self._known) > REMEMBERED or sum(c.nbytes for c in self._known.values()) > self._cache_bytes
            ):
                freed += self._known.popitem(last=False)[1].nbytes
        if freed >= TRIMMED:
            trim()
        return made


def _refusal(message: str, param: str) -> ApiError:
    return ApiError(400, message, param, "invalid_grammar")


def _depth(value: Any) -> int:
    """Of dicts and lists in one another, counted without recursion."""
    level, depth = [value], 0
    while level := [v for v in level if isinstance(v, (dict, list))]:
        depth += 1
        if depth > DEEPEST:
            break
        level = [inner for v in level for inner in (v.values() if isinstance(v, dict) else v)]
    return depth


class Grammar:
    """Allows the tokens that go on with the grammar; a thought before it is free."""

    suits_device = True

    def __init__(self, matcher: llguidance.LLMatcher, tokenizer: Tokenizer, vocab: int, thought: Thought):
        self._matcher, self._tokenizer = matcher, tokenizer
        self._vocab, self._stops = vocab, sorted(i for i in tokenizer.stop_ids if i < vocab)
        self._mask = llguidance.numpy.allocate_token_bitmask(1, vocab)
        self._thought = thought

    def limit(self, logits: np.ndarray) -> np.ndarray:
        if self._thought.is_open:  # an answer that ended here would escape the grammar
            out = logits.copy()
            out[self._stops] = -np.inf
            return out
        allowed = np.unpackbits(self._allowed().view(np.uint8), bitorder="little")[: len(logits)].astype(bool)
        return np.where(allowed, logits, np.float32(-np.inf))

    def restrict(self, limits: TokenLimits) -> None:
        if self._thought.is_open:
            limits.forbid(self._stops)
        else:
            limits.allow_only(self._allowed().copy())

    def _allowed(self) -> np.ndarray:
        """A bit for each token that may come next, u32 [mask_words]."""
        llguidance.numpy.fill_next_token_bitmask(self._matcher, self._mask)
        if self._matcher.is_error():
            raise Unanswerable(f"the grammar failed: {first_line(self._matcher.get_error())}")
        mask = self._mask.view(np.uint32)[0]
        for token in self._stops:
            _set(mask, token, self._matcher.is_accepting())
        if self._thought.may_open and self._thought.open_id is not None:
            _set(mask, self._thought.open_id, True)
        return mask[: mask_words(self._vocab)]

    def accept(self, token: int) -> bool:
        if self._thought.push(token, token_bytes(self._tokenizer, token)) or token in self._stops:
            return False
        self._matcher.consume_token(token)
        return bool(self._matcher.is_stopped())


def _set(mask: np.ndarray, token: int, allowed: bool) -> None:
    bit = np.uint32(1 << (token & 31))
    mask[token >> 5] = mask[token >> 5] | bit if allowed else mask[token >> 5] & ~bit
