"""The npm package `openai` against SmolLM2 on loopback.

HFC_TEST_NODE_MODULES names a folder node_modules that has it. Without, it is installed into a folder of the session; skipped with npm's
reason where that cannot be.
"""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

PACKAGE = "openai@7"
SCRIPT = Path(__file__).with_name("openai_client.cjs")

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")


@pytest.fixture(scope="module")
def node_modules(tmp_path_factory):
    if given := os.environ.get("HFC_TEST_NODE_MODULES"):
        return Path(given)
    return fetched(tmp_path_factory.mktemp("npm"), PACKAGE, timeout_s=120)


def fetched(folder, *names, timeout_s=300):
    """npm's packages in a folder node_modules."""
    if shutil.which("npm") is None:
        pytest.skip("there is no npm; HFC_TEST_NODE_MODULES may name a folder with " + ", ".join(names))
    quickly = ("--fetch-retries=0", "--fetch-timeout=60000")  # a machine without a registry says so at once
    command = [
        "npm",
        "install",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
        *quickly,
        "--prefix",
        str(folder),
        *names,
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm could not fetch {', '.join(names)} within {timeout_s} s")
    if done.returncode:
        pytest.skip(
            f"npm cannot fetch {', '.join(names)}: {(done.stderr.strip() or 'no reason given').splitlines()[0]}"
        )
    return folder / "node_modules"


def test_the_npm_sdk(node_modules, smollm2, smollm2_url):
    environment = {**os.environ, "NODE_PATH": str(node_modules)}
    done = subprocess.run(
        ["node", str(SCRIPT), smollm2_url], capture_output=True, text=True, timeout=120, env=environment
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    chat = found["chat"]
    assert chat["plain"] and chat["plain"] == chat["stream"] == chat["runner"] == chat["pieces"]
    assert chat["usage"]["completion_tokens"] == 10 and chat["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
    tools = found["tools"]
    assert (
        tools["name"] == "get_weather"
        and set(tools["arguments"]) == {"city"}
        and tools["finish"] == "tool_calls"
        and tools["next"]
    )
    responses = found["responses"]
    assert responses["plain"] and responses["plain"] == responses["stream"]
    assert responses["first"] == "response.created" and responses["last"] in (
        "response.completed",
        "response.incomplete",
    )
    others = found["others"]
    assert set(others["structured"]) == {"city"} and others["completion"].startswith(" Paris")
    assert others["embedding"] == [576, 576] and others["models"] == ["smollm2"]
    assert others["refused"] == {"name": "BadRequestError", "status": 400, "param": "messages"}
    assert found["abort"] == {"chunks": 3}
    end = time.monotonic() + 20
    while smollm2.engine.active:
        assert time.monotonic() < end, "the engine goes on for a reader that broke off"
        time.sleep(0.02)
