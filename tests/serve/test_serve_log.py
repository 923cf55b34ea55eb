"""What clients can make the server write into its log: so many lines, so long, so fast, and one line each."""

import logging

import pytest
from test_serve_api import HELLO, app_of, call

from hfc.serve import log


@pytest.fixture(scope="module")
def app():
    with app_of() as (app, _):
        yield app


def test_names_that_clients_invent_are_few_lines(app, caplog):
    caplog.set_level(logging.WARNING, "hfc.serve")
    for i in range(10):
        invented = {f"name {i} {j} \x1b[31m\n2026-01-01 ERROR forged": 1 for j in range(100)}
        assert call(app, "POST", "/v1/chat/completions", json={**HELLO, "max_tokens": 1, **invented}).status_code == 200
    lines = [record.getMessage() for record in caplog.records]
    assert 0 < len(lines) <= log.AT_ONCE + 20, "a few more, should this take a minute"
    assert all(line.isprintable() and len(line) <= log.MOST_CHARACTERS for line in lines)
    assert "\\x1b" in lines[0]


def test_what_comes_too_fast_is_said_later_and_all_of_it_has_an_end(caplog, monkeypatch):
    caplog.set_level(logging.WARNING, "hfc.serve")
    now = [0.0]
    monkeypatch.setattr(log.time, "monotonic", lambda: now[0])
    once = log.Once()
    for _ in range(2):
        for i in range(log.AT_ONCE + 5):
            once(f"line {i}")
        assert len(caplog.records) == log.AT_ONCE
    now[0] += 5.5 * log.EVERY_S
    for i in range(log.AT_ONCE + 5):
        once(f"line {i}")
    assert len(caplog.records) == log.AT_ONCE + 5
    for i in range(10 * log.MOST_LINES):
        now[0] += log.EVERY_S
        once(f"another {i}")
    assert len(caplog.records) == log.MOST_LINES + 1 and "no more" in caplog.records[-1].getMessage()


def test_a_line_is_one_line():
    assert log.one_line("a\nb\r\x1b[2J\u2028\x00\ud800\x85") == "a\\nb\\r\\x1b[2J\\u2028\\x00\\ud800\\x85"
    assert log.one_line("ordinär 😀") == "ordinär 😀"
    assert (
        len(log.one_line("\x00" * 10_000)) <= log.MOST_CHARACTERS
        and len(log.one_line("x" * 10**6)) <= log.MOST_CHARACTERS
    )


def test_a_library_s_warnings_are_seldom_and_its_errors_are_not():
    seldom, warning = log.Seldom(), logging.LogRecord("x", logging.WARNING, "", 0, "Invalid HTTP request", (), None)
    assert sum(map(seldom.filter, [warning] * 1000)) <= log.AT_ONCE + 1
    assert seldom.filter(logging.LogRecord("x", logging.ERROR, "", 0, "failed", (), None))
