"""What a prompt that is too long loses, where the client asked for that: the oldest turns, or the oldest tokens."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hfc.serve.prompt import Prompt

Messages = Sequence[Mapping[str, Any]]
CHARACTERS = 16  # for each token of the context: several times what text has


def budget(length: int, context: int, max_tokens: int | None) -> int:
    """Tokens that may stay of a prompt of `length`: all, or few enough to leave room for the answer.

    What goes is a multiple of a quarter of the context, so that the turns that follow cut at the same place: their prompts
    then share a beginning, which the prefix cache knows."""
    quarter = max(1, context // 4)
    excess = length - (context - min(max_tokens if max_tokens and max_tokens > 0 else quarter, quarter))
    return length if excess <= 0 else max(1, length - -(-excess // quarter) * quarter)


def fit_messages(
    messages: Messages,
    prompt_of: Callable[[Messages], Prompt],
    context: int,
    max_tokens: int | None,
    check: Callable[[Messages], None],
) -> Prompt:
    """Leave out whole turns, oldest first; system messages at the start and the last turn stay. check: refuses messages that cannot fit
    before they are rendered."""
    first = next((i for i, m in enumerate(messages) if m["role"] != "system"), len(messages))
    starts = [i for i, m in enumerate(messages) if i > first and m["role"] == "user"]
    check([*messages[:first], *messages[starts[-1] if starts else first :]])
    if begin := _recent(messages, starts, context):
        messages = [*messages[:first], *messages[begin:]]
        starts = [i - begin + first for i in starts if i > begin]
    whole = prompt_of(messages)
    wanted = budget(len(whole.tokens), context, max_tokens)
    if len(whole.tokens) <= wanted:
        return whole
    low, high, best = 0, len(starts) - 1, whole
    while low <= high:  # the first start that is late enough, else the last one
        middle = (low + high) // 2
        shorter = prompt_of([*messages[:first], *messages[starts[middle] :]])
        if len(shorter.tokens) <= wanted:
            best, high = shorter, middle - 1
        else:
            best, low = (shorter if len(best.tokens) > wanted else best), middle + 1
    return best


def _recent(messages: Messages, starts: Sequence[int], context: int) -> int:
    """Where a history begins that has text for several contexts at most, so that no more is rendered and tokenized; 0 for all of it. Half
    of what may stay goes at a time, so that here, too, the turns that follow cut at the same place."""
    most = CHARACTERS * context
    before = list(itertools.accumulate((len(m.get("content") or "") for m in messages), initial=0))
    if not starts or before[-1] <= most:
        return 0
    half = most // 2
    goes = -(-(before[-1] - most) // half) * half
    return next((start for start in starts if before[start] >= goes), starts[-1])


def fit_tokens(tokens: Sequence[int], context: int, max_tokens: int | None, begin: int | None) -> list[int]:
    """The latest tokens, after the begin token if the text had it."""
    wanted = budget(len(tokens), context, max_tokens)
    if len(tokens) <= wanted:
        return list(tokens)
    head = [begin] if tokens[0] == begin and wanted > 1 else []
    return [*head, *tokens[len(tokens) - wanted + len(head) :]]
