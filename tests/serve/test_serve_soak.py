"""Many clients that do everything wrong at once: scripts/soak_serve.py, short around the fake model, in full with SmolLM2."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from serve_fakes import FakeModel, make_engine, make_served
from serve_loopback import listening

from hfc.serve.app import make_app
from hfc.serve.models import Models
from hfc.serve.served import ServerSettings

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def soak(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import serve_client
    import soak_serve

    return lambda url, options: soak_serve.Soak(serve_client.Server(url, "fake"), options)


class Forgetful(FakeModel):
    """Sometimes takes another sequence's last token for its own, once several are written at the same time."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.last, self.changes = 0, 0

    def _row(self, slot, position, token):
        row = super()._row(slot, position, token)
        self.changes += slot != self.last
        self.last = slot
        return row[::-1].copy() if self.changes > 200 and self.changes % 40 == 0 else row


OPTIONS = SimpleNamespace(
    clients=24,
    seconds=5.0,
    warm_up=0,
    every=1.0,
    questions=16,
    tokens=12,
    context=200,
    flat=1.0,
    faults=0,
    kill_every=0,
)


def run(soak, model, options=OPTIONS):
    engine = make_engine(model, queue=6)
    try:
        with listening(make_app(Models([make_served(engine)]), ServerSettings())) as url:
            return asyncio.run(soak(url, options).run())
    finally:
        engine.close()


@pytest.mark.parametrize("recurrent", [False, True])
def test_a_few_seconds_around_the_fake_model(soak, recurrent):
    result = run(soak, FakeModel(slots=3, context=200, recurrent=recurrent))
    assert result["ok"], result["counts"]
    assert result["compared"] > 50 and not any(result["left_behind"].values())
    for kind in ("plain 200", "stream 200", "slow 200", "structured 200", "bad 400", "huge 400", "left", "plain 429"):
        assert result["counts"].get(kind), f"no {kind} in {result['counts']}"


def test_a_wrong_answer_does_not_go_unseen(soak):
    result = run(soak, Forgetful(slots=3, context=200))
    assert not result["ok"] and any("crossed" in name for name in result["counts"])


@pytest.mark.long
def test_five_minutes_with_smollm2_faults_and_killed_workers(smollm2_gguf, tmp_path):
    out = tmp_path / "soak.json"
    command = [
        sys.executable,
        str(SCRIPTS / "soak_serve.py"),
        str(smollm2_gguf),
        "--faults",
        "10",
        "--kill-every",
        "3",
        "-o",
        str(out),
        "--",
        "--cache-mb",
        "64",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    result = json.loads(out.read_text())
    assert result["resident"]["change"] <= 0.05 and result["compared"] > 200
