"""A door before whole apps, in one process: what `hfc serve --ray` is without Ray; and what its command line refuses."""

import asyncio
import contextlib
import json
import socket
import threading
import time
import urllib.error
import urllib.request

import pytest
from serve_fakes import FakeModel, make_engine, make_served
from serve_loopback import listening

from hfc.base.diagnostics import DeviceLost, HfcError
from hfc.cli import main, serve_ray
from hfc.cli.serve import config_of
from hfc.cli.serve_options import ServeOptions
from hfc.cli.serve_ray import _relative, with_cards
from hfc.cli.usage.parse import with_defaults
from hfc.cli.usage.serve import USAGE
from hfc.runtime.devices import Card, Found
from hfc.runtime.driver import DeviceInfo
from hfc.serve.app import make_app
from hfc.serve.limits import ServerLimits
from hfc.serve.models import Models
from hfc.serve.ray.asgi import parts_of
from hfc.serve.ray.cards import see_only
from hfc.serve.ray.door import make_door
from hfc.serve.ray.guards import ReplicaGuard
from hfc.serve.ray.parts import Asked, Kind, ReplicaLost
from hfc.serve.ray.settings import RaySettings, replicas_of
from hfc.serve.served import ServerSettings

OPEN = ServerSettings()


class Apps:
    """Replicas in this process. ends_at: a replica ends when it has given so many parts of one answer."""

    def __init__(self, *apps, ends_at=None):
        self.apps, self.ends_at, self.asked, self.sizes = list(apps), ends_at or {}, [], []

    async def ask(self, asked):
        at = next(i for i in range(len(self.apps)) if str(i) not in asked.tried)
        asked.replica = str(at)
        self.asked.append((at, asked))
        self.sizes.append(len(asked.body))
        left = self.ends_at.get(at, 1 << 30)
        async with contextlib.aclosing(parts_of(self.apps[at], asked)) as parts:
            async for some in parts:
                for part in some:
                    if left == 0:
                        raise ReplicaLost("killed")
                    left -= 1
                    yield [part]
        if left == 0:
            raise ReplicaLost("killed")

    async def states(self):
        return {"RUNNING": len(self.apps)}

    async def facts(self):
        told = {}
        for i, app in enumerate(self.apps):
            told[str(i)] = {"pid": 1}
            for path in ("health", "ready", "metrics"):
                told[str(i)][path] = await whole(app, f"/{path}")
        return told


async def whole(app, path):
    parts = [p async for some in parts_of(app, Asked("GET", path, b"", [], b"", True)) for p in some]
    return parts[0].data[0], b"".join(p.data for p in parts[1:])


@contextlib.contextmanager
def door(models, settings=OPEN, **options):
    """(url, replicas) of a door before one app for each model."""
    engines = [make_engine(model) for model in models]
    apps = [make_app(Models([make_served(e)]), ServerSettings(keep_alive_s=0.05), ReplicaGuard) for e in engines]
    replicas = Apps(*apps, **options)
    try:
        with listening(make_door(replicas, settings)) as url:
            yield url, replicas
    finally:
        for engine in engines:
            engine.close()


def post(url, asked, **headers):
    """(status, body) of an answer."""
    data = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


MESSAGES = [{"role": "user", "content": "hello"}]
ASKED = {
    "/v1/completions": {"prompt": "hello"},
    "/v1/chat/completions": {"messages": MESSAGES},
    "/v1/responses": {"input": "hello"},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 12},
    "/api/chat": {"model": "fake", "messages": MESSAGES},
    "/completion": {"prompt": "hello"},
}
LIMIT = {"/v1/responses": "max_output_tokens", "/completion": "n_predict"}


def asking(path, stream, tokens=12):
    more = {"options": {"num_predict": tokens}} if path == "/api/chat" else {LIMIT.get(path, "max_tokens"): tokens}
    return {**ASKED[path], **more, "stream": stream}


def text_of(answer):
    """The letters of an answer in any dialect, less what is new in each: names, times."""
    found = []

    def walk(value):
        if isinstance(value, dict):
            for key, inner in value.items():
                if (
                    key in ("content", "text", "delta", "response", "output", "choices", "message")
                    or key == "content_block"
                ):
                    walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)
        elif isinstance(value, str):
            found.append(value)

    for line in answer.decode().splitlines():
        line = line.removeprefix("data: ")
        if line.startswith("{"):
            walk(json.loads(line))
    return "".join(found)


@pytest.fixture(scope="module")
def plain():
    engine = make_engine(FakeModel())
    with listening(make_app(Models([make_served(engine)]), ServerSettings())) as url:
        yield url
    engine.close()


