"""A "model" that answers from a list, for agents that must finish a task: the n-th answer of a conversation is the n-th text."""

from __future__ import annotations

import json

import numpy as np
from serve_fakes import EOS, GREEDY, TOKENIZER, FakeModel, make_engine

from hfc.runtime.vocabulary import Vocabulary
from hfc.serve.served import Served

MARK = 2  # a byte that no client sends; the template writes it before each answer
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'assistant' %}\x02{% else %}[{{ m.role }}]{% endif %}{{ m.content }}<eos>"
    "{% endfor %}{% if add_generation_prompt %}\x02{% endif %}"
)


class Scripted(FakeModel):
    """Rows cost nothing but where an answer is asked for, so that prompts of a hundred thousand bytes are no matter."""

    def __init__(self, *texts, context=1 << 18, slots=2):
        super().__init__(slots=slots, context=context, max_rows=8192, max_outputs=4)
        self.texts = [text.encode() for text in texts]
        self.answered = 0

    def forward(self, step):
        self._hidden = np.ones((len(step.tokens), 4), np.float32)
        logits = np.zeros((len(step.output_rows), self.vocab), np.float32)
        wanted = {int(row): i for i, row in enumerate(step.output_rows)}
        for segment in step.segments:
            rows = step.tokens[segment.row : segment.row + segment.rows]
            self.keys[segment.slot, segment.position : segment.position + segment.rows] = rows
            for row in range(segment.row, segment.row + segment.rows):
                if row in wanted:
                    logits[wanted[row], self._next(segment.slot, segment.position + row - segment.row)] = 9
        return logits

    def _next(self, slot, position):
        seen = self.keys[slot, : position + 1]
        (answers,) = np.nonzero(seen == MARK)
        text = self.texts[min(len(answers), len(self.texts)) - 1]
        at = position - int(answers[-1])
        self.answered += at == 0
        return text[at] if at < len(text) else EOS


def call_of(name, /, **arguments):
    """A tool call as the server explains it to a model."""
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def scripted(*texts, **options) -> Served:
    model = Scripted(*texts, **options)
    return Served(
        "scripted", Vocabulary(TOKENIZER, TEMPLATE), make_engine(model, cache_bytes=1 << 26, prefill_rows=8192), GREEDY
    )
