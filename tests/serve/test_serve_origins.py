"""A real browser that other sites try to use against the server: from another origin, and by a name that was made to point here."""

import contextlib
import http.server
import json
import threading

import pytest
from serve_browser import browser_page, find_browser
from serve_fakes import FakeModel, make_engine, make_served
from serve_loopback import listening

from hfc.serve.app import make_app
from hfc.serve.models import Models
from hfc.serve.served import ServerSettings

pytestmark = pytest.mark.skipif(
    find_browser() is None, reason="needs Chromium: apt install chromium, or HFC_TEST_BROWSER"
)
ASK = {"model": "fake", "prompt": "hello", "max_tokens": 4}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    names = "MAP evil.example 127.0.0.1, MAP localhost 127.0.0.1"
    with browser_page(tmp_path_factory.mktemp("profile"), f"--host-resolver-rules={names}") as page:
        yield page


@contextlib.contextmanager
def server(cors=()):
    engine = make_engine(FakeModel(context=512))
    models = Models([make_served(engine)])
    with listening(make_app(models, ServerSettings(cors_origins=cors))) as url:
        yield url, engine, models.meters
    engine.close()


@contextlib.contextmanager
def other_site():
    """Somebody else's page on another port of this machine."""

    class Empty(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<title>other</title>")

        def log_message(self, *_):
            pass

    site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Empty)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{site.server_port}"
    finally:
        site.shutdown()
        site.server_close()


def fetched(page, url, **options):
    """What a script of the page gets: a status and text, or the error of a refused call."""
    script = (
        f"fetch({json.dumps(url)}, {json.dumps(options)}).then(async r => [r.status, r.type, await r.text()], e => ['error', String(e), ''])"
        ".then(found => { window.found = found })"
    )
    page.run(f"window.found = null; {script}; 0")
    page.wait_for("window.found !== null")
    return json.loads(page.run("JSON.stringify(window.found)"))


def refusals(meters):
    """How many requests were answered 403, from the server's own side."""
    return {
        (sample.labels["path"], sample.labels["status"]): sample.value
        for metric in meters.registry.collect()
        for sample in metric.samples
        if sample.name == "hfc_requests_total" and sample.labels["status"] == "403"
    }


POST = {"method": "POST", "headers": {"Content-Type": "application/json"}, "body": json.dumps(ASK)}
SILENT = {"method": "POST", "mode": "no-cors", "headers": {"Content-Type": "text/plain"}, "body": json.dumps(ASK)}


def test_the_server_s_own_page_may_ask(page):
    for name in ("127.0.0.1", "localhost"):
        with server() as (url, engine, meters):
            url = url.replace("127.0.0.1", name)
            page.open(url)
            assert fetched(page, f"{url}/v1/completions", **POST)[0] == 200
            assert engine.metrics.counts["generated_tokens"] == 4


def test_a_page_of_another_origin_reaches_nothing(page):
    with server() as (url, engine, meters), other_site() as other:
        page.open(other)
        for path, options in (
            ("/v1/models", {}),
            ("/metrics", {"mode": "no-cors"}),
            ("/v1/completions", POST),
            ("/v1/completions", SILENT),
        ):
            found = fetched(page, url + path, **options)
            assert found[0] in ("error", 0) and not found[2], found
        assert engine.metrics.counts["steps"] == 0, "nothing ran"
        refused = refusals(meters)
        assert refused[("/v1/models", "403")] and refused[("/metrics", "403")] and refused[("/v1/completions", "403")]


def test_an_origin_that_was_allowed_may_ask(page):
    with other_site() as other, server(cors=(other,)) as (url, engine, meters):
        page.open(other)
        assert (
            fetched(page, f"{url}/v1/completions", **POST)[0] == 200 and engine.metrics.counts["generated_tokens"] == 4
        )


def test_a_name_that_was_made_to_point_here_is_refused(page):
    with server() as (url, engine, meters):
        rebound = url.replace("127.0.0.1", "evil.example")
        page.open(rebound)
        assert "forbidden_host" in page.run("document.body.innerText")
        for path, options in (("/v1/models", {}), ("/v1/completions", POST), ("/metrics", {})):
            status, kind, text = fetched(page, rebound + path, **options)
            assert status == 403 and kind == "basic" and "forbidden_host" in text, "the browser itself lets it through"
        assert engine.metrics.counts["steps"] == 0
