"""Limits of connections and of time, over real sockets."""

import contextlib
import json
import socket
import time

import pytest
from serve_fakes import FakeModel, expected, make_engine, make_served
from serve_loopback import connect, head, listening

from hfc.cli.listening import bound
from hfc.serve.app import make_app
from hfc.serve.limits import ServerLimits
from hfc.serve.models import Models
from hfc.serve.served import ServerSettings

ASK = {"model": "fake", "prompt": "hello", "max_tokens": 4}
TIGHT = ServerLimits(
    header_s=0.4, body_s=0.6, idle_s=1, write_s=0.5, connections=12, bodies_bytes=3 << 20, body_bytes=2 << 20
)


@pytest.fixture
def url():
    engine = make_engine(FakeModel(slots=4, context=4000))
    with listening(make_app(Models([make_served(engine)]), ServerSettings(limits=TIGHT)), TIGHT) as url:
        yield url
    engine.close()


def read(connection):
    """All until the server closes."""
    answer = b""
    try:
        while part := connection.recv(65536):
            answer += part
    except ConnectionResetError:
        pass
    return answer


def is_served(url):
    body = json.dumps({**ASK, "temperature": 0}).encode()
    with connect(url) as connection:
        connection.sendall(head(url, len(body)).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + body)
        return json.loads(read(connection).split(b"\r\n\r\n", 1)[1])["choices"][0]["text"] == expected(b"hello", 4)


@pytest.mark.parametrize("begin", [b"", b"POST /v1/comp", b"POST / HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_a_client_that_does_not_say_what_it_wants_is_left(url, begin):
    with connect(url) as connection:
        began = time.monotonic()
        connection.sendall(begin)
        read(connection)
        assert 0.2 < time.monotonic() - began < 5
    assert is_served(url)


def test_a_head_that_trickles_is_left_too(url):
    with connect(url) as connection:
        began, ended = time.monotonic(), False
        for character in b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 100:
            try:
                connection.sendall(bytes([character]))
            except OSError:
                ended = True
                break
            time.sleep(0.02)
        assert ended and time.monotonic() - began < 5


def test_a_body_that_does_not_come_is_a_408(url):
    with connect(url) as connection:
        began = time.monotonic()
        connection.sendall(head(url, 1000) + b'{"model": ')
        answer = read(connection)
        assert answer.startswith(b"HTTP/1.1 408") and b"did not come" in answer and time.monotonic() - began < 5
    assert is_served(url)


def test_an_idle_connection_is_closed_and_a_busy_one_is_not(url):
    with connect(url) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        began = time.monotonic()
        read(connection)
        assert 0.3 < time.monotonic() - began < 6


def chunked(url, body, size):
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    way = b"Transfer-Encoding: chunked\r\nConnection: close"
    return head(url, 0).replace(b"Content-Length: 0", way) + chunks + b"0\r\n\r\n"


def test_a_body_in_thousands_of_tiny_chunks_is_refused(url):
    """Parsing them takes a hundred times as long as the body would in one."""
    body = json.dumps({**ASK, "temperature": 0}).encode()
    with connect(url) as connection:
        connection.sendall(chunked(url, body, 1))
        assert json.loads(read(connection).split(b"\r\n\r\n", 1)[1])["choices"][0]["text"] == expected(b"hello", 4)
    with connect(url) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(chunked(url, body + b" " * 300_000, 1))
        answer = read(connection)
    assert not answer or (answer.startswith(b"HTTP/1.1 400") and b"chunks of less than 64 bytes" in answer)
    with connect(url) as connection:
        connection.sendall(chunked(url, body + b" " * 300_000, 128))
        assert read(connection).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("line", [b"X: " + b"y" * 60_000, b"x:y\r\n" * 10_000, b"no header"])
def test_a_head_that_is_too_large_or_none_is_a_400(url, line):
    with connect(url) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + line + b"\r\n\r\n")
        answer = read(connection)
    assert (
        answer.startswith(b"HTTP/1.1 400")
        and json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]["code"] == "invalid_http"
    )
    assert is_served(url)


def test_connections_stay_http(url):
    asked = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    with connect(url) as connection:
        connection.sendall(asked.encode() + b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")


def test_connections_have_a_bound(url):
    held = [connect(url) for _ in range(TIGHT.connections)]
    time.sleep(0.1)
    with connect(url) as one_more:
        answer = read(one_more)
        assert answer.startswith(b"HTTP/1.1 503") and b"too many connections" in answer
    time.sleep(TIGHT.header_s + 0.4)
    assert is_served(url), "those that said nothing are gone"
    for connection in held:
        connection.close()


def test_bodies_that_are_being_read_have_a_bound_together(url):
    held = []
    for _ in range(3):
        connection = connect(url)
        connection.sendall(head(url, (2 << 20) - 10) + b" " * (3 << 19))
        held.append(connection)
    answers = [read(connection) for connection in held]
    assert any(answer.startswith(b"HTTP/1.1 503") for answer in answers)
    assert all(answer[9:12] in (b"503", b"408") for answer in answers), [a[:20] for a in answers]
    assert is_served(url)


def test_an_answer_that_nobody_reads_is_left(url):
    """Its slot is free again long before the request's own time is over."""
    body = json.dumps(
        {"model": "fake", "prompt": "x", "max_tokens": 3900, "stream": True, "logprobs": 20, "ignore_eos": True}
    ).encode()
    with connect(url) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(head(url, len(body)) + body)
        end = time.monotonic() + 20
        while b'hfc_slots_busy{model="fake"} 0.0' not in metrics(url) or time.monotonic() < end - 19:
            assert time.monotonic() < end, "the slot is still taken"
            time.sleep(0.1)


def metrics(url):
    with connect(url) as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return read(connection)


def test_answers_are_sent_at_once():
    """In two parts, of which the second would wait 40 ms for the client to acknowledge the first."""
    with bound("127.0.0.1", 0) as listener:
        listener.listen()
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
