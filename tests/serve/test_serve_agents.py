"""Agents and SDKs of npm against a model that answers from a list: they write a file, read it, and say so. Long: they start slowly.

HFC_TEST_NODE_MODULES names a folder node_modules with the packages; else npm fetches them into a folder of the session. Every agent runs bounded, without telemetry and updates, its home in a folder of the test."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from serve_loopback import listening
from serve_script import call_of, scripted
from test_serve_npm import fetched

from hfc.serve.app import make_app
from hfc.serve.models import Models
from hfc.serve.served import ServerSettings

SDKS = (
    "@anthropic-ai/sdk", "ollama", "ai", "zod", "@ai-sdk/openai-compatible", "@ai-sdk/openai", "@ai-sdk/anthropic",
)  # fmt: skip
ANSWER = "The note says hello."
pytestmark = [pytest.mark.long, pytest.mark.skipif(shutil.which("node") is None, reason="needs node")]


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A function of npm packages to a folder node_modules that has them."""

    def folder_of(*names):
        if given := os.environ.get("HFC_TEST_NODE_MODULES"):
            if missing := [name for name in names if not (Path(given) / name).is_dir()]:
                pytest.skip(f"{given} has no {', '.join(missing)}")
            return Path(given)
        return fetched(tmp_path_factory.mktemp("npm"), *names)

    return folder_of


def app_of(*texts, paths=None):
    """paths: takes every path and status that was answered."""
    app = make_app(Models([scripted(*texts)]), ServerSettings())

    async def counted(scope, receive, send):
        async def sending(message):
            if message["type"] == "http.response.start" and paths is not None:
                paths.append((scope["path"], message["status"]))
            await send(message)

        await app(scope, receive, sending)

    return counted


def run(command, tmp_path, **environment):
    """An agent in a folder of its own, with nothing of this machine's settings."""
    work = tmp_path / "work"
    work.mkdir()
    done = subprocess.run(
        list(map(str, command)), cwd=work, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "DO_NOT_TRACK": "1", **environment},
    )  # fmt: skip
    return work, done


def check(work, done, paths, path):
    assert done.returncode == 0, done.stdout + done.stderr
    assert ANSWER in done.stdout and (work / "note.txt").read_text() == "hello\n", done.stdout + done.stderr
    assert [status for _, status in paths] == [200] * len(paths)
    assert sum(asked == path for asked, _ in paths) == 3, paths


def test_codex_completes_a_task_of_two_tool_turns(packages, tmp_path):
    codex = packages("@openai/codex") / ".bin" / "codex"
    paths = []
    texts = call_of("exec_command", cmd="echo hello > note.txt"), call_of("exec_command", cmd="cat note.txt"), ANSWER
    with listening(app_of(*texts, paths=paths)) as url:
        provider = f'{{name="hfc",base_url="{url}/v1",env_key="KEY",wire_api="responses",request_max_retries=0,stream_max_retries=0}}'
        command = [
            codex,
            "exec",
            "--skip-git-repo-check",
            "--dangerously-bypass-approvals-and-sandbox",
            "-c",
            'model_provider="hfc"',
        ]
        command += [
            "-c",
            f"model_providers.hfc={provider}",
            "-c",
            'model="scripted"',
            "-c",
            "analytics.enabled=false",
            "write a note",
        ]
        work, done = run(command, tmp_path, CODEX_HOME=str(tmp_path), KEY="none")
    check(work, done, paths, "/v1/responses")


def test_claude_code_completes_a_task_of_two_tool_turns(packages, tmp_path):
    claude = packages("@anthropic-ai/claude-code") / ".bin" / "claude"
    paths = []
    texts = (
        call_of("Bash", command="echo hello > note.txt", description="write"),
        call_of("Bash", command="cat note.txt", description="read"),
        ANSWER,
    )
    with listening(app_of(*texts, paths=paths)) as url:
        off = dict.fromkeys(
            (
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
                "DISABLE_TELEMETRY",
                "DISABLE_AUTOUPDATER",
                "DISABLE_ERROR_REPORTING",
            ),
            "1",
        )
        command = [claude, "-p", "write a note", "--model", "scripted", "--allowedTools", "Bash"]
        work, done = run(command, tmp_path, ANTHROPIC_BASE_URL=url, ANTHROPIC_API_KEY="none", **off)
    check(work, done, paths, "/v1/messages")


def test_opencode_answers(packages, tmp_path):
    opencode = packages("opencode-ai", "@ai-sdk/openai-compatible") / ".bin" / "opencode"
    with listening(app_of(ANSWER)) as url:
        provider = {
            "npm": "@ai-sdk/openai-compatible", "name": "hfc", "options": {"baseURL": f"{url}/v1", "apiKey": "none"},
            "models": {"scripted": {"name": "scripted"}},
        }  # fmt: skip
        config = {"provider": {"hfc": provider}, "autoupdate": False, "share": "disabled", "model": "hfc/scripted"}
        work, done = run(
            [opencode, "run", "--model", "hfc/scripted", "say it"], tmp_path, OPENCODE_CONFIG_CONTENT=json.dumps(config)
        )
    assert done.returncode == 0 and ANSWER in done.stdout, done.stdout + done.stderr


def test_the_sdks_of_npm(packages):
    modules = packages(*SDKS)
    script = Path(__file__).with_name("npm_clients.mjs")
    tools = app_of(call_of("get_weather", city="Ulm"), "It is sunny in Ulm.")
    texts = app_of('{"scores": {"a": 1}}')
    calls = app_of(call_of("json", scores={"a": 1}))
    with listening(tools) as tools_url, listening(texts) as json_url, listening(calls) as call_url:
        done = subprocess.run(
            ["node", str(script), tools_url, json_url, call_url], capture_output=True, text=True, timeout=120,
            env={**os.environ, "NODE_PATH": str(modules)},
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["anthropic"]["stop"] == "tool_use" and found["anthropic"]["input"] == {"city": "Ulm"}
    assert found["anthropic"]["last"] == "It is sunny in Ulm." and found["anthropic"]["counted"] > 100
    ollama = found["ollama"]
    assert ollama["call"] == {"index": 0, "name": "get_weather", "arguments": {"city": "Ulm"}}
    assert ollama["text"] == "It is sunny in Ulm." and ollama["listed"] == ["scripted"] and ollama["embedded"] == 2
    for name, told in found["vercel"].items():
        assert told["steps"] == 2 and told["text"] == told["streamed"] == "It is sunny in Ulm.", name
        assert told["object"] == {"scores": {"a": 1}}, name
