"""Bodies of requests: known before they are parsed, refused by their length, and their memory given back."""

import contextlib
import ctypes
import json
import os
import subprocess
import sys
import threading
import time

import pytest
from serve_fakes import FakeModel, make_engine, make_served
from serve_loopback import connect, head, listening
from test_serve_api import app_of, call

from hfc.serve.app import make_app
from hfc.serve.body import checked_shape
from hfc.serve.errors import ApiError
from hfc.serve.limits import ServerLimits
from hfc.serve.models import Models
from hfc.serve.served import ServerSettings

ASK = {"model": "fake", "prompt": "hello", "max_tokens": 4}


@pytest.fixture(scope="module")
def app():
    with app_of() as (app, _):
        yield app


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}", "nested 201 deep"),
        (b'{"a": ' + b'{"b": ' * 200 + b"1" + b"}" * 201, "nested 201 deep"),
        (b"[" * 5000, "nested 5000 deep"),
        (b"[" + b"1," * 60_000 + b"1]", "60000 values"),
        (b"{" + b",".join(b'"k%d":1' % i for i in range(30_000)) + b"}", "59999 values"),
        (b'{"messages": [' + b'{"role": "user", "content": "x"},' * 20_000 + b"{}]}", "20003 objects and lists"),
    ],
)
def test_the_shape_of_a_body_is_known_before_it_is_parsed(body, said):
    with pytest.raises(ApiError, match=said) as refused:
        checked_shape(body, ServerLimits(json_values=50_000, json_containers=20_000))
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
        with connect(url) as connection:
            asked = json.dumps(ASK).encode()
            connection.sendall(head(url, len(asked)) + asked)
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
    engine.close()
