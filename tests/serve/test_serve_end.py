"""What minutes of work, of loading or of compiling, may not hold up: the end of those who asked for it."""

import signal
import subprocess
import sys
import threading
import time
import urllib.error

import pytest
from test_serve_cli import cache, completion, is_alive, model, post, serving  # noqa: F401

LOADS_FOR_MINUTES = """
import sys, time
from pathlib import Path
from hfc.cli import main
from hfc.cli.serve_source import ModelOnDisk
def prepare(self):
    Path(sys.argv[-1]).touch()
    time.sleep(300)
ModelOnDisk.prepare = prepare
main(sys.argv[1:-1])
"""


def test_the_end_does_not_wait_for_a_model_that_is_being_loaded(model, cache, tmp_path):  # noqa: F811
    """Its client is told when the drain is over."""
    for name in "ab":
        (tmp_path / name).symlink_to(model)
    refused = []

    def ask(url):
        with pytest.raises(urllib.error.HTTPError) as error:
            post(f"{url}/v1/completions", {**completion(4), "model": "a"})
        refused.append((error.value.code, error.value.read()))

    options = ("--drain", 0.2, "--models", tmp_path, begun := tmp_path / "begun")
    with serving(None, cache, ("-c", LOADS_FOR_MINUTES), options) as (process, url):
        asking = threading.Thread(target=ask, args=(url,))
        asking.start()
        while not begun.exists():
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, "minutes before the load would have ended"
        said = process.stdout.read()
        asking.join(30)
    assert "ended while a model was being loaded" in said and "Traceback" not in said
    ((status, told),) = refused
    assert status == 503 and b"shutting down" in told


def test_a_compiler_ends_with_who_started_it():
    """However that ends."""
    child = "import time; from hfc.base.orphans import end_where_told; end_where_told(); print('begun', flush=True); time.sleep(300)"
    parent = f"""
import os, signal, subprocess, sys
from hfc.base.orphans import as_child
child = subprocess.Popen([sys.executable, "-c", {child!r}], env=as_child(os.environ), stdout=subprocess.PIPE)
print(child.stdout.readline().decode().strip(), child.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    said = subprocess.run([sys.executable, "-c", parent], capture_output=True, text=True, timeout=60).stdout.split()
    assert said[0] == "begun"
    end = time.monotonic() + 30
    while is_alive(int(said[1])):
        assert time.monotonic() < end, "it is left behind"
        time.sleep(0.02)
