"""scripts/compare_serve.py: pairs of requests to two servers, in turn the one first and the other, and time of the processes that belong to them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from serve_fakes import FakeModel, make_engine, make_served
from serve_loopback import listening

from hfc.serve.app import make_app
from hfc.serve.models import Models
from hfc.serve.served import ServerSettings

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import compare_serve
    import serve_client

    return compare_serve, serve_client


@pytest.mark.parametrize("kind", ["chat", "new chat", "schema"])
def test_pairs_of_requests_are_timed_until_their_text(scripts, kind):
    compare_serve, serve_client = scripts
    engine = make_engine(FakeModel(slots=2, context=256))
    try:
        with listening(make_app(Models([make_served(engine)]), ServerSettings())) as url:
            server = serve_client.Server(url, "fake")
            measured = compare_serve.block([server, server], [[os.getpid()]] * 2, kind, range(3))
    finally:
        engine.close()
    assert len(measured["walls"]) == 3 and all(ms > 0 for pair in measured["walls"] for ms in pair)
    assert all(ms > 0 for ms in measured["processor_ms"])


@pytest.mark.skipif(sys.platform != "linux", reason="children are read from /proc")
def test_a_server_s_workers_count_as_its_own(scripts):
    compare_serve, _ = scripts
    command = [sys.executable, "-c", "print('here', flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        worker.stdout.readline()
        pids = compare_serve.with_descendants(os.getpid())
        assert {os.getpid(), worker.pid} <= set(pids)
        assert compare_serve.processor_s([worker.pid]) > 0
        worker.stdin.close()
