"""`hfc serve --ray` without Ray: which replica a request goes to, and what becomes of it when that one ends."""

import asyncio
import json

import pytest

from hfc.serve.errors import ApiError
from hfc.serve.ray.beginnings import PIECE, beginnings
from hfc.serve.ray.channel import END, Channels, Ways
from hfc.serve.ray.parts import AnswerPart, Asked, Kind, ReplicaLost, joined
from hfc.serve.ray.passing import MOST_TRIES, Counts, Outgoing, pass_on
from hfc.serve.ray.routing import ReadBeginnings, choose

HEAD = AnswerPart(Kind.HEAD, (200, [(b"content-type", b"text/event-stream")]))
KEEP = AnswerPart(Kind.KEEP_ALIVE, b": keep-alive\n\n")


def chat(*texts, **more):
    messages = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]
    return {"model": "fake", "messages": messages, **more}


# --- which replica ---


def test_the_next_turn_begins_with_all_of_the_last_one():
    first = beginnings(chat("hello", temperature=0.1, seed=3))
    second = beginnings(chat("hello", "yes?", "x" * 3 * PIECE, stream=True))
    assert second[: len(first)] == first and len(second) == len(first) + 5
    assert beginnings(chat("hullo"))[-1] not in second
    assert beginnings({**chat("hello"), "model": "other"})[-1] not in second


def test_what_stands_in_no_prompt_changes_nothing():
    def anthropic(**mark):
        return {
            "max_tokens": 5, "system": [{"type": "text", "text": "be kind", **mark}], "model": "fake",
            "messages": [{"role": "user", "content": [{"type": "text", "text": "hello", **mark}]}],
        }  # fmt: skip

    assert beginnings(anthropic()) == beginnings(anthropic(cache_control={"type": "ephemeral"}))
    assert len(set(beginnings(anthropic()))) == 3


@pytest.mark.parametrize("body", [None, [], "text", {}, {"model": "a"}, {"name": "a"}, {"messages": None}])
def test_what_is_no_request_for_text_has_no_beginnings(body):
    assert beginnings(body) == ()


def test_odd_bodies_have_beginnings_too():
    for body in (
        {"prompt": [1, 2, 3]},
        {"prompt": ["a", "b"]},
        {"input": [{"content": [{"text": "\ud800"}]}]},
        {"messages": 5},
    ):
        assert beginnings(body)


def test_a_request_goes_where_most_of_it_is_known():
    known = ReadBeginnings()
    known.note(beginnings(chat("a")), "one")
    known.note(beginnings(chat("a", "b", "c")), "two")
    assert known.holders(beginnings(chat("a", "b", "c", "d", "e")), {"one", "two", "three"}) == [(4, "two"), (2, "one")]
    assert known.holders(beginnings(chat("a")), {"two"}) == [(2, "two")]
    known.forget("two")
    assert known.holders(beginnings(chat("a", "b")), {"one", "two"}) == [(2, "one")]


def test_unless_it_has_too_much_to_do():
    holders = [(4, "two"), (2, "one")]
    assert choose(holders, {"one": 0, "two": 3, "three": 0}, spare=3) == "two"
    assert choose(holders, {"one": 0, "two": 4, "three": 0}, spare=3) == "one"
    assert choose(holders, {"one": 9, "two": 9, "three": 5}, spare=3) == "three"
    assert choose([(2, "one"), (2, "two")], {"one": 2, "two": 1}, spare=3) == "two"
    assert choose([], {"one": 2, "two": 1}, spare=3) == "two"


def test_what_is_known_has_a_bound():
    known = ReadBeginnings(most=8)
    for i in range(20):
        known.note(beginnings(chat(f"{i}", "b", "c")), "one")
    assert len(known) == 8
    assert known.holders(beginnings(chat("19", "b", "c")), {"one"}) == [(4, "one")]
    assert known.holders(beginnings(chat("0", "b", "c")), {"one"}) == [(1, "one")], "the model's name alone"


# --- replicas that end ---


