"""What keeps an answer in bounds: a thinking budget, a grammar for structured output or tool calls, an end after the first call."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import llguidance
import numpy as np

from hfc.base.dataclass import dataclass
from hfc.runtime.tokenizer import Tokenizer
from hfc.sampling import TokenLimits
from hfc.serve.errors import ApiError
from hfc.serve.grammar import Grammar, GrammarCompiler
from hfc.serve.job import Guide
from hfc.serve.log import log_once
from hfc.serve.logprobs import token_bytes
from hfc.serve.prompt import Prompt
from hfc.serve.schema import bare, cleaned
from hfc.serve.served import Served
from hfc.serve.thinking import new_thought, thinking_budget
from hfc.serve.toolparse import CLOSE, OPEN
from hfc.serve.tools import EMPTY, forced_grammar, free_grammar

NOT_ENFORCED = "X-Schema-Not-Enforced"  # a response's header
_LONGEST_HEADER = 2000


@dataclass(frozen=True)
class Wanted:
    """What an answer is to look like, as the client said it. tools: as OpenAI's.  choice, format: as an Ask's."""

    tools: Sequence[Mapping[str, Any]]
    choice: str
    parallel: bool
    format: Mapping[str, Any] | None
    style: str


@dataclass(frozen=True)
class Rules:
    """make: a fresh matcher for each choice, as they have state; None for a free answer.  not_enforced: places of schemas."""

    make: Callable[[], llguidance.LLMatcher] | None = None
    not_enforced: tuple[str, ...] = ()

    def headers(self) -> dict[str, str]:
        """Of the response."""
        text = "; ".join(self.not_enforced).encode("ascii", "backslashreplace").decode()
        text = "".join(c if c.isprintable() else "?" for c in text)
        return {NOT_ENFORCED: text[:_LONGEST_HEADER]} if text else {}


def rules_of(served: Served, wanted: Wanted) -> Rules:
    """ApiError 400 for grammars that do not compile and, under strict, for what cannot be enforced."""
    rules = _rules(served, wanted)
    if rules.not_enforced:
        log_once(f"not enforced: {'; '.join(rules.not_enforced)[:_LONGEST_HEADER]}")
    return rules


def _rules(served: Served, wanted: Wanted) -> Rules:
    grammars = served.grammars
    strict = frozenset(t["function"]["name"] for t in wanted.tools if t["function"].get("strict"))
    if wanted.choice not in ("auto", "none"):
        several = wanted.parallel and wanted.choice == "required"
        forced = [t for t in wanted.tools if wanted.choice in ("required", t["function"]["name"])]
        return _of_tools(grammars, forced, strict, lambda schemas: forced_grammar(wanted.style, schemas, several))
    if wanted.format is not None:
        return _of_format(grammars, wanted.format)
    if wanted.choice == "auto" and strict:
        opening = OPEN if OPEN in served.tokenizer.special.values() else json.dumps(OPEN)
        asked = [t for t in wanted.tools if t["function"]["name"] in strict]
        others = {t["function"]["name"]: EMPTY for t in wanted.tools}
        return _of_tools(
            grammars, asked, strict, lambda schemas: free_grammar(wanted.style, {**others, **schemas}, strict, opening)
        )
    return Rules()


def _of_tools(
    grammars: GrammarCompiler,
    tools: Sequence[Mapping[str, Any]],
    strict: frozenset[str],
    grammar: Callable[[Mapping[str, Any]], str],
) -> Rules:
    schemas, not_enforced = {}, []
    for tool in tools:
        name = tool["function"]["name"]
        found = cleaned(tool["function"].get("parameters") or EMPTY)
        if found.loosened and name in strict:
            raise _unenforceable(f"the parameters of {name}", found.loosened, "tools")
        schemas[name] = found.schema
        not_enforced += [f"{name}: {place}" for place in found.loosened]
    try:
        grammars.lark(grammar(schemas), "tools")
    except ApiError:
        loose = {name: schema if name in strict else bare(schema) for name, schema in schemas.items()}
        if loose == schemas:
            raise
        grammars.lark(grammar(loose), "tools")
        shapes = [f"{name}: all but its shape" for name in schemas if loose[name] != schemas[name]]
        not_enforced = [*shapes, *not_enforced]
        schemas = loose
    text = grammar(schemas)
    return Rules(lambda: grammars.lark(text, "tools"), tuple(not_enforced))


def _of_format(grammars: GrammarCompiler, format: Mapping[str, Any]) -> Rules:
    if format["type"] == "regex":
        return Rules(lambda: grammars.regex(format["pattern"], "response_format"))
    if format["type"] == "gbnf":
        return Rules(lambda: grammars.gbnf(format["grammar"], "grammar"))
    if format["type"] != "json_schema":
        return Rules(lambda: grammars.lark(format["grammar"], "response_format"))
    param = format.get("param", "response_format")
    found = cleaned(format["schema"])
    if found.loosened and format.get("strict"):
        raise _unenforceable(param, found.loosened, param)
    schema, not_enforced = found.schema, found.loosened
    try:
        grammars.json_schema(schema, param)
    except ApiError:
        if format.get("strict") or bare(schema) == schema:
            raise
        schema = bare(schema)
        grammars.json_schema(schema, param)
        not_enforced = ("all but the shape", *not_enforced)
    return Rules(lambda: grammars.json_schema(schema, param), not_enforced)


def _unenforceable(what: str, places: Sequence[str], param: str) -> ApiError:
    listed = "; ".join(places[:8])
    return ApiError(
        400, f"{what}: strict cannot be kept, as these are not enforced here: {listed}", param, "unsupported_schema"
    )


def guides_of(served: Served, wanted: Wanted, rules: Rules, prompt: Prompt, budget: int | None) -> list[Guide]:
    """Fresh ones for each choice: they have state. budget: tokens that a thought may have."""
    guides: list[Guide] = []
    matcher = rules.make() if rules.make else None
    if budget is not None:
        guides.append(thinking_budget(served, budget, prompt, "" if matcher else "\n\n"))
    if matcher is not None:
        guides.append(Grammar(matcher, served.tokenizer, served.engine.model.vocab, new_thought(served, prompt)))
    if wanted.tools and wanted.choice == "auto" and not wanted.parallel and wanted.style != "json":
        guides.append(EndsAfter(CLOSE, served.tokenizer))
    return guides


class EndsAfter:
    """The answer is complete with a text."""

    suits_device = True

    def __init__(self, text: str, tokenizer: Tokenizer):
        self._text, self._tokenizer, self._tail = text.encode(), tokenizer, b""

    def limit(self, logits: np.ndarray) -> np.ndarray:
        return logits

    def restrict(self, limits: TokenLimits) -> None:
        """Any token may come next."""

    def accept(self, token: int) -> bool:
        self._tail = (self._tail + token_bytes(self._tokenizer, token))[-256:]
        return self._text in self._tail
