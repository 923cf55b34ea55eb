"""What a worker does: render a chat template, or compile a grammar, under limits of memory, processor time and stack."""

from __future__ import annotations

import mmap
import os
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import llguidance
from llguidance.gbnf_to_lark import any_to_lark

from hfc.base.diagnostics import HfcError
from hfc.runtime.chat import ChatTemplate, parse_template
from hfc.runtime.token_table import texts_of
from hfc.serve.memory import allocated_bytes
from hfc.serve.workers.frames import receive, send

try:
    import resource
except ImportError:  # Windows, where no worker runs: `hfc serve` says so
    resource = None

PAGE = mmap.PAGESIZE
# Steps of a host device and the server come first. A handler runs between two instructions of Python, not in native code.
LONG_S, NICE_LONG, NICE_NATIVE = 0.1, 10, 5
RETIRE_BYTES = 64 << 20  # a worker that has grown by so much ends, and its memory with it


class Vocabularies:
    """llguidance's form of token lists, by id. Made in the nursery, so that a new worker has them at once."""

    def __init__(self):
        self._made: dict[str, llguidance.LLTokenizer] = {}

    def add(self, id: str, message: dict[str, Any]) -> None:
        self._made[id] = library_of(message)

    def __getitem__(self, id: str) -> llguidance.LLTokenizer:
        return self._made[id]


def library_of(vocabulary: dict[str, Any], slices: Sequence[str] = ()) -> llguidance.LLTokenizer:
    """data, lengths: of a TokenTable, as Latin-1.  special: ids of control tokens.  eos, bos.

    slices: expressions whose tokens are kept apart, so that grammars which allow all of them need not look at each: masks come ten times as
    soon where text is free, and each takes 17 MB of a vocabulary of 248,320 tokens. Who only compiles makes one mask and needs none."""
    tokens = list(texts_of(vocabulary["data"].encode("latin-1"), vocabulary["lengths"]))
    asked = TokenList(tokens, vocabulary["special"], vocabulary["eos"], vocabulary["bos"])
    wrapper = llguidance.TokenizerWrapper(asked)
    made = llguidance.LLTokenizer(wrapper, n_vocab=len(tokens), slices=list(slices))
    wrapper.tokens = asked.tokens = []  # it has taken them
    return made


class TokenList:
    """What llguidance asks of a tokenizer. Ids without a token are empty and never allowed."""

    def __init__(self, tokens: list[bytes], special: list[int], eos: int, bos: int | None):
        self.tokens, self.special_token_ids = tokens, special
        self.eos_token_id, self.bos_token_id = eos, bos
        self._of_bytes = {token: i for i, token in enumerate(tokens) if len(token) == 1}

    def __call__(self, text: bytes) -> list[int]:
        """Only to say how a text might be cut; masks do not depend on it."""
        return [self._of_bytes[bytes([b])] for b in text if bytes([b]) in self._of_bytes]


def work(jobs: socket.socket, vocabularies: Vocabularies, limits: dict[str, int]) -> None:
    """Do jobs until the server closes the socket."""
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_AS, _pages(0) * PAGE + limits["memory_bytes"])
    _limit(resource.RLIMIT_STACK, limits["stack_bytes"])
    if limits["is_native"]:
        os.nice(NICE_NATIVE)
    signal.signal(signal.SIGVTALRM, lambda *_: os.nice(NICE_LONG))
    templates: dict[str, Any] = {}
    at_start = _pages(1) * PAGE
    while (job := receive(jobs)) is not None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + job["cpu_s"], -1))
        signal.setitimer(signal.ITIMER_VIRTUAL, LONG_S)
        answer = _answer(lambda: JOBS[job["do"]](job, templates, vocabularies))
        grown = _pages(1) * PAGE - at_start
        was_long = not signal.setitimer(signal.ITIMER_VIRTUAL, 0)[0]
        answer |= {"retires": grown > RETIRE_BYTES or was_long}
        send(jobs, answer)
        if answer["retires"]:
            return


