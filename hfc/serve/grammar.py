"""Structured output: a JSON schema, regular expression or Lark grammar as masks over tokens, through llguidance."""

from __future__ import annotations

import functools
import json
import threading
from typing import Any

import llguidance
import llguidance.numpy
import numpy as np
from llguidance.gbnf_to_lark import any_to_lark

from hfc.base.diagnostics import HfcError
from hfc.runtime.tokenizer import Tokenizer
from hfc.sampling import TokenLimits, mask_words
from hfc.serve.errors import ApiError
from hfc.serve.logprobs import token_bytes
from hfc.serve.reasoning import Thought

# Models of any size like to indent for ever when any white space is allowed.
JSON_OPTIONS = {"whitespace_pattern": r"[ \n]{0,12}"}
LONGEST = 1 << 18  # characters of a grammar


class GrammarCompiler:
    """Grammars over one vocabulary. vocab: logits a row, which may be more than the tokenizer has tokens."""

    def __init__(self, tokenizer: Tokenizer, vocab: int):
        self._tokenizer, self._vocab = tokenizer, vocab
        self._lock = threading.Lock()

    @functools.cached_property
    def _library(self) -> llguidance.LLTokenizer:
        return llguidance.LLTokenizer(
            llguidance.TokenizerWrapper(_Vocabulary(self._tokenizer, self._vocab)), n_vocab=self._vocab
        )

    def json_schema(self, schema: dict[str, Any], param: str) -> llguidance.LLMatcher:
        return self._matcher(
            lambda: llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema), defaults=JSON_OPTIONS), param
        )

    def regex(self, pattern: str, param: str) -> llguidance.LLMatcher:
        return self._matcher(lambda: llguidance.LLMatcher.grammar_from_regex(pattern), param)

    def lark(self, grammar: str, param: str) -> llguidance.LLMatcher:
        return self._matcher(lambda: llguidance.LLMatcher.grammar_from_lark(grammar), param)

    def gbnf(self, grammar: str, param: str) -> llguidance.LLMatcher:
        """llama.cpp's grammars; Lark is taken as it is."""
        return self._matcher(lambda: llguidance.LLMatcher.grammar_from_lark(_lark_of(grammar)), param)

    def _matcher(self, make, param: str) -> llguidance.LLMatcher:
        """ApiError 400 for what does not compile."""
        try:
            grammar = make()
        except (ValueError, RecursionError) as error:
            raise ApiError(400, f"the grammar cannot be read: {error}", param, "invalid_grammar") from error
        if len(str(grammar)) > LONGEST:
            raise ApiError(400, f"the grammar is longer than {LONGEST} characters", param, "invalid_grammar")
        with self._lock:
            matcher = llguidance.LLMatcher(self._library, grammar)
        if matcher.is_error():
            raise ApiError(
                400, f"the grammar does not compile: {_first_line(matcher.get_error())}", param, "invalid_grammar"
            )
        return matcher


def _lark_of(grammar: str) -> str:
    """ValueError for a grammar that is neither GBNF nor Lark."""
    try:
        return any_to_lark(grammar)
    except Exception as error:  # the converter has no narrower class for an unknown rule
        raise ValueError(str(error)) from error


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
            raise HfcError(f"the grammar failed: {_first_line(self._matcher.get_error())}")
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


class _Vocabulary:
    """What llguidance asks of a tokenizer. Ids without a token are empty and never allowed."""

    def __init__(self, tokenizer: Tokenizer, vocab: int):
        self._tokenizer = tokenizer
        self.eos_token_id = tokenizer.eos if tokenizer.eos is not None else min(tokenizer.stop_ids, default=0)
        self.bos_token_id = tokenizer.bos
        self.tokens = [token_bytes(tokenizer, i) for i in range(vocab)]
        self.special_token_ids = sorted(i for i in tokenizer.special if i < vocab)

    def __call__(self, text: bytes) -> list[int]:
        return self._tokenizer.core.encode(text.decode("utf-8", "replace"), False)


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else "no reason given"