class Script:
    """Replicas whose answers are lists of parts, in the order in which they are asked. An exception in one is raised there."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), 0

    async def ask(self, asked):
        self.asked += 1
        asked.replica = f"r{self.asked}"
        for part in self.answers.pop(0):
            if isinstance(part, Exception):
                raise part
            yield [part]


def passed(script, path="/v1/chat/completions", timeout_s=5.0):
    """(status, body, counts) of a request that replicas answer by a script."""
    sent, counts = [], Counts()

    async def send(message):
        sent.append(message)

    async def scene():
        asked = Asked("POST", path, b"", [], b"{}", False)
        await pass_on(asked, script, Outgoing(asked, send), counts, timeout_s)

    asyncio.run(scene())
    starts = [m for m in sent if m["type"] == "http.response.start"]
    assert len(starts) == 1 and sent[0] is starts[0] and not sent[-1].get("more_body")
    return starts[0]["status"], b"".join(m.get("body", b"") for m in sent), counts


def body(text):
    return AnswerPart(Kind.BODY, text)


def held(text):
    return AnswerPart(Kind.HELD, text)


GOOD = [HEAD, held(b"open;"), body(b"text;"), body(b"end")]
LOST = ReplicaLost("died")


@pytest.mark.parametrize(
    "bad",
    [
        [LOST],
        [HEAD, LOST],
        [HEAD, held(b"other;"), LOST],
        [HEAD, held(b"other;"), AnswerPart(Kind.AGAIN, "device lost")],
        [AnswerPart(Kind.HEAD, (503, [])), held(b"no")],
        [],
    ],
    ids=["at once", "after the head", "before it began", "its device", "refuses", "says nothing"],
)
def test_a_request_that_has_not_begun_is_asked_anew(bad):
    status, text, counts = passed(Script(bad, bad, GOOD))
    assert (status, text) == (200, b"open;text;end")
    assert (counts.retried, counts.broken_off, counts.given_up) == (2, 0, 0)


def test_so_is_one_that_was_only_kept_alive():
    status, text, _ = passed(Script([HEAD, held(b"other;"), KEEP, LOST], GOOD))
    assert (status, text) == (200, KEEP.data + b"open;text;end")


BROKEN = {
    "/v1/chat/completions": b'data: {"error":{"message":"the replica that wrote',
    "/v1/messages": b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"',
    "/v1/responses": b'event: error\ndata: {"type":"error","code":"unavailable"',
    "/completion": b'data: {"error":{"message":"the replica that wrote',
}


@pytest.mark.parametrize("path", BROKEN)
def test_a_stream_that_has_begun_ends_as_its_dialect_ends_badly(path):
    opening = b'event: response.created\ndata: {"response":{"id":"r","status":"in_progress"}}\n\n'
    status, text, counts = passed(Script([HEAD, held(opening), body(b"data: 1\n\n"), LOST], GOOD), path)
    assert status == 200 and text.startswith(opening + b"data: 1\n\n" + BROKEN[path])
    assert (counts.retried, counts.broken_off) == (0, 1)
    if path == "/v1/responses":
        error, failed = (json.loads(e.partition(b"data: ")[2]) for e in text.split(b"\n\n")[2:4])
        assert (error["sequence_number"], failed["sequence_number"]) == (2, 3)
        assert failed["response"]["id"] == "r" and failed["response"]["status"] == "failed"


def test_so_do_lines():
    lines = AnswerPart(Kind.HEAD, (200, [(b"content-type", b"application/x-ndjson")]))
    _, text, _ = passed(Script([lines, body(b"{}\n"), LOST]), "/api/chat")
    assert "replica" in json.loads(text.splitlines()[1])["error"]


def test_a_request_that_kills_replicas_does_not_kill_all():
    script = Script(*[[LOST]] * 9)
    status, text, counts = passed(script)
    assert status == 503 and "no replica could answer" in json.loads(text)["error"]["message"]
    assert script.asked == MOST_TRIES and counts.given_up == 1


def test_what_all_refuse_is_refused_in_their_words():
    status, text, _ = passed(Script(*[[AnswerPart(Kind.HEAD, (503, [])), held(b"words")]] * MOST_TRIES))
    assert (status, text) == (503, b"words")


def test_errors_that_are_answers_are_not_asked_anew():
    for status in (400, 429, 500):
        script = Script([AnswerPart(Kind.HEAD, (status, [])), held(b"words")], GOOD)
        assert passed(script)[:2] == (status, b"words") and script.asked == 1
    script = Script([ApiError(500, "the model failed", None, "model_error")], GOOD)
    assert passed(script)[0] == 500 and script.asked == 1


def test_a_replica_that_says_nothing_is_waited_for_no_longer_than_a_request_may_take():
    class Silent(Script):
        async def ask(self, asked):
            await asyncio.sleep(60)
            yield []

    status, text, _ = passed(Silent(), timeout_s=0.05)
    assert status == 408 and json.loads(text)["error"]["code"] == "timeout"


def test_parts_of_one_kind_travel_as_one():
    assert joined([HEAD, held(b"a"), held(b"b"), KEEP, KEEP, body(b"c"), body(b"d")]) == [
        HEAD,
        held(b"ab"),
        KEEP,
        KEEP,
        body(b"cd"),
    ]


# --- the way back ---


def asked_of():
    return Asked("POST", "/v1/completions", b"", [], b"{}", False)


def run(scene):
    return asyncio.run(asyncio.wait_for(scene, 20))


async def all_of(inbox):
    return [part for some in [s async for s in inbox.parts()] for part in some]


def test_answers_of_one_replica_share_a_connection():
    async def scene():
        channels, ways = Channels("127.0.0.1"), Ways("r1")
        async with channels.open(one := asked_of()) as first, channels.open(two := asked_of()) as second:
            await ways.send(two.reply_to, [HEAD, body(b"b" * 300_000)])
            await ways.send(one.reply_to, [HEAD, held(b"a"), KEEP])
            for to in (one.reply_to, two.reply_to):
                await ways.send(to, END)
            found = await all_of(first), await all_of(second)
            assert len(ways._open) == 1 and one.reply_to.token == two.reply_to.token
            assert one.replica == two.replica == "r1"
        return found

    first, second = run(scene())
    assert [p.kind for p in first] == [HEAD.kind, Kind.HELD, Kind.KEEP_ALIVE] and first[1:] == [held(b"a"), KEEP]
    assert first[0].data[0] == 200 and [tuple(h) for h in first[0].data[1]] == HEAD.data[1]
    assert second[1] == body(b"b" * 300_000)


def test_a_connection_that_ends_ends_the_answers_on_it():
    async def scene():
        channels, good, bad = Channels("127.0.0.1"), Ways("good"), Ways("bad")
        async with channels.open(one := asked_of()) as first, channels.open(two := asked_of()) as second:
            await bad.send(one.reply_to, [HEAD])
            await good.send(two.reply_to, [HEAD])
            await asyncio.sleep(0.05)
            for writer in bad._open.values():
                writer.transport.abort()
            with pytest.raises(ReplicaLost):
                await all_of(first)
            await good.send(two.reply_to, END)
            assert len(await all_of(second)) == 1

    run(scene())


def test_the_end_of_a_door_is_quiet_while_replicas_hold_their_connections():
    told = []

    async def scene():
        asyncio.get_running_loop().set_exception_handler(lambda _, what: told.append(what))
        channels, ways = Channels("127.0.0.1"), Ways("r1")
        async with channels.open(asked := asked_of()) as inbox:
            await ways.send(asked.reply_to, [HEAD])
            await ways.send(asked.reply_to, END)
            await all_of(inbox)
        return channels, ways  # their connection stays

    run(scene())
    assert told == []


def test_parts_that_nobody_waits_for_are_dropped_and_strangers_are_not_heard():
    async def scene():
        channels, ways = Channels("127.0.0.1"), Ways("r1")
        async with channels.open(gone := asked_of()):
            pass
        async with channels.open(here := asked_of()) as inbox:
            await ways.send(gone.reply_to, [body(b"late")])
            forged = here.reply_to._replace(token="0" * 64)
            stranger = Ways("stranger")
            await stranger.send(forged, [body(b"forged")])
            reader, writer = await asyncio.open_connection(here.reply_to.host, here.reply_to.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
            assert await reader.read() == b"", "it is closed"
            await ways.send(here.reply_to, [HEAD])
            await ways.send(here.reply_to, END)
            assert [p.kind for p in await all_of(inbox)] == [Kind.HEAD]

    run(scene())
