"""Who a browser may speak for: names, origins, types of bodies."""

import gzip
import json

import pytest
from test_serve_api import app_of, call

from hfc.serve.security import is_loopback
from hfc.serve.served import ServerSettings

ASK = {"model": "fake", "prompt": "hello", "max_tokens": 4}


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


@pytest.mark.parametrize(
    ("coding", "content", "status", "words"),
    [
        ("gzip", gzip.compress(json.dumps(ASK).encode(), mtime=0), 415, "Content-Encoding is 'gzip'"),
        ("identity", json.dumps(ASK).encode(), 200, ""),
        ("", b'{"prompt": "\xff"}', 400, "it is not UTF-8"),
    ],
)
def test_bodies_that_are_packed_or_no_text_are_refused_by_reason(app, coding, content, status, words):
    headers = {"Content-Type": "application/json", "Content-Encoding": coding}
    answer = call(app, "POST", "/v1/completions", content=content, headers=headers)
    assert answer.status_code == status and words in answer.text


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
