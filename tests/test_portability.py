"""Modules and functions that only POSIX systems have are missing where they are: nothing fails when it is imported or asked for help."""

import os
import re
import subprocess
import sys

import pytest
from letters import letters_folder

from hfc.base import system
from hfc.base.diagnostics import HfcError

# What Python on Windows lacks, among what this package or its dependencies might use.
MODULES = ("fcntl", "resource", "grp", "pwd", "termios", "tty", "syslog")
FUNCTIONS = (
    "fork",
    "sched_getaffinity",
    "sysconf",
    "geteuid",
    "getegid",
    "getgroups",
    "nice",
    "posix_fallocate",
    "getuid",
    "setsid",
)
ON_WINDOWS = f"""
import importlib, os, pkgutil, signal, sys
for name in {MODULES!r}:
    sys.modules[name] = None
# Libraries that are told apart by sys.platform are loaded first: it is hfc that is asked here, not they.
for name in ("numpy", "rich.console", "prompt_toolkit", "huggingface_hub", "huggingface_hub.file_download", "huggingface_hub.hf_api", "tqdm.auto", "uvicorn", "fastapi", "lark", "networkx", "multiprocessing.connection"):
    importlib.import_module(name)
for name in {FUNCTIONS!r}:
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGVTALRM", "SIGKILL", "SIGHUP", "SIGUSR1", "setitimer"):
    delattr(signal, name)
sys.platform = "win32"
import hfc
failed = []
for module in pkgutil.walk_packages(hfc.__path__, "hfc."):
    if module.name in ("hfc.__main__", "hfc.runtime.hip", "hfc.runtime.cuda") or "workers.nursery" in module.name:
        continue  # vendors' packages; the process that forks
    if module.name in ("hfc.serve.ray.cluster", "hfc.serve.ray.replica", "hfc.serve.ray.router"):
        continue  # Ray
    try:
        importlib.import_module(module.name)
    except Exception as error:
        failed.append(f"{{module.name}}: {{type(error).__name__}}: {{error}}")
assert not failed, failed
from hfc.cli import main
from hfc.cli.commands import COMMANDS
def run(*words):
    try:
        main(words)
    except SystemExit as end:
        return end.code
for name in COMMANDS:
    assert not run(name, "--help"), name
assert not run("devices") and not run("list") and not run("ps")
assert run("serve", "smollm2:135m") == 2
sys.stdout.reconfigure(encoding="cp437")  # a console that cannot show all that is printed
for words in (["doctor"], ["list", "--remote"], ["show", "qwen3.5:9b"], ["config", "show"], ["completion", "bash"], ["inspect", sys.argv[1]]):
    assert run(*words) == 0, words
for words in (["run", r"C:\\models\\m.gguf", "hi"], [r"C:\\models\\m.gguf"], ["chat", "smollm2:135m"], ["pull", r"D:\\m"], ["stop"], ["rm", "m"]):
    assert run(*words) == 2, words
assert run("run", sys.argv[1], "--raw", "Grüße", "-n", "3", "--device", "interpret", "--ctx", "32") == 0
assert run("quantize", sys.argv[1], "--format", "q8_0", "-o", sys.argv[2]) == 0
assert run("fit", sys.argv[2], "--vram", "24") == 0
print("done")
"""


def test_every_module_imports_and_every_command_helps_without_posix(tmp_path):
    environment = {**os.environ, "HFC_CACHE": str(tmp_path)}
    words = [str(letters_folder(tmp_path / "letters")), str(tmp_path / "quantized")]
    done = subprocess.run(
        [sys.executable, "-c", ON_WINDOWS, *words], capture_output=True, text=True, errors="replace", env=environment
    )
    assert done.returncode == 0 and done.stdout.endswith("done\n"), done.stderr[-3000:]
    assert "hfc serve runs on Linux, this is win32" in done.stderr and "WSL 2" in done.stderr


@pytest.mark.skipif(system.fcntl is None, reason="the same lock by another name")
def test_a_lock_is_one_processes_and_ends_with_it(tmp_path):
    path = tmp_path / "lock"
    code = f"from hfc.base.system import try_lock; print(try_lock(open({str(path)!r}, 'a+')))"
    ask = lambda: subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip()  # noqa: E731
    with path.open("a+") as file:
        assert system.try_lock(file) and ask() == "False"
    assert ask() == "True"


def test_windows_locks_a_byte_behind_the_end(tmp_path, monkeypatch):
    calls = []

    class Msvcrt:
        LK_NBLCK = 2

        @staticmethod
        def locking(file, mode, count):
            calls.append((os.lseek(file, 0, os.SEEK_CUR), mode, count))
            if len(calls) > 1:
                raise OSError("taken")

    monkeypatch.setattr(system, "fcntl", None)
    monkeypatch.setattr(system, "msvcrt", Msvcrt)
    with (tmp_path / "lock").open("a+") as file:
        assert system.try_lock(file) and file.tell() == 0
        assert not system.try_lock(file)
    assert calls[0] == (system.LOCKED_BYTE, 2, 1)
    monkeypatch.setattr(system, "msvcrt", None)
    with (tmp_path / "lock").open("a+") as file, pytest.raises(HfcError, match="has no file locks"):
        system.try_lock(file)


def test_a_machine_counts_threads_and_memory(monkeypatch):
    assert 0 < system.thread_count() <= os.cpu_count() and system.memory_bytes() > 1 << 28
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.delattr(os, "sysconf")
    assert system.thread_count() == os.cpu_count() and system.memory_bytes() == system.UNKNOWN_MEMORY


def test_only_one_file_asks_for_what_posix_alone_has():
    """Elsewhere such a name needs a hasattr, a try, or a system that has said no before."""
    guarded = {
        "base/system.py",
        "runtime/kfd.py",
        "cli/logits.py",
        "serve/workers/nursery.py",
        "serve/workers/child.py",
        "cli/checks.py",
    }
    import_or_call = re.compile(
        r"^\s*import (?:fcntl|resource|grp|pwd|termios)\b|\bos\.(?:" + "|".join(FUNCTIONS) + r")\b", re.M
    )
    root = system.__file__.rpartition("/base/")[0]
    found = {
        os.path.relpath(os.path.join(folder, name), root)
        for folder, _, names in os.walk(root)
        for name in names
        if name.endswith(".py") and import_or_call.search(open(os.path.join(folder, name), encoding="utf-8").read())
    }
    assert found <= guarded, found - guarded
