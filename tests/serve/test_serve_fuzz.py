"""Requests made from the server's own OpenAPI document: no 5xx, and nothing that the document does not promise."""

import threading

import hypothesis
import pytest
import schemathesis
import schemathesis.checks
from schemathesis.specs.openapi import checks
from serve_fakes import FakeModel, make_engine, make_served

from hfc.serve.app import make_app
from hfc.serve.models import Models
from hfc.serve.served import ServerSettings

# What a schema cannot say (a token id of this vocabulary, a tool result that answers a call) is refused with 400, and streams
# make a request valid in ways that a generator does not see, so these are judged:
CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]

LOOPBACK = {"Host": "127.0.0.1"}  # the name that a server without a key answers to


@pytest.fixture(scope="module")
def schema():
    engine = make_engine(FakeModel(slots=4, context=256, max_rows=64, max_outputs=8), queue=256)
    app = make_app(Models([make_served(engine)]), ServerSettings(timeout_s=20))
    yield schemathesis.openapi.from_asgi("/openapi.json", app, headers=LOOPBACK)
    engine.close()


def fuzz(schema, examples):
    """So many requests of each operation, fewer of those that have nothing to vary: how many they were."""
    hypothesis_settings = hypothesis.settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    threads_before, failures, made = threading.active_count(), [], 0
    for result in schema.get_all_operations():
        operation = result.ok()

        @hypothesis.given(case=operation.as_strategy())
        @hypothesis_settings
        def one(case):
            nonlocal made
            made += 1
            if isinstance(case.body, dict) and "model" in case.body:
                case.body["model"] = "fake"  # else nearly all end at a 404
            case.call_and_validate(checks=CHECKS, headers=LOOPBACK)

        try:
            one()
        except Exception as error:  # every operation is tried before the test fails
            failures.append(f"{operation.label}: {error}")
    assert not failures, "\n\n".join(failures)
    assert threading.active_count() - threads_before < 50
    return made


def test_a_few_requests_of_each_kind(schema):
    assert fuzz(schema, 3) > 40


@pytest.mark.long
def test_two_thousand_requests(schema):
    assert fuzz(schema, 300) >= 2000
