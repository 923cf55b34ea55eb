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
from hfc.serve.served import ServerSettings

pytestmark = pytest.mark.skipif(
    find_browser() is None, reason="needs Chromium: apt install chromium, or HFC_TEST_BROWSER"
)

THOUGHTS = TEMPLATE.replace("assistant:{% endif %}", "assistant:<think>\n{% endif %}")  # the prompt opens the thought
TOOL = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]
NAME_FITS = """(() => {
  const shown = document.getElementById('model'), whole = shown.cloneNode(true);
  whole.style.cssText = 'position: absolute; width: max-content; max-width: none';
  shown.after(whole);
  const fits = shown.offsetWidth >= whole.offsetWidth;
  whole.remove();
  return fits;
})()"""
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
    with listening(make_app(Models([make_served(engine, template)]), ServerSettings(api_keys=keys))) as url:
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


def last(page, selector="article.assistant .content"):
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
        assert last(page, "article.user .content") == "hi"
        assert "tok/s" in page.run("document.getElementById('speed').textContent")
        say(page, "more")
        page.wait_for(
            "document.querySelectorAll('article.assistant').length === 2 && document.getElementById('stop').disabled"
        )
        assert last(page).strip() == "And again."
        assert "prompt tokens from the cache" in page.run("document.getElementById('speed').textContent")
        page.wait_for(  # the page asks for these now and then: a state from before the answer may stand there still
            "document.getElementById('slots-text').textContent === '0/3' && document.getElementById('kv').value > 0"
        )
        assert "MB" in page.run("document.getElementById('cache-text').textContent")
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
        assert last(page).strip() == "Yes."
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
        page.wait_for("[...document.querySelectorAll('article.assistant .content')].at(-1)?.innerText.trim() === 'abc'")
        page.run("document.getElementById('temperature').value = '-1'")
        say(page, "hello")
        page.wait_for("document.querySelectorAll('article.error').length === 2")
        assert "temperature" in last(page, "article.error")


MARKDOWN = """# Head

A *word*, `code` and [a link](https://example.org/x).

```python
print("hi")
```

| a | b |
|---|---|
| 1 | 2 |

<img src=x onerror="window.broken = 1"><script>window.broken = 1</script>
[bad](javascript:window.broken=1) ![alt](https://example.org/p.png)
"""


def test_markdown_is_shown_and_nothing_in_it_runs(page):
    with server(page, MARKDOWN):
        say(page, "md")
        page.wait_for(ENDED)
        found = page.run(
            "['h1', 'em', 'p code', 'table td', 'pre code'].map((s) => document.querySelector(`article.assistant ${s}`)?.innerText)"
        )
        assert [text.strip() for text in found] == ["Head", "word", "code", "1", 'print("hi")']
        assert page.run("document.querySelector('article.assistant a').rel") == "noopener noreferrer"
        assert (
            page.run("document.querySelectorAll('article img, article script, article a[href^=javascript]').length")
            == 0
        )
        assert page.run("window.broken") is None and "onerror" in last(page)
        page.run("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
        page.run("document.querySelector('article.assistant pre .copy').click()")
        page.wait_for("window.copied")
        assert page.run("window.copied") == 'print("hi")\n'
        page.run("window.copied = null; Object.defineProperty(navigator, 'clipboard', { value: undefined })")
        page.run("document.execCommand = () => { window.copied = document.activeElement.value; }")
        page.run("document.querySelector('article.assistant pre .copy').click()")
        page.wait_for("window.copied")
        assert page.run("window.copied") == 'print("hi")\n', "pages of other machines over http have no clipboard"
        asked = [e["request"]["url"] for method, e in page.events if method == "Network.requestWillBeSent"]
        assert all(one.startswith(("http://127.0.0.1", "data:")) for one in asked), asked


def test_failed_messages_leave_the_history_and_a_missing_key_is_said(page):
    with server(page, "one", "two", keys=("s3cret",)):
        page.wait_for("!document.getElementById('notice').hidden")
        assert "API key" in page.run("document.getElementById('notice').textContent")
        say(page, "lost")
        page.wait_for("document.querySelector('article.error')")
        page.run("k = document.getElementById('key'); k.value = 's3cret'; k.dispatchEvent(new Event('change'))")
        page.wait_for("document.getElementById('notice').hidden && document.getElementById('model').value === 'fake'")
        say(page, "kept")
        page.wait_for(ENDED)
        assert last(page).strip() == "one", "the failed message is no part of the conversation"
        stored = page.run("JSON.parse(localStorage.getItem('hfc.chats'))[0].messages")
        assert [m["content"] for m in stored] == ["kept", "one"]


def test_regenerate_edit_and_stored_chats(page):
    with server(page, "one", "two"):
        page.run("localStorage.clear()")
        say(page, "first")
        page.wait_for(ENDED)
        told = page.run("document.querySelector('article.assistant .actions').innerText")
        assert "4 tokens, " in told and "first after" in told  # and tok/s, where the clock saw time pass between them
        say(page, "second")
        page.wait_for("document.querySelectorAll('article.assistant .actions').length === 2")
        page.run("[...document.querySelectorAll('article.assistant .actions button')].at(-1).click()")
        page.wait_for(
            "document.querySelectorAll('article.assistant .actions').length === 2 && document.getElementById('stop').disabled"
        )
        assert last(page).strip() == "two" and page.run("document.querySelectorAll('article').length") == 4
        page.run("document.querySelectorAll('article.user .actions button')[1].click()")
        assert page.run("document.getElementById('prompt').value") == "second"
        assert page.run("document.querySelectorAll('article').length") == 2
        page.run("document.getElementById('clear').click()")
        assert page.run("document.querySelectorAll('article').length") == 0
        page.open(page.run("location.href"))
        page.wait_for("document.getElementById('chats').options.length === 2")
        page.run("c = document.getElementById('chats'); c.selectedIndex = 1; c.dispatchEvent(new Event('change'))")
        assert (
            last(page, "article.user .content") == "second"
            and page.run("document.querySelectorAll('article').length") == 4
        )
        page.run("document.getElementById('delete').click()")
        assert page.run("document.getElementById('chats').options.length") == 1


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_follows_its_end_and_fits(page, width):
    page.send("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 500)
    try:
        text = "\n\n".join(f"line {i}" for i in range(50)) + f"\n\n`{'x' * 300}`\n\n```\n{'y' * 300}\n```"
        with server(page, text):
            say(page, "a question that is long enough to name the chat by its beginning")
            page.wait_for(ENDED)
            page.wait_for("innerHeight + scrollY >= document.documentElement.scrollHeight - 2")
            assert page.run("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out at the side"
            assert page.run("document.querySelector('header').offsetHeight") < 56, "the header is one line"
            assert page.run(NAME_FITS), "the model's name can be read"
    finally:
        page.send("Emulation.clearDeviceMetricsOverride")
