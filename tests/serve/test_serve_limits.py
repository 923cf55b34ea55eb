"""Limits of bodies, connections and time, over real sockets, and who a browser may speak for."""

import contextlib
import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

import pytest
from serve_fakes import FakeModel, expected, make_engine, make_served
from serve_loopback import listening
from test_serve_api import app_of, call

from hfc.serve.app import make_app
from hfc.serve.body import checked_shape
from hfc.serve.errors import ApiError
from hfc.serve.limits import ServerLimits
from hfc.serve.models import Models
from hfc.serve.security import is_loopback
from hfc.serve.served import ServerSettings

ASK = {"model": "fake", "prompt": "hello", "max_tokens": 4}
TIGHT = ServerLimits(
    header_s=0.4, body_s=0.6, idle_s=1, write_s=0.5, connections=12, bodies_bytes=3 << 20, body_bytes=2 << 20
)


@pytest.fixture(scope="module")
def app():
    with app_of(settings=ServerSettings(hosts=frozenset({"my.server"}), cors_origins=("https://friend.example",))) as (
        app,
        _,
    ):
        yield app


@pytest.fixture(scope="module")
def keyed():
    with app_of(settings=ServerSettings(api_keys=("k",))) as (app, _):
        yield app


# --- bodies ---


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}", "nested 201 deep"),
        (b'{"a": ' + b'{"b": ' * 200 + b"1" + b"}" * 201, "nested 201 deep"),
        (b"[" * 5000, "nested 5000 deep"),
        (b"[" + b"1," * 60_000 + b"1]", "60000 values"),
        (b"{" + b",".join(b'"k%d":1' % i for i in range(30_000)) + b"}", "59999 values"),
    ],
)
def test_the_shape_of_a_body_is_known_before_it_is_parsed(body, said):
    with pytest.raises(ApiError, match=said) as refused:
        checked_shape(body, ServerLimits(json_values=50_000))
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "text", ["[{" * 5000, ",:" * 60_000, '\\"[' * 3000, "\\\\", 'a"b' * 9000, "\\" * 9001 + '"[,' * 9000]
)
def test_what_stands_in_strings_has_no_shape(text):
    body = json.dumps({"prompt": text, "more": [text, {text: text}]}).encode()
    shape = checked_shape(body, ServerLimits(json_values=50_000))
    assert (shape.deepest, shape.values, shape.fields) == (3, 5, 2)


