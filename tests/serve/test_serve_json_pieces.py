"""Large bodies: the values that json.loads gives, in pieces that hold Python's lock for milliseconds."""

import importlib
import json
import pkgutil
import random
import time
import weakref

import pytest
from serve_fakes import FakeModel
from test_serve_api import app_of, call

from hfc.serve import api, json_pieces
from hfc.serve.body import BodyRoute, is_large, parsed
from hfc.serve.encoding import encoded
from hfc.serve.errors import ApiError
from hfc.serve.json_pieces import Shape, decoded
from hfc.serve.limits import ServerLimits

LEAVES = (1, -2.5, True, None, "a", 'x,y:[]{}"\\', "\\\\", "\u00e9\u4e00", "", 1e300, 10**25, "\ud800")
KEYS = ("a", "b", "c,", '{"', "\\", "")


def value(rng: random.Random, depth: int = 0):
    kind = rng.random()
    if depth > 4 or kind < 0.4:
        return rng.choice(LEAVES)
    if kind < 0.7:
        return [value(rng, depth + 1) for _ in range(rng.randrange(5))]
    return {rng.choice(KEYS) + str(rng.randrange(4)): value(rng, depth + 1) for _ in range(rng.randrange(5))}


def damaged(rng: random.Random, text: bytes) -> bytes:
    out = bytearray(text)
    for _ in range(rng.randrange(1, 3)):
        at = rng.randrange(len(out) + 1)
        out[at : at + rng.randrange(2)] = bytes(rng.choices(b'[]{},:"\\ 1', k=rng.randrange(2)))
    return bytes(out)


def outcome(load, text: bytes):
    try:
        return load(text)
    except ValueError:
        return ValueError


@pytest.fixture
def small_pieces(monkeypatch):
    for name, limit in (("PIECE_BYTES", 8), ("PIECE_MARKS", 3), ("SCAN_BYTES", 1000), ("PAUSE_S", 0)):
        monkeypatch.setattr(json_pieces, name, limit)


def test_pieces_give_what_the_whole_gives(small_pieces):
    rng = random.Random(1)
    for _ in range(4000):
        text = json.dumps(value(rng), ensure_ascii=True, indent=rng.choice([None, 1])).encode()
        assert decoded(text, Shape(text, 1 << 20)) == json.loads(text)
        text = damaged(rng, text)
        assert outcome(lambda t: decoded(t, Shape(t, 1 << 20)), text) == outcome(json.loads, text), text


def test_the_shape_does_not_depend_on_where_the_search_is_cut(monkeypatch):
    monkeypatch.setattr(json_pieces, "PAUSE_S", 0)
    rng = random.Random(2)
    for _ in range(100):
        text = bytes(rng.choices(b'\\\\\\""[]{},:x', k=rng.randrange(40)))
        monkeypatch.setattr(json_pieces, "SCAN_BYTES", 1 << 18)
        whole = Shape(text, 100)
        for size in (1, 3):
            monkeypatch.setattr(json_pieces, "SCAN_BYTES", size)
            cut = Shape(text, 100)
            for name in ("places", "marks", "depths"):
                assert getattr(cut, name).tolist() == getattr(whole, name).tolist(), (text, size, name)


@pytest.mark.parametrize(
    "text",
    [b"[1,,2]", b"[,1]", b'{"a":1,}', b'{,"a":1}', b'{"a":1}x', b'x{"a":1}', b"[1}", b"{1:2}", b'{"a" 1:[1,2,3]}'],
)
def test_what_is_no_json_stays_none_in_pieces(small_pieces, text):
    with pytest.raises(ApiError, match="not valid JSON"):
        parsed(text, ServerLimits())


def test_other_encodings_of_json():
    for name in ("utf-8-sig", "utf-16", "utf-32-le"):
        assert parsed(json.dumps({"a": ["\u00e9"] * 9}).encode(name), ServerLimits()) == {"a": ["\u00e9"] * 9}


def test_an_iterator_is_encoded_as_a_list_and_no_two_of_its_items_are_there_at_once():
    class Item(list):
        """Whose end can be seen."""

    last = lambda: None  # noqa: E731

    def items():
        nonlocal last
        for i in range(3):
            assert last() is None, "the one before was let go"
            item = Item([i])
            last = weakref.ref(item)
            yield item
            del item

    assert json.loads(encoded({"a": items(), "b": iter([]), "c": iter([{"x": iter("yz")}])})) == {
        "a": [[0], [1], [2]], "b": [], "c": [{"x": ["y", "z"]}],
    }  # fmt: skip
    assert last() is None


def test_no_piece_is_long(monkeypatch):
    longest, decode = 0.0, json_pieces.msgspec.json.decode

    def timed(part):
        nonlocal longest
        began = time.thread_time()
        out = decode(part)
        longest = max(longest, time.thread_time() - began)
        return out

    monkeypatch.setattr(json_pieces.msgspec.json, "decode", timed)
    text = json.dumps({"a": {str(i): i for i in range(200_000)}, "b": list(range(200_000))}).encode()
    assert parsed(text, ServerLimits(json_values=1 << 20))["b"][-1] == 199_999
    assert 0 < longest < 0.02, "the whole takes ten times as long"


@pytest.mark.parametrize("size", [1, 4000])
def test_a_large_request_is_answered_like_a_small_one(size):
    said = "x" * 40_000 if size > 1 else ""
    with app_of(FakeModel()) as (app, _):
        good = {"model": "fake", "prompt": "hello", "max_tokens": 4, "user": said}
        assert is_large(json.dumps(good).encode()) == (size > 1)
        assert call(app, "POST", "/v1/completions", json=good).status_code == 200
        for change, param in (({"max_tokens": "x"}, "max_tokens"), ({"stop": ["a", 5]}, "stop.1")):
            answer = call(app, "POST", "/v1/completions", json={**good, **change})
            assert answer.status_code == 400 and answer.json()["error"]["param"] == param
        answer = call(app, "POST", "/v1/completions", json=[said])
        assert answer.status_code == 400 and "object" in answer.json()["error"]["message"]


def test_every_endpoint_with_a_body_takes_large_ones():
    modules = [importlib.import_module(f"{api.__name__}.{m.name}") for m in pkgutil.iter_modules(api.__path__)]
    routes = [route for module in modules for route in module.ROUTE.routes if getattr(route, "body_field", None)]
    assert len(routes) > 10 and all(isinstance(route, BodyRoute) for route in routes)
