"""Answers of a model in this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hfc.base.diagnostics import HfcError
from hfc.cli.open_model import OpenModel
from hfc.cli.talk.piece import TextPiece
from hfc.runtime.chat import ChatTemplate, chat_template
from hfc.runtime.generate import Generation, Request
from hfc.runtime.gpu import GpuModel
from hfc.runtime.guard import Guard
from hfc.runtime.host import HostModel
from hfc.runtime.kept import KeptPrompt, shared_tokens
from hfc.runtime.pipeline.model import StagedModel
from hfc.runtime.ranks.model import RankedModel
from hfc.runtime.sampler import Sampling
from hfc.runtime.slots import slot_states
from hfc.serve.reasoning import ReasoningSplit, opens_reasoning


class Local:
    """An Answerer over a loaded model. The whole conversation is its prompt every time; what the last prompt had in common with it is
    not computed again."""

    def __init__(self, opened: OpenModel, name: str):
        self.name = name
        self._opened = opened
        self._template: ChatTemplate = chat_template(opened.vocabulary.template, opened.vocabulary.tokenizer)
        self._guard = Guard(opened.vocabulary.tokenizer)
        has_slots = isinstance(
            opened.model, HostModel | GpuModel | StagedModel | RankedModel
        )  # what only counts or interprets has none
        self._kept = KeptPrompt(slot_states(opened.model)) if has_slots else None

    def answer(
        self,
        messages: Sequence[Mapping[str, Any]],
        sampling: Sampling,
        max_tokens: int | None,
        variables: Mapping[str, Any],
    ) -> Iterator[TextPiece]:
        marked, mark = self._guard.mark([dict(m) for m in messages])
        text = self._template.render(marked, **variables)
        history = self._template.render(marked, add_generation_prompt=False, **variables)
        prompt = tuple(self._guard.encode(text, mark))
        request = Request(
            prompt, sampling, max_tokens, boundary=shared_tokens(self._guard.encode(history, mark), prompt)
        )
        generation = Generation(
            self._opened.model, self._opened.vocabulary.tokenizer, request, self._opened.speculation, kept=self._kept
        )
        split = ReasoningSplit(opens_reasoning(text[len(history) :] if text.startswith(history) else ""))
        try:
            for piece in generation:
                yield from _pieces(split.push(piece))
        except HfcError:
            if self._kept:
                self._kept.forget()
            raise
        yield from _pieces(split.close())
        s = generation.statistics
        kept = f" ({s.kept_tokens} kept)" if s.kept_tokens else ""
        yield TextPiece("end", f"prompt {s.prompt_tokens} tokens{kept}, {s.prefill_tok_s:.1f} tok/s; "
                    f"answer {len(s.tokens)} tokens, {s.decode_tok_s:.1f} tok/s; {s.reason}")  # fmt: skip


def _pieces(found: tuple[str, str]) -> Iterator[TextPiece]:
    thought, content = found
    if thought:
        yield TextPiece("thought", thought)
    if content:
        yield TextPiece("text", content)
