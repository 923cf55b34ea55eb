"""The settings of docs/quickstart.md, as they stand there but for the port, with the clients that they are for. Long: agents of npm."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from serve_loopback import listening
from serve_script import call_of, scripted
from test_serve_agents import packages, run  # noqa: F401  (packages: a fixture)

from hfc.serve.app import make_app
from hfc.serve.models import Models
from hfc.serve.served import ServerSettings

pytestmark = pytest.mark.long
PAGE = (Path(__file__).parent.parent.parent / "docs" / "quickstart.md").read_text()
SERVER = "http://127.0.0.1:11435"
ANSWER = "The note says hello."


def server(*texts):
    """As `hfc serve MODEL --alias '*'`."""
    return listening(make_app(Models([scripted(*texts)], aliases=("*",)), ServerSettings()))


def block(kind, url):
    return re.search(rf"^```{kind}\n(.*?)^```", PAGE, re.M | re.S)[1].replace(SERVER, url)


def environment(client, url):
    """Of a client's row, before the first "or"."""
    row = next(line for line in PAGE.splitlines() if line.startswith("|") and client in line.split("|")[1])
    found = re.findall(r"`([A-Z_]+)=([^`]*)`", row.split(", or ")[0])
    assert found
    return {name: value.replace(SERVER, url) for name, value in found}


def notes(tool, field):
    """The answers of a model that writes a file, reads it and says so."""
    return *(call_of(tool, **{field: command}) for command in ("echo hello > note.txt", "cat note.txt")), ANSWER


def check(work, done):
    assert done.returncode == 0 and ANSWER in done.stdout, done.stdout + done.stderr
    assert (work / "note.txt").read_text() == "hello\n"


def test_codex(packages, tmp_path):  # noqa: F811
    codex = packages("@openai/codex") / ".bin" / "codex"
    with server(*notes("exec_command", "cmd")) as url:
        (tmp_path / ".codex").mkdir()
        (tmp_path / ".codex" / "config.toml").write_text(block("toml", url))
        words = [
            "exec",
            "--skip-git-repo-check",
            "--dangerously-bypass-approvals-and-sandbox",
            "-c",
            "analytics.enabled=false",
        ]
        check(*run([codex, *words, "write a note"], tmp_path))


def test_claude_code(packages, tmp_path):  # noqa: F811
    claude = packages("@anthropic-ai/claude-code") / ".bin" / "claude"
    off = (
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
        "DISABLE_TELEMETRY",
        "DISABLE_AUTOUPDATER",
        "DISABLE_ERROR_REPORTING",
    )
    with server(*notes("Bash", "command")) as url:
        settings = environment("Claude Code", url)
        check(
            *run(
                [claude, "-p", "write a note", "--allowedTools", "Bash"],
                tmp_path,
                **settings,
                **dict.fromkeys(off, "1"),
            )
        )


def test_opencode(packages, tmp_path):  # noqa: F811
    opencode = packages("opencode-ai", "@ai-sdk/openai-compatible") / ".bin" / "opencode"
    with server(ANSWER) as url:
        folder = tmp_path / ".config" / "opencode"
        folder.mkdir(parents=True)
        (folder / "opencode.json").write_text(block("json", url))
        _, done = run([opencode, "run", "say it"], tmp_path, OPENCODE_DISABLE_AUTOUPDATE="1")
    assert done.returncode == 0 and ANSWER in done.stdout, done.stdout + done.stderr


def test_continue(packages, tmp_path):  # noqa: F811
    program = packages("@continuedev/cli") / ".bin" / "cn"
    with server(*notes("Bash", "command")) as url:
        (tmp_path / ".continue").mkdir()
        config = tmp_path / ".continue" / "config.yaml"
        config.write_text(block("yaml", url))
        words = ["-p", "--auto", "--config", config]
        check(*run([program, *words, "write a note"], tmp_path, CONTINUE_TELEMETRY_ENABLED="0"))


@pytest.mark.parametrize(
    ("client", "script"),
    [
        ("OpenAI SDKs", "import openai\nprint(openai.OpenAI().responses.create(model='any', input='x').output_text)"),
        (
            "Anthropic SDKs",
            "import anthropic\nclient = anthropic.Anthropic()\n"
            "print(client.messages.create(model='any', max_tokens=99, messages=[{'role': 'user', 'content': 'x'}]).content[0].text)",
        ),
        ("Ollama's own clients", "import ollama\nprint(ollama.generate('any', 'x').response)"),
    ],
)
def test_python_clients(client, script):
    pytest.importorskip(script.split()[1])
    with server(ANSWER) as url:
        settings = environment(client, url)
        settings = {k: v.replace("127.0.0.1:11435", url.removeprefix("http://")) for k, v in settings.items()}
        done = subprocess.run([sys.executable, "-c", script], env=settings, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == ANSWER, done.stderr