@pytest.fixture(scope="module")
def two():
    with door([FakeModel(), FakeModel()]) as found:
        yield found


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("path", ASKED)
def test_every_dialect_says_through_a_door_what_it_says_without(plain, two, path, stream):
    """Also where the first replica ends ahead of the head, behind it, and behind the opening."""
    status, answer = post(plain + path, asking(path, stream))
    wanted = text_of(answer)
    assert status == 200 and wanted
    url, replicas = two
    for ends_at in (None, 0, 1, 2):
        replicas.asked.clear()
        replicas.ends_at = {} if ends_at is None else {0: ends_at}
        status, answer = post(url + path, asking(path, stream))
        has_begun = "replica that wrote" in answer.decode()
        assert status == 200 and (has_begun or text_of(answer) == wanted)
        if ends_at is not None and (ends_at < 2 or not stream):
            assert not has_begun and [at for at, _ in replicas.asked] == [0, 1]


def test_a_lost_device_is_another_replica_s_work():
    for stream in (False, True):
        bad = FakeModel()
        bad.fail = DeviceLost("device lost")
        with door([bad, FakeModel()]) as (url, replicas):
            status, answer = post(f"{url}/v1/chat/completions", asking("/v1/chat/completions", stream))
            assert status == 200 and "device lost" not in answer.decode() and text_of(answer)
            assert [at for at, _ in replicas.asked] == [0, 1]


def test_keys_stay_at_the_door():
    settings = ServerSettings(("secret", "first"), frozenset({"first"}))
    with door([FakeModel()], settings) as (url, replicas):
        path = f"{url}/v1/completions"
        assert post(path, {"prompt": "a"})[0] == 401 and not replicas.asked
        assert post(path, {"prompt": "a"}, Authorization="Bearer secret")[0] == 200
        assert post(path, {"prompt": "a"}, **{"X-Api-Key": "first"})[0] == 200
        seen = [asked for _, asked in replicas.asked]
        assert [asked.may_go_first for asked in seen] == [False, True]
        assert not {b"authorization", b"x-api-key"} & {name for asked in seen for name, _ in asked.headers}


def test_pages_of_others_stay_out():
    with door([FakeModel()]) as (url, replicas):
        assert post(f"{url}/v1/completions", {"prompt": "a"}, Host="evil.example")[0] == 403
        assert post(f"{url}/v1/completions", {"prompt": "a"}, Origin="http://evil.example")[0] == 403
        assert not replicas.asked


def test_bodies_are_read_at_the_door():
    with door([FakeModel(context=256)]) as (url, replicas):
        path = f"{url}/v1/completions"
        assert post(path, b"{" * 40_000)[0] == 400 and not replicas.asked
        assert post(path, b"[" * 400)[0] == 400 and not replicas.asked
        status, answer = post(path, b'{"prompt": ')
        assert status == 400 and b"not valid JSON" in answer, "the replica's words"
        status, answer = post(path, {"prompt": "a", "metadata": {str(i): "x" * 400 for i in range(100)}})
        assert status == 200 and replicas.sizes[-1] > 40_000
        assert post(f"{url}/v1/nothing", {})[0] == 404


def test_bodies_that_wait_are_held_within_a_bound():
    gate = threading.Semaphore(0)
    large = {"prompt": "a", "max_tokens": 2, "metadata": {"a": "x" * 60_000}}
    with door([FakeModel(gate=gate)], ServerSettings(limits=ServerLimits(bodies_bytes=100_000))) as (url, replicas):
        first = []
        asking = threading.Thread(target=lambda: first.append(post(f"{url}/v1/completions", large)))
        asking.start()
        while not replicas.asked:
            time.sleep(0.01)
        status, answer = post(f"{url}/v1/completions", large)
        assert status == 503 and b"too many large bodies" in answer
        for _ in range(99):
            gate.release()
        asking.join(20)
        assert first[0][0] == 200 and post(f"{url}/v1/completions", large)[0] == 200


def test_what_a_door_says_of_its_replicas():
    with door([FakeModel(), FakeModel()]) as (url, _):
        post(f"{url}/v1/completions", {"prompt": "a", "max_tokens": 3})
        with urllib.request.urlopen(f"{url}/health") as answer:
            assert json.load(answer) == {"status": "ok", "replicas": {"RUNNING": 2}}
        with urllib.request.urlopen(f"{url}/ready") as answer:
            assert json.load(answer)["replicas"]["1"]["models"]["fake"]["slots"] == 3
        with urllib.request.urlopen(f"{url}/metrics") as answer:
            lines = answer.read().decode().splitlines()
    assert 'hfc_generated_tokens_total{model="fake",replica="0"} 3.0' in lines
    assert 'hfc_requests_total{path="/v1/completions",status="200"} 1.0' in lines
    assert "hfc_replicas 2.0" in lines and "hfc_door_requests_retried_total 0.0" in lines
    with door([]) as (url, _):
        with pytest.raises(urllib.error.HTTPError, match="503"):
            urllib.request.urlopen(f"{url}/health")