def _answer(do: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Whatever a job raises is its answer: it is somebody else's program that ran."""
    try:
        return do()
    except HfcError as error:
        return {"error": error.message}
    except ValueError as error:
        return {"error": str(error)[:1000]}
    except MemoryError:
        return {"error": "it needs more memory than it may have"}
    except RecursionError:
        return {"error": "it is nested too deeply"}
    except BaseException as error:  # a template's expressions can raise anything, a native library panics
        return {"error": f"{type(error).__name__}: {error}"[:1000]}


def _render(job: dict[str, Any], templates: dict[str, Any], _: Vocabularies) -> dict[str, Any]:
    """The whole prompt, how long its history without the answer's opening is, and whether it begins with that."""
    if job["id"] not in templates:
        templates[job["id"]] = ChatTemplate(parse_template(job["source"]), job["named"])
    template, variables = templates[job["id"]], job["variables"]
    text = template.render(job["messages"], tools=job["tools"], **variables)
    if len(text) > job["most_chars"]:
        return {"error": f"the rendered prompt is longer than {job['most_chars']} characters"}
    history = template.render(job["messages"], add_generation_prompt=False, tools=job["tools"], **variables)
    return {"text": text, "length": len(history), "is_beginning": text.startswith(history)}


def _compile(job: dict[str, Any], _: dict[str, Any], vocabularies: Vocabularies) -> dict[str, Any]:
    """Whether a grammar compiles, and how much it holds."""
    before = _held()
    matcher = compiled(vocabularies[job["vocabulary"]], job["kind"], job["text"])
    if matcher.is_error():
        return {"error": first_line(matcher.get_error())}
    matcher.compute_bitmask()
    if matcher.is_error():
        return {"error": f"it allows no text ({first_line(matcher.get_error())})"}
    return {"bytes": max(0, _held() - before)}


def _held() -> int:
    """Bytes, as near as can be told: resident pages may be some that an earlier job has left."""
    allocated = allocated_bytes()
    return _pages(1) * PAGE if allocated is None else allocated


# Of the parser for one token: others wait while the engine finds out what may come next. With llguidance's own 50,000 ambiguous rules take
# 0.6 s of it, with 20,000 85 ms, with these 10 ms (SmolLM2's vocabulary); a choice of 128 tools takes 2,000 items, JSON some hundred.
MOST_ITEMS = 10_000
JOBS = {"render": _render, "compile": _compile}
# Models of any size like to indent for ever when any white space is allowed.
JSON_OPTIONS = {"whitespace_pattern": r"[ \n]{0,12}"}
MAKERS = {
    "json_schema": lambda text: llguidance.LLMatcher.grammar_from_json_schema(text, defaults=JSON_OPTIONS),
    "regex": llguidance.LLMatcher.grammar_from_regex,
    "gbnf": lambda text: llguidance.LLMatcher.grammar_from_lark(lark_of(text)),
    "lark": llguidance.LLMatcher.grammar_from_lark,
}


def lark_of(grammar: str) -> str:
    """GBNF as Lark. ValueError for a grammar that is neither."""
    try:
        return any_to_lark(grammar)
    except Exception as error:  # the converter has no narrower class for an unknown rule
        raise ValueError(f"it is neither GBNF nor Lark: {error}") from error


def compiled(library: llguidance.LLTokenizer, kind: str, text: str) -> llguidance.LLMatcher:
    """A grammar over a vocabulary; `is_error` tells whether it is of use. ValueError for what cannot be read."""
    limits = llguidance.LLParserLimits(step_max_items=MOST_ITEMS)
    return llguidance.LLMatcher(library, MAKERS[kind](text), limits=limits)


def first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else "no reason given"


def _limit(what: int, value: int) -> None:
    """Not above what the process has already."""
    _, most = resource.getrlimit(what)
    value = value if most == resource.RLIM_INFINITY else min(value, most)
    resource.setrlimit(what, (value, most if what == resource.RLIMIT_STACK else value))


def _pages(field: int) -> int:
    """Of this process: 0 is all of its addresses, 1 what is resident."""
    return int(Path("/proc/self/statm").read_text().split()[field])
