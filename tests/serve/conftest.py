"""A server on loopback with SmolLM2, once a session, and a small app around the fake model."""

from __future__ import annotations

import pytest
from serve_loopback import listening

from hfc.compiler import CompileOptions, compile_model
from hfc.runtime.executor import load
from hfc.runtime.speculate.drafts import speculation_for
from hfc.runtime.vocabulary import load_vocabulary
from hfc.serve import planning
from hfc.serve.app import make_app
from hfc.serve.engine import Engine
from hfc.serve.log import log_once
from hfc.serve.metrics import Metrics
from hfc.serve.models import Models
from hfc.serve.scheduler import Limits
from hfc.serve.served import Served, ServerSettings

SMOLLM2_CONTEXT = 1024


@pytest.fixture(scope="session", autouse=True)
def threads_that_plan_end_soon():
    """Every app has its own, which wait half a minute for more work: those of dozens of apps would be alive at a time."""
    usual, planning.IDLE_S = planning.IDLE_S, 1.0
    yield
    planning.IDLE_S = usual


@pytest.fixture(autouse=True)
def nothing_was_logged():
    """What other tests have made the server say once, and how fast, is none of a test's business."""
    log_once.__init__()


@pytest.fixture(scope="session")
def smollm2(smollm2_gguf):
    model = load(
        compile_model(
            str(smollm2_gguf),
            ["host"],
            CompileOptions(ctx=SMOLLM2_CONTEXT, slots=4, max_rows=256, taps=("last_hidden",)),
        ),
        "host",
        2,
    )
    engine = Engine(
        model,
        Limits(4, model.max_rows, model.max_outputs, SMOLLM2_CONTEXT, queue=16),
        1 << 28,
        Metrics(),
        speculation=speculation_for(model.plan, "auto"),
    )
    engine.metrics.watch(engine.gauges)
    yield Served("smollm2", load_vocabulary(smollm2_gguf), engine)
    engine.close()


@pytest.fixture(scope="session")
def smollm2_url(smollm2):
    with listening(make_app(Models([smollm2]), ServerSettings(keep_alive_s=0.2))) as url:
        yield url
