"""The chat page in a headless Chromium (Debian: apt install chromium): what a user sees and does."""

import contextlib
import json
import threading
import time

import pytest
from serve_browser import browser_page, find_browser
from serve_fakes import TEMPLATE, Says, make_engine, make_served
from serve_loopback import listening

from hfc.serve.app import make_app
from hfc.serve.models import Models
from hfc.serve.served import Settings

pytestmark = pytest.mark.skipif(
    find_browser() is None, reason="needs Chromium: apt install chromium, or HFC_TEST_BROWSER"
)

THOUGHTS = TEMPLATE.replace("assistant:{% endif %}", "assistant:<think>\n{% endif %}")  # the prompt opens the thought
TOOL = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]
ENDED = "document.getElementById('stop').disabled && document.querySelectorAll('article.assistant').length"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browser_page(tmp_path_factory.mktemp("profile")) as page:
        yield page


@contextlib.contextmanager
def server(page, *texts, template=TEMPLATE, gate=None, keys=()):
    """A server that says these texts, with its page open."""
    engine = make_engine(Says(*texts, context=4000, gate=gate))
    page.events.clear()
    with listening(make_app(Models([make_served(engine, template)]), Settings(api_keys=keys))) as url:
        page.open(url)
        if not keys:
            page.wait_for("document.getElementById('model').value === 'fake'")
        yield url, engine
        if gate:
            gate.release(10**6)
    engine.close()


def say(page, text):
    page.run("document.getElementById('prompt').focus()")
    page.type(text)
    page.press_enter()


def last(page, selector="article.assistant"):
    return page.run(f"[...document.querySelectorAll({json.dumps(selector)})].at(-1)?.innerText")


def test_a_conversation_streams_and_nothing_leaves_the_server(page):
    gate = threading.Semaphore(0)
    with server(page, "Hello <b>you</b> & all.", "And again.", gate=gate) as (url, _):
        say(page, "hi")
        gate.release(12)
        page.wait_for("document.querySelector('article.assistant')?.innerText.includes('Hello')")
        assert "all." not in last(page) and page.run("document.getElementById('send').disabled"), "it streams"
        gate.release(10**5)
        page.wait_for(ENDED)
        assert (
            last(page).strip() == "Hello <b>you</b> & all." and page.run("document.querySelector('article b')") is None
        )
        assert last(page, "article.user") == "hi"
        assert "tok/s" in page.run("document.getElementById('speed').textContent")
        say(page, "more")
        page.wait_for(
            "document.querySelectorAll('article.assistant').length === 2 && document.getElementById('stop').disabled"
        )
        assert last(page).strip() == "And again."
        assert "prompt tokens from the cache" in page.run("document.getElementById('speed').textContent")
        page.wait_for("document.getElementById('slots-text').textContent === '0/3'")
        assert page.run("document.getElementById('kv').value") > 0 and "MB" in page.run(
            "document.getElementById('cache-text').textContent"
        )
        asked = [e["request"]["url"] for method, e in page.events if method == "Network.requestWillBeSent"]
        assert asked and all(one.startswith((url, "data:")) for one in asked), asked
        problems = [
            e
            for method, e in page.events
            if method == "Runtime.exceptionThrown" or e.get("entry", {}).get("level") == "error"
        ]
        assert not problems


def test_thoughts_and_calls_are_shown_apart_and_a_call_gets_its_result(page):
    call = 'I look.<tool_call>\n{"name": "look", "arguments": {}}\n</tool_call>'
    with server(page, "<think>\nhm, what?</think>Yes.", template=THOUGHTS):
        page.run(f"document.getElementById('tools').value = {json.dumps(json.dumps(TOOL))}")
        say(page, "think")
        page.wait_for(ENDED)
        assert page.run("document.querySelector('article.assistant details div').textContent").strip() == "hm, what?"
        assert not page.run("document.querySelector('article.assistant details').hidden")
        assert page.run("document.querySelector('article.assistant > div').innerText") == "Yes."
    with server(page, call, "It is red."):
        page.run(f"document.getElementById('tools').value = {json.dumps(json.dumps(TOOL))}")
        say(page, "call")
        page.wait_for(ENDED)
        assert last(page, "article.assistant pre") == "look({})" and last(page).startswith("I look.")
        say(page, "a red thing")
        page.wait_for(
            "document.querySelectorAll('article.assistant').length === 2 && document.getElementById('stop').disabled"
        )
        assert last(page).strip() == "It is red." and page.run("document.querySelector('article.error')") is None


def test_the_stop_button_frees_the_slot(page):
    gate = threading.Semaphore(0)
    with server(page, "x" * 3000, gate=gate) as (_, engine):
        say(page, "go on")
        gate.release(30)
        page.wait_for("document.querySelector('article.assistant')?.innerText.includes('xxx')")
        page.run("document.getElementById('stop').click()")
        page.wait_for(ENDED)
        end = time.monotonic() + 10
        while engine.active:
            gate.release()
            assert time.monotonic() < end, "the engine goes on"
            time.sleep(0.01)
        assert 0 < len(last(page)) < 500 and page.run("document.querySelector('article.error')") is None
        page.run("document.getElementById('clear').click()")
        assert page.run("document.querySelectorAll('article').length") == 0


def test_settings_reach_the_server_and_errors_are_shown(page):
    with server(page, "abcdefgh", keys=("s3cret",)):
        say(page, "hello")
        page.wait_for("document.querySelector('article.error')")
        assert "API key" in last(page, "article.error")
        page.run(
            "at_key = document.getElementById('key'); at_key.value = 's3cret'; at_key.dispatchEvent(new Event('change'))"
        )
        page.wait_for("document.getElementById('model').value === 'fake'")
        page.run("document.getElementById('max_completion_tokens').value = '3'")
        say(page, "hello")
        page.wait_for("[...document.querySelectorAll('article.assistant')].at(-1).innerText.trim() === 'abc'")
        page.run("document.getElementById('temperature').value = '9'")
        say(page, "hello")
        page.wait_for("document.querySelectorAll('article.error').length === 2")
        assert "temperature" in last(page, "article.error")
