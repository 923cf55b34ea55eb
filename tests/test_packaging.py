"""The files of packaging/ and the flake, each read by its own tool where that is installed."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hfc import __version__
from hfc.cli.usage.declare import Option
from hfc.cli.usage.serve import USAGE

ROOT = Path(__file__).parent.parent
PACKAGING = ROOT / "packaging"
tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads TOML")


def needs(tool: str):
    return pytest.mark.skipif(not shutil.which(tool), reason=f"{tool} is not installed")


def evaluate(settings: str) -> dict:
    command = ["nix-instantiate", "--eval", "--strict", "--json", str(ROOT / "tests/data/nix/evaluate.nix")]
    done = subprocess.run(
        [*command, "--arg", "root", str(ROOT), "--arg", "settings", settings], capture_output=True, text=True
    )
    if done.returncode:
        raise ValueError(done.stderr)
    return json.loads(done.stdout)


def unit() -> dict[str, list[str]]:
    """Key -> its values in the service's file."""
    found: dict[str, list[str]] = {}
    for line in (PACKAGING / "systemd/hfc.service").read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


@needs("nix-instantiate")
def test_nix_evaluates_the_flake_and_its_module():
    made = evaluate(
        '{ enable = true; models = [ "qwen3.5:9b" "my model" ]; device = "hip:1"; settings.serve.slots = 8; }'
    )
    service = made["service"]
    assert service["serviceConfig"]["ExecStart"] == (
        f"/nix/store/hfc-{__version__}/bin/hfc serve qwen3.5:9b 'my model' --host 127.0.0.1 --port 11435"
    )
    assert service["environment"]["HFC_DEVICE"] == "hip:1" and json.loads(made["toml"]) == {"serve": {"slots": 8}}
    assert not made["broken"] and made["ports"] == [] and evaluate("{ }")["service"] is None


@needs("nix-instantiate")
def test_the_flakes_package_has_every_dependency_and_the_locked_compiler():
    made = evaluate("{ }")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {re.match(r"[\w-]+", row)[0] for row in project["dependencies"]} - {"tomli", "rocm-bindings-hip"}
    assert set(made["dependencies"]) == wanted and made["version"] == __version__
    lock = (ROOT / "requirements.lock").read_text()
    assert all(f"sha256:{digest}" in lock for digest in made["compilers"].values())


@needs("nix-instantiate")
@pytest.mark.parametrize(
    ("settings", "message"),
    [("{ enable = true; port = 70000; }", "port is no port"), ("{ enable = true; modles = [ ]; }", "has no modles")],
)
def test_a_wrong_option_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        evaluate(settings)


@needs("nix-instantiate")
def test_an_address_that_others_reach_needs_a_key():
    assert "HFC_API_KEY" in evaluate('{ enable = true; host = "0.0.0.0"; }')["broken"][0]
    assert not evaluate('{ enable = true; host = "0.0.0.0"; environmentFile = "/run/keys/hfc"; }')["broken"]


@needs("nix-instantiate")
def test_the_module_hardens_as_the_unit_does():
    theirs, ours = evaluate("{ enable = true; }")["service"]["serviceConfig"], unit()
    say = {True: "yes", False: "no"}
    for key, value in theirs.items():
        if key not in ("ExecStart", "RestartSec"):
            values = [
                say.get(v, v) if isinstance(v, bool) else v for v in (value if isinstance(value, list) else [value])
            ]
            assert " ".join(ours[key]) == " ".join(map(str, values)), key


@needs("systemd-analyze")
def test_systemd_reads_the_units_and_finds_little_exposed(tmp_path):
    for name in ("hfc.service", "hfc.socket"):
        text = (PACKAGING / "systemd" / name).read_text()
        (tmp_path / name).write_text(text.replace("/opt/hfc/bin/hfc", shutil.which("true")))
    verify = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / "hfc.service"), str(tmp_path / "hfc.socket")], capture_output=True, text=True
    )  # fmt: skip
    assert verify.returncode == 0 and not [line for line in verify.stderr.splitlines() if "hfc." in line], verify.stderr
    security = ["systemd-analyze", "security", "--offline=true", "--threshold=25", str(tmp_path / "hfc.service")]
    done = subprocess.run(security, capture_output=True, text=True, env={**os.environ, "SYSTEMD_PAGER": ""})
    assert done.returncode == 0, done.stdout[-300:]


