"""Who may ask, and how much: keys compared in full, bodies that are never read, over real sockets."""

import hmac
import json
import re
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from serve_fakes import FakeModel, make_engine, make_served
from serve_loopback import listening
from test_serve_api import app_of, call

from hfc.serve.app import make_app
from hfc.serve.models import Models
from hfc.serve.served import ServerSettings

HUGE = 100 << 20
ROOT = Path(__file__).resolve().parents[2]


def test_every_key_is_compared_in_constant_time(monkeypatch):
    """hmac.compare_digest and nothing else, against every key, wherever the right one stands."""
    pairs, compare = [], hmac.compare_digest
    monkeypatch.setattr("hfc.serve.security.hmac.compare_digest", lambda a, b: (pairs.append((a, b)), compare(a, b))[1])
    keys = ("first", "zweiter", "drittér")
    with app_of(settings=ServerSettings(api_keys=keys)) as (app, _):
        for given, status in (("first", 200), ("drittér", 200), ("firs", 401), ("", 401), ("x" * 5000, 401)):
            pairs.clear()
            headers = {"Authorization": b"Bearer " + given.encode("latin-1")}
            assert call(app, "GET", "/v1/models", headers=headers).status_code == status
            assert [key for _, key in pairs] == [key.encode() for key in keys] and {a for a, _ in pairs} == {
                given.encode()
            }


@pytest.fixture(scope="module")
def url():
    engine = make_engine(FakeModel(context=512))
    with listening(make_app(Models([make_served(engine)]), ServerSettings())) as url:
        yield url
    engine.close()


def raw(url, head, body=b"", timeout_s=20):
    """What comes back for bytes sent as they are, until the server closes or has answered."""
    place = urlsplit(url)
    with socket.create_connection((place.hostname, place.port), timeout_s) as connection:
        connection.sendall(head.encode() + body)
        answer = b""
        while part := connection.recv(65536):
            answer += part
            if b"\r\n\r\n" in answer and b"connection: close" not in answer.lower():
                break
        return answer


def head_of(url, *lines):
    return "\r\n".join(
        (
            "POST /v1/completions HTTP/1.1",
            f"Host: {urlsplit(url).netloc}",
            "Content-Type: application/json",
            *lines,
            "",
            "",
        )
    )


def test_a_hundred_megabytes_are_refused_by_their_length(url):
    began = time.monotonic()
    answer = raw(url, head_of(url, f"Content-Length: {HUGE}"))
    assert (
        answer.startswith(b"HTTP/1.1 413")
        and json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]["code"] == "request_too_large"
    )
    assert time.monotonic() - began < 5, "nobody waits for a body that is not wanted"


def test_a_hundred_megabytes_in_parts_are_refused_on_the_way(url):
    """Parts of a megabyte without a length before them: the server answers long before the last."""
    place, part, sent = urlsplit(url), b"100000\r\n" + b" " * (1 << 20) + b"\r\n", 0
    with socket.create_connection((place.hostname, place.port), 20) as connection:
        connection.sendall(head_of(url, "Transfer-Encoding: chunked").encode())
        try:
            while sent < HUGE:
                connection.sendall(part)
                sent += 1 << 20
        except OSError:  # closed in the middle
            pass
        try:
            answer = connection.recv(65536)
        except ConnectionResetError:
            answer = b""
    assert sent < HUGE and (not answer or answer.startswith(b"HTTP/1.1 413"))
    assert raw(url, head_of(url, "Content-Length: 2", "Connection: close"), b"{}").startswith(b"HTTP/1.1 400"), (
        "others are served"
    )


@pytest.mark.parametrize("length", ["-1", "ten", "1e3", "0x10"])
def test_lengths_that_are_no_number(url, length):
    assert raw(url, head_of(url, f"Content-Length: {length}", "Connection: close")).startswith(b"HTTP/1.1 400")


def test_invalid_utf_8_is_a_400_wherever_it_stands(url):
    for body in (
        b"\xff\xfe\x00",
        b'{"model": "fake", "prompt": "\xc3"}',
        b'{"model": "fake", "prompt": "\xed\xa0\x80"}',
        b'{"\xf0\x9f": 1}',
    ):
        answer = raw(url, head_of(url, f"Content-Length: {len(body)}", "Connection: close"), body)
        assert answer.startswith(b"HTTP/1.1 400"), body
        assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]["type"] == "invalid_request_error"


def test_a_body_that_stops_in_the_middle_ends_quietly(url, caplog):
    place = urlsplit(url)
    with socket.create_connection((place.hostname, place.port), 20) as connection:
        connection.sendall(head_of(url, "Content-Length: 1000").encode() + b'{"model": "fa')
    time.sleep(0.2)
    assert raw(url, head_of(url, "Content-Length: 2", "Connection: close"), b"{}").startswith(b"HTTP/1.1 400")
    assert not caplog.records


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
AUDIO = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "what is it?"}, IMAGE]}]},
        ),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": [AUDIO]}]}),
        (
            "/v1/responses",
            {
                "input": [
                    {"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]}
                ]
            },
        ),
        (
            "/v1/messages",
            {
                "max_tokens": 5,
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
                        ],
                    }
                ],
            },
        ),
    ],
)
def test_images_and_sounds_are_refused_in_every_dialect(path, body):
    with app_of() as (app, _):
        response = call(app, "POST", path, json={"model": "fake", **body})
        assert response.status_code == 400 and "text" in response.json()["error"]["message"], response.text


def test_every_test_that_the_threat_model_names_is_there():
    text = (ROOT / "docs/security.md").read_text()
    table = text.partition("## What was found")[2].partition("\n## ")[0]
    file, named = "", []
    for place, name in re.findall(r"`([\w/]*\.py)?::(test_\w+)`", table):
        file = place or file
        named.append(f"def {name}(" in (ROOT / (file if "/" in file else f"tests/serve/{file}")).read_text())
        assert named[-1], f"{file}::{name}"
    assert len(named) > 40
