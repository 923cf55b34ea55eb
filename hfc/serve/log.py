"""Lines of the log that clients cause: bounded in length, in number and in rate, and always one line each."""

from __future__ import annotations

import logging
import threading
import time

_LOG = logging.getLogger("hfc.serve")
MOST_CHARACTERS = 400
MOST_LINES = 200  # that are remembered: clients invent names
AT_ONCE, EVERY_S = 20, 3.0  # lines, and seconds for each one more


class Rate:
    """May something be said now? AT_ONCE times, and again every EVERY_S."""

    def __init__(self):
        self._left, self._since = float(AT_ONCE), time.monotonic()

    def allows(self) -> bool:
        now = time.monotonic()
        self._left = min(AT_ONCE, self._left + (now - self._since) / EVERY_S)
        self._since = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Once:
    """Lines that need no repetition. What comes too fast is said when it comes again."""

    def __init__(self):
        self._said: set[str] = set()
        self._rate, self._lock = Rate(), threading.Lock()

    def __call__(self, line: str) -> None:
        line = one_line(line)
        with self._lock:
            if line in self._said or len(self._said) >= MOST_LINES or not self._rate.allows():
                return
            self._said.add(line)
            is_last = len(self._said) == MOST_LINES
        _LOG.warning("%s", line)
        if is_last:
            _LOG.warning("%d different lines about what requests say were logged; there will be no more", MOST_LINES)


log_once = Once()


def one_line(text: str) -> str:
    """With escapes for what is no character of a line: a client's text cannot look like a line of its own, or steer a terminal."""
    text = text[: MOST_CHARACTERS + 1]
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"


class Seldom(logging.Filter):
    """For a library's lines about connections that are no HTTP: each client can cause any number of them. Errors with a traceback are
    always said."""

    def __init__(self):
        super().__init__()
        self._rate = Rate()

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno > logging.WARNING or self._rate.allows()