def test_what_units_and_containers_start_are_options_of_serve():
    flags = {flag for option in USAGE.parameters if isinstance(option, Option) for flag in option.flags}
    texts = [
        (PACKAGING / name).read_text() for name in ("systemd/hfc.service", "container/Containerfile", "nix/module.nix")
    ]
    used = [set(re.findall(r'"(--[a-z-]+)"', line)) for text in texts for line in text.splitlines() if "serve" in line]
    assert set().union(*used) == {"--host", "--port"} <= flags
    assert unit()["ExecStart"] == ["/opt/hfc/bin/hfc serve $MODEL"]


def test_the_compose_file_joins_server_and_page():
    yaml = pytest.importorskip("yaml")
    services = yaml.safe_load((PACKAGING / "container/compose.yaml").read_text())["services"]
    page = services["webui"]["environment"]
    assert page["OPENAI_API_BASE_URL"] == "http://hfc:11435/v1" and page["OPENAI_API_KEY"] == "${HFC_API_KEY}"
    assert all(port.startswith("127.0.0.1:") for service in services.values() for port in service["ports"])
    assert "HFC_API_KEY" in services["hfc"]["environment"]
    assert (PACKAGING / "container" / services["hfc"]["build"]["context"]).resolve() == ROOT
    assert (ROOT / services["hfc"]["build"]["dockerfile"]).is_file()


@needs("docker-compose")
def test_docker_compose_reads_the_compose_file():
    command = ["docker-compose", "-f", str(PACKAGING / "container/compose.yaml"), "config"]
    without = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HFC_API_KEY": ""})
    assert without.returncode and "choose a key" in without.stderr
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HFC_API_KEY": "k"})
    assert done.returncode == 0 and "HFC_API_KEY: k" in done.stdout, done.stderr


HANDED = """
import os, socket, sys
from hfc.base.diagnostics import HfcError
from hfc.cli import listening
made = listening.bound({host!r}, 0)
address = made.getsockname()
if made.fileno() != listening.FIRST_HANDED:
    os.dup2(made.fileno(), listening.FIRST_HANDED)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS={count!r})
try:
    print(listening.listening("127.0.0.1", 11435).getsockname() == address, "LISTEN_FDS" in os.environ)
except HfcError as error:
    print(error)
"""


@pytest.mark.parametrize(("count", "said"), [("1", "True False\n"), ("2", "handed 2 sockets")])
def test_a_socket_of_systemd_is_taken(count, said):
    code = HANDED.format(host="127.0.0.1", count=count)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert said in done.stdout, done.stderr


def test_the_debian_package_is_made_of_files_that_are_there():
    rules, control = ((PACKAGING / "debian" / name).read_text() for name in ("rules", "control"))
    named = re.findall(r"packaging/\S+|requirements\S*\.lock", rules)
    assert named and all((ROOT / name).is_file() for name in named)
    oldest = re.search(r'requires-python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text())[1]
    assert f"python3 (>= {oldest})" in control and "${python:Minor}" in control
    program, link = (PACKAGING / "debian/hfc.links").read_text().split()
    assert any(value.startswith(f"{program} ") for value in unit()["ExecStart"]) and link == "/usr/bin/hfc"


@needs("dh_virtualenv")
def test_debhelper_knows_every_step_of_the_debian_package(tmp_path):
    folder = shutil.copytree(PACKAGING / "debian", tmp_path / "debian")
    (folder / "changelog").write_text(
        f"hfc ({__version__}) unstable; urgency=low\n\n  * New.\n\n -- The hfc authors <a@b.c>  Mon, 30 Nov 2026 00:00:00 +0000\n"
    )
    done = subprocess.run(
        ["dh", "binary", "--no-act", "--buildsystem=none", "--with", "python-virtualenv"],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    overridden = set(re.findall(r"^override_(dh_\w+):\n\t", (folder / "rules").read_text(), re.M))
    assert overridden and overridden <= set(re.findall(r"dh_\w+", done.stdout))
