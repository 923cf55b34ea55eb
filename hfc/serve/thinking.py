"""The thought of an answer, as a model's template and vocabulary begin it."""

from __future__ import annotations

from hfc.serve.prompt import encode, single_token
from hfc.serve.reasoning import CLOSE, OPEN, ThinkingBudget, Thought, opens_reasoning
from hfc.serve.served import Served


def new_thought(served: Served, opening: str) -> Thought:
    """The thought of an answer that begins behind `opening`. Templates that know the tag may leave opening it to the model."""
    may_open = OPEN in (served.vocabulary.template or "") and CLOSE not in opening
    return Thought(opens_reasoning(opening), may_open, single_token(served, OPEN) if may_open else None)


def thinking_budget(served: Served, budget: int, opening: str, behind: str = "\n\n") -> ThinkingBudget:
    """behind: what follows the closing tag; nothing where a grammar says what does."""
    end = encode(served, CLOSE + behind, parse_special=True)
    return ThinkingBudget(budget, new_thought(served, opening), served.tokenizer, end)
