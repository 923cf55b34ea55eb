"""An app on a port of loopback."""

import contextlib
import socket
import threading
import time
from urllib.parse import urlsplit

import uvicorn

from hfc.serve.connection import bounded
from hfc.serve.limits import ServerLimits

LIMITS = ServerLimits()


@contextlib.contextmanager
def listening(app, limits=LIMITS):
    """The app on a free port of loopback; yields the base URL."""
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            timeout_graceful_shutdown=5,
            timeout_keep_alive=limits.idle_s,
            http=bounded(limits),
            ws="none",
        )
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    end = time.monotonic() + 20
    while not server.started:
        assert thread.is_alive() and time.monotonic() < end, "the server did not start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)


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
