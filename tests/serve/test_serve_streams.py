"""Server-sent events over real sockets: order, usage, keep-alive, clients that go away, a drain."""

import gc
import json
import queue
import sys
import threading
import time

import httpx
import numpy as np
import pytest
from serve_fakes import FakeModel, expected, make_engine, make_served
from serve_loopback import listening

from hfc.runtime.sampler import Sampler, Sampling
from hfc.runtime.speculate.accept import RowSampler
from hfc.sampling import encode_rows, sampling_words
from hfc.serve.app import make_app
from hfc.serve.models import Models
from hfc.serve.served import ServerSettings
from hfc.step import Segment, Step, step_words

BODY = {"model": "fake", "prompt": "stream", "max_tokens": 9, "stream": True}


@pytest.fixture
def gated():
    gate = threading.Semaphore(0)
    engine = make_engine(FakeModel(slots=1, gate=gate, context=512))
    with listening(make_app(Models([make_served(engine)]), ServerSettings(keep_alive_s=0.05))) as url:
        yield url, gate, engine
        gate.release(10000)
    engine.close()


def events_of(response):
    return [line for line in response.iter_lines() if line]


def test_events_usage_and_done_in_order(gated):
    url, gate, _ = gated
    gate.release(1000)
    with httpx.stream(
        "POST", f"{url}/v1/completions", json={**BODY, "stream_options": {"include_usage": True}}
    ) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        *events, usage, done = [line for line in events_of(response) if not line.startswith(":")]
    chunks = [json.loads(e.removeprefix("data: ")) for e in events]
    assert done == "data: [DONE]" and "".join(c["choices"][0]["text"] for c in chunks) == expected(b"stream", 9)
    assert [c["choices"][0]["finish_reason"] for c in chunks] == [None] * (len(chunks) - 1) + ["length"]
    assert (
        all(c["usage"] is None for c in chunks)
        and json.loads(usage.removeprefix("data: "))["usage"]["completion_tokens"] == 9
    )


def test_keep_alive_while_nothing_comes(gated):
    url, gate, _ = gated
    lines = []
    with httpx.stream("POST", f"{url}/v1/completions", json=BODY) as response:
        for line in filter(None, response.iter_lines()):
            lines.append(line)
            gate.release(1000)  # nothing comes before
    assert lines[0] == ": keep-alive" and lines[-1] == "data: [DONE]"


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_frees_its_slot(gated, stream, caplog):
    url, gate, engine = gated
    body = {**BODY, "max_tokens": 400, "stream": stream}
    with pytest.raises(httpx.ReadTimeout):
        gate.release(3)
        if stream:
            with httpx.stream("POST", f"{url}/v1/completions", json=body, timeout=5) as response:
                next(response.iter_lines())
                raise httpx.ReadTimeout("enough")
        httpx.post(f"{url}/v1/completions", json=body, timeout=0.3)
    end = time.monotonic() + 5
    while engine.active:
        gate.release()
        assert time.monotonic() < end, "the engine still works for nobody"
        time.sleep(0.01)
    assert len(engine.model.steps) < 300
    gc.collect()  # a task whose end nobody saw would complain now
    assert not caplog.records


def test_errors_inside_a_stream_are_events():
    gate = threading.Semaphore(0)
    engine = make_engine(FakeModel(slots=1, gate=gate, context=512))
    with listening(make_app(Models([make_served(engine)]), ServerSettings(timeout_s=0.2))) as url:
        threading.Timer(0.4, gate.release, [1000]).start()
        with httpx.stream("POST", f"{url}/v1/completions", json={**BODY, "max_tokens": 400}) as response:
            *_, last = events_of(response)
        assert json.loads(last.removeprefix("data: "))["error"]["type"] == "timeout_error"
        gate.release(10000)
    engine.close()


def test_a_running_answer_is_finished_before_the_server_ends():
    gate = threading.Semaphore(0)
    engine = make_engine(FakeModel(slots=1, gate=gate, context=512))
    lines = []

    def read(url):
        with httpx.stream("POST", f"{url}/v1/completions", json=BODY, timeout=20) as response:
            lines.extend(events_of(response))

    with listening(make_app(Models([make_served(engine)]), ServerSettings())) as url:
        reader = threading.Thread(target=read, args=(url,))
        reader.start()
        end = time.monotonic() + 10
        while not engine.active:
            assert time.monotonic() < end
            time.sleep(0.01)
        threading.Timer(0.2, gate.release, [1000]).start()
    reader.join(10)
    assert lines[-1] == "data: [DONE]"
    engine.close()


def test_a_step_is_written_without_giving_the_interpreter_away():
    """Between a step's end and the next one's launch no other Python thread runs: each would cost the device a millisecond."""
    tokens = np.arange(16, dtype=np.int32)
    step = Step(tokens, tuple(Segment(i, i, 1, 100 + i) for i in range(16)), tokens)
    words, bits = np.zeros(step_words(64), np.int32), np.zeros(sampling_words(16, 1000), np.int32)
    samplers = [RowSampler(Sampler(Sampling(seed=i), ()), (), None) for i in range(16)]
    rung, ran = queue.SimpleQueue(), []
    threading.Thread(target=lambda: ran.append(rung.get()), daemon=True).start()
    usual = sys.getswitchinterval()
    try:
        sys.setswitchinterval(10)  # nobody takes the interpreter by force
        rung.put(1)
        until = time.perf_counter() + 0.05  # the other thread is awake by now
        while time.perf_counter() < until:
            pass
        step.encode(64, words)
        encode_rows(bits, samplers, 16, 1000)
        assert not ran
        time.sleep(0.05)
        assert ran, "the other thread never waited"
    finally:
        sys.setswitchinterval(usual)