def test_a_client_that_goes_frees_its_slot():
    async def scene():
        engine = make_engine(FakeModel(context=4096))
        app = make_app(Models([make_served(engine)]), ServerSettings(), ReplicaGuard)
        asked = Asked(
            "POST",
            "/v1/completions",
            b"",
            [(b"content-type", b"application/json")],
            b'{"prompt":"a","max_tokens":4000,"stream":true}',
            True,
        )
        async with contextlib.aclosing(parts_of(app, asked)) as parts:
            async for some in parts:
                if any(p.kind == Kind.BODY for p in some):
                    break
        for _ in range(200):
            if not engine.active:
                break
            await asyncio.sleep(0.01)
        active = engine.active
        await asyncio.to_thread(engine.close)
        return active

    assert asyncio.run(scene()) == 0


# --- the command line ---


def test_numbers_of_replicas():
    assert replicas_of("3") == (3, 3) and replicas_of("1:4") == (1, 4)
    for text in ("0", "4:1", "a", "", "1:2:3", "-1", "0:2"):
        with pytest.raises(HfcError, match="--replicas"):
            replicas_of(text)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--replicas", "2:1"], "--replicas 2:1"),
        (["b"], "replicas of one model"),
        (["--device", "hip:1"], "--device hip:1: Ray gives each replica a card"),
        (["--idle-unload", "5"], "--idle-unload"),
        (["--ray-address", "ray://127.0.0.1:1"], "expected the address of a cluster's head"),
        (["--ray-address", "127.0.0.1:1"], "--ray-address 127.0.0.1:1: nobody answers there"),
        (["--cache-dir", "x", "--replicas", "2"], "--cache-dir"),
        (["--scale-up", "-1"], "--scale-up -1: expected at least 0"),
    ],
)
def test_what_cannot_be_deployed_is_said_by_name(words, message, capsys):
    with pytest.raises(SystemExit) as end:
        main(["serve", "a", "--ray", *words])
    assert end.value.code == 2 and message in capsys.readouterr().err


def test_replicas_without_ray_are_no_silence(capsys):
    with pytest.raises(SystemExit):
        main(["serve", "no-such-model", "--port", "0", "--replicas", "2"])
    assert "--replicas 2 is of --ray" in capsys.readouterr().err


def test_the_loop_is_asyncio_s_own_whatever_is_installed():
    """uvicorn takes uvloop where it finds it, whose connections our protocol cannot bound: each failed, and nobody was answered."""
    options = ServeOptions(**with_defaults("serve", USAGE, {"model": ["a"]}))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = config_of(options, make_app(Models(), OPEN), listener)
    assert config.loop == "asyncio"


@pytest.mark.parametrize(
    ("chosen", "seen"),
    [("host", "host"), ("hip:2", "hip"), ("hip:2,hip:3", "hip:0,hip:1"), ("cuda:1,host,cuda:5", "cuda:0,host,cuda:1")],
)
def test_a_replica_counts_the_cards_that_it_is_given(chosen, seen):
    assert _relative(chosen) == seen


@pytest.mark.parametrize(
    ("given", "before", "after"),
    [
        (["1"], {"CUDA_VISIBLE_DEVICES": "1"}, ("1", "1")),  # Ray found no AMD library, and nobody has chosen cards
        (["0"], {"CUDA_VISIBLE_DEVICES": "0", "HIP_VISIBLE_DEVICES": "2,3"}, ("2", "0")),  # the door has some of them
        (["1"], {"CUDA_VISIBLE_DEVICES": "1", "HIP_VISIBLE_DEVICES": "2,3"}, ("3", "1")),
        (["3"], {"HIP_VISIBLE_DEVICES": "3"}, ("3", "3")),  # Ray knows AMD's
        (["0", "1"], {"CUDA_VISIBLE_DEVICES": "0,1", "HIP_VISIBLE_DEVICES": "3,2"}, ("3,2", "0,1")),
        (["GPU-8a", "GPU-8b"], {"CUDA_VISIBLE_DEVICES": "GPU-8a,GPU-8b"}, ("GPU-8a,GPU-8b", "GPU-8a,GPU-8b")),
    ],
)
def test_a_replica_sees_the_cards_that_ray_gave_it(given, before, after):
    environment = dict(before)
    see_only(given, environment)
    assert (environment["HIP_VISIBLE_DEVICES"], environment["CUDA_VISIBLE_DEVICES"]) == after


def test_a_replica_without_cards_changes_nothing():
    environment = {"HIP_VISIBLE_DEVICES": "1"}
    see_only([], environment)
    assert environment == {"HIP_VISIBLE_DEVICES": "1"}


def test_only_cards_of_the_kind_that_is_asked_for_count(monkeypatch):
    cards = tuple(Card(kind, DeviceInfo(0, kind, "sm_90", 1, 1)) for kind in ("hip", "cuda", "cuda"))
    monkeypatch.setattr(serve_ray, "find_cards", lambda: Found(cards, {}))
    two = RaySettings(2, 2, None, 1.0, 1.0, None)
    assert with_cards(two, "cuda").cards == 2 and with_cards(two, "auto").cards == 3
    with pytest.raises(HfcError, match="2 need 2 cards, and there are 1 here"):
        with_cards(two, "hip")
