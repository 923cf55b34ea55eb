"""The thought of an answer, as a model's template and vocabulary begin it."""

from __future__ import annotations

from hfc.serve import toolparse
from hfc.serve.prompt import Prompt, encode, single_token
from hfc.serve.reasoning import CLOSE, OPEN, ThinkingBudget, Thought, opens_reasoning
from hfc.serve.served import Served

TAGS = frozenset((OPEN, CLOSE, toolparse.OPEN, toolparse.CLOSE))


def new_thought(served: Served, prompt: Prompt) -> Thought:
    """The thought of an answer to a prompt. Templates that know the tag may leave opening it to the model."""
    may_open = OPEN in (served.vocabulary.template or "") and CLOSE not in prompt.opens and not prompt.is_begun
    open_id = single_token(served, OPEN) if may_open else None
    return Thought(opens_reasoning(prompt.opens), may_open, open_id, single_token(served, CLOSE))


def shown_tags(served: Served) -> dict[int, str]:
    """Control tokens that an answer's text shows, as they structure it."""
    return {i: text for i, text in served.tokenizer.special.items() if text in TAGS}


def thinking_budget(served: Served, budget: int, prompt: Prompt, after: str = "\n\n") -> ThinkingBudget:
    """after: what follows the closing tag; nothing where a grammar says what does."""
    end = encode(served, CLOSE + after, parse_special=True)
    return ThinkingBudget(budget, new_thought(served, prompt), served.tokenizer, end)
