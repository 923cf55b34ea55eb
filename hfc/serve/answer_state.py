"""How far the answer to a request has come, for whoever passes it on: noted where events become bytes, read where the bytes leave."""

from __future__ import annotations

from contextvars import ContextVar

from hfc.base.dataclass import dataclass
from hfc.serve.errors import ApiError


@dataclass
class AnswerState:
    """has_begun: text or tokens of the model are on their way; before that a request may be asked anew somewhere else.  error: why a stream
    ended early."""

    has_begun: bool = False
    error: ApiError | None = None


STATE: ContextVar[AnswerState | None] = ContextVar("answer_state", default=None)


def note_begun() -> None:
    if (state := STATE.get()) is not None:
        state.has_begun = True


def note_error(error: ApiError) -> None:
    if (state := STATE.get()) is not None:
        state.error = error