MANY = 400_000
HUGE_AND_WRONG = [
    {**ASK, **{f"field {i}": 1 for i in range(MANY // 2)}},
    {**ASK, "logit_bias": {str(i): "x" for i in range(MANY // 2)}},
    {**ASK, "prompt": ["a"] + [1] * MANY},
    {**ASK, "stop": [1] * MANY},
    {**ASK, "prompt": [1] * MANY},
]


@pytest.mark.parametrize("body", HUGE_AND_WRONG, ids=["fields", "biases", "mixed", "stops", "ids"])
def test_validation_ends_at_the_first_problem(app, body):
    data = json.dumps(body).encode()
    began = time.process_time()
    answer = call(app, "POST", "/v1/completions", content=data, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400 and len(answer.text) < 1000
    assert time.process_time() - began < 2, "it was tens of seconds"


def test_a_prompt_that_cannot_fit_is_refused_before_it_is_tokenized(monkeypatch):
    with app_of() as (app, engine):
        monkeypatch.setattr("serve_fakes.Bytes.is_local", True, raising=False)
        encoded = []
        monkeypatch.setattr(
            "serve_fakes.Bytes.encode", lambda self, text, special: encoded.append(len(text)) or list(text.encode())
        )
        for path, asked in (
            ("/v1/completions", {"prompt": "word " * 400_000}),
            ("/v1/embeddings", {"input": "word " * 400_000}),
            ("/v1/chat/completions", {"messages": [{"role": "user", "content": "word " * 400_000}]}),
        ):
            answer = call(app, "POST", path, json={"model": "fake", **asked})
            error = answer.json()["error"]
            assert (
                answer.status_code == 400
                and error["code"] == "context_length_exceeded"
                and "512 tokens" in error["message"]
            )
        assert sum(encoded) < 5000, "only what finds out how the vocabulary cuts"


def test_a_long_prompt_of_a_vocabulary_that_is_not_known_is_refused_too(app):
    began = time.process_time()
    answer = call(app, "POST", "/v1/completions", json={**ASK, "prompt": "a b " * 100_000})
    assert answer.status_code == 400 and time.process_time() - began < 2


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("Application/JSON", 200),
        ("application/vnd.api+json", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        (None, 200),
    ],
)
def test_bodies_are_json_by_name(app, kind, status):
    headers = {"Content-Type": kind} if kind else {}
    assert call(app, "POST", "/v1/completions", content=json.dumps(ASK), headers=headers).status_code == status


# --- who a browser may speak for ---


@pytest.mark.parametrize(
    ("name", "is_own"),
    [
        ("localhost", True),
        ("LocalHost", True),
        ("app.localhost", True),
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("127.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
        ("notlocalhost", False),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("", False),
        ("2130706433", False),
    ],
)
def test_names_of_this_machine(name, is_own):
    assert is_loopback(name) == is_own


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:11435", "127.0.0.1:80", "[::1]:11435", "my.server:11435", "MY.SERVER"]
)
def test_hosts_that_are_answered(app, host):
    assert call(app, "GET", "/v1/models", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("path", ["/v1/models", "/metrics", "/health", "/", "/nowhere"])
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:11435", "127.evil.example", "localhost@evil.example", "a/b", "x:y"]
)
def test_other_hosts_are_refused(app, keyed, path, host):
    answer = call(app, "GET", path, headers={"Host": host})
    assert answer.status_code == 403 and answer.json()["error"]["code"] == "forbidden_host"
    answer = call(keyed, "GET", "/v1/models", headers={"Host": host, "Authorization": "Bearer k"})
    assert answer.status_code == 200, "with keys the address protects nothing"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://localhost"}, 200),
        ({"Origin": "http://localhost:3000"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Origin": "https://friend.example"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, 200),
        ({}, 200),
    ],
    ids=str,
)
def test_pages_of_other_origins_are_refused(app, headers, status):
    assert call(app, "POST", "/v1/completions", json=ASK, headers=headers).status_code == status


# --- slow clients, over sockets ---


@pytest.fixture
def url():
    engine = make_engine(FakeModel(slots=4, context=4000))
    with listening(make_app(Models([make_served(engine)]), ServerSettings(limits=TIGHT)), TIGHT) as url:
        yield url
    engine.close()


def connect(url):
    place = urlsplit(url)
    return socket.create_connection((place.hostname, place.port), 10)


def head(url, length, path="/v1/completions"):
    lines = (
        f"POST {path} HTTP/1.1",
        f"Host: {urlsplit(url).netloc}",
        "Content-Type: application/json",
        f"Content-Length: {length}",
    )
    return "\r\n".join((*lines, "", "")).encode()


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


def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


FREES_IN_THREADS = """
import threading
from pathlib import Path
from hfc.serve.memory import trim, use_one_heap
use_one_heap()
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
def work():
    gate.wait()
    for size in (16, 1):  # by the first the C library learns that such sizes are freed
        parts = [b"x" * (size << 20) for _ in range(20 // size)]
        gate.wait()
        del parts
gate, before = threading.Barrier(8), resident()
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
trim()
print((resident() - before) / 2**20)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc's heaps")
def test_what_threads_free_goes_back_to_the_system():
    """160 MB in eight threads, whose heaps would keep most of it."""
    done = subprocess.run([sys.executable, "-c", FREES_IN_THREADS], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 5, done.stdout


@pytest.mark.long
def test_memory_comes_back_after_large_bodies():
    """Twelve bodies of 15 MB at once; a little of what is kept is the threads' own."""
    engine = make_engine(FakeModel(slots=4, context=512))
    limits = ServerLimits()
    with listening(make_app(Models([make_served(engine)]), ServerSettings(limits=limits)), limits) as url:
        body = json.dumps({**ASK, "prompt": "word " * (3 << 20)}).encode()

        def send():
            with connect(url) as connection:
                connection.settimeout(60)
                with contextlib.suppress(ConnectionError):  # some are too many
                    connection.sendall(head(url, len(body)) + body)
                    connection.recv(1000)

        def all_at_once(count):
            threads = [threading.Thread(target=send) for _ in range(count)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        all_at_once(6)
        before = resident()
        all_at_once(12)  # they hold 180 MB, and as much again as text
        allowed, end = 1.1 * before + (24 << 20), time.monotonic() + 10
        while resident() > allowed and time.monotonic() < end:
            time.sleep(0.2)
        assert resident() <= allowed, (before, resident())
        assert is_served(url)
    engine.close()
