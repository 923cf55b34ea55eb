"""`--device hip` without a card: the command line in processes of its own, through rocm-bindings-hip into a libamdhip64.so in
software (tests/hip_double) that executes the plans' machine code."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from hip_double.build import environment, library_folder
from letters import letters_folder
from model_reference import MODELS, relative_error

pytest.importorskip("rocm.bindings.hip", reason="rocm-bindings-hip is not installed")

HERE = Path(__file__).parent
JSON = {"Content-Type": "application/json"}
TOKENS = np.arange(5, 17)
# Several commands in one process: starting Python and importing the packages takes longer than a small model's answer.
# Between them the software devices begin anew.
SEVERAL = """
import json, os, sys
from hfc.cli import main
for devices, faults, words in json.loads(sys.argv[1]):
    os.environ |= {"HIP_DOUBLE_DEVICES": devices, "HIP_DOUBLE_FAULTS": faults}
    if "hip_double.register" in sys.modules:
        sys.modules["hip_double.register"].PROCESS.restart()
    try:
        main(words)
    except SystemExit as end:
        code = end.code or 0
    for stream in (sys.stdout, sys.stderr):
        print(f"\\0{code}\\0", end="", file=stream, flush=True)
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return library_folder(tmp_path_factory.mktemp("hip"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The small Llama with a tokenizer of one token a character."""
    return letters_folder(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture(scope="module")
def bundle(model, tmp_path_factory, library):
    path = tmp_path_factory.mktemp("bundles") / "llama.hfp"
    words = ["compile", str(model), "--arch", "host,gfx1100,gfx906", "--ctx", "64", "-o", str(path)]
    assert several(library, [("", "", words)])[0][0] == 0
    return path


def several(library, commands) -> list[tuple[int, str, str]]:
    """commands: (devices, faults, words); exit code, standard output and error of each."""
    done = subprocess.run(
        [sys.executable, "-c", SEVERAL, json.dumps(commands)], capture_output=True, text=True, env=environment(library)
    )
    assert "Traceback" not in done.stderr, done.stderr
    outs, errs = done.stdout.split("\0")[:-1], done.stderr.split("\0")[:-1]
    assert len(outs) == 2 * len(commands), done.stderr
    return [(int(outs[i + 1]), outs[i], errs[i]) for i in range(0, len(outs), 2)]


def test_doctor_run_logits_and_bench_on_two_cards(library, bundle, tmp_path):
    np.save(tmp_path / "tokens.npy", TOKENS)
    logits = ["logits", str(bundle), "--tokens", str(tmp_path / "tokens.npy"), "--out"]
    run = ["run", str(bundle), "--raw", "hello", "--temperature", "0", "-n", "4"]
    commands = [
        ["doctor"],
        [*logits, str(tmp_path / "host.npy")],
        [*logits, str(tmp_path / "gfx1100.npy"), "--device", "hip"],
        [*logits, str(tmp_path / "gfx906.npy"), "--device", "hip:1"],
        run,
        [*run, "--device", "hip"],
        ["bench", str(bundle), "--device", "hip", "-p", "8", "-n", "2", "-r", "1"],
    ]
    found = several(library, [("gfx1100:1G,gfx906:2G", "", words) for words in commands])
    assert [code for code, _, _ in found] == [0] * len(commands), found
    outs = [out for _, out, _ in found]
    assert "hip:0 RX 7900 XTX in software (gfx1100, 1.0 GiB); hip:1 Instinct MI50 in software (gfx906" in outs[0]
    expected = np.load(tmp_path / "host.npy")
    for arch in ("gfx1100", "gfx906"):  # measured 2e-4: the host's activations have 15 bits
        assert relative_error(np.load(tmp_path / f"{arch}.npy"), expected) < 1e-3, arch
    assert outs[4].strip() and outs[5] == outs[4]
    assert "RX 7900 XTX in software: memory moves" in outs[6]


FAILURES = [  # devices, faults, exit code, words of the message
    ("", "", 2, ["no AMD GPU that", "libamdhip64", "hfc doctor"]),
    ("gfx1030:1G", "", 2, ["no plan for gfx1030", "--arch gfx1030"]),
    ("gfx1100:1G", "hipMalloc@1=2", 2, ["hipMalloc failed", "hipErrorOutOfMemory"]),
    ("gfx1100:1M", "", 2, ["weights", "scratch"]),
    ("gfx1100:1G", "kernel@3=719", 3, ["RX 7900 XTX in software", "driver error 719"]),
    ("gfx1100:1G", "hipModuleLaunchKernel@5=700", 3, ["driver error 700 at launch"]),
]


def test_what_goes_wrong_is_one_message(library, bundle):
    words = ["run", str(bundle), "--raw", "h", "--temperature", "0", "-n", "2", "--device", "hip"]
    found = several(library, [(devices, faults, words) for devices, faults, *_ in FAILURES])
    for (devices, faults, code, wanted), (exit_code, _, err) in zip(FAILURES, found):
        assert exit_code == code and all(word in err for word in wanted), (devices, faults, err)


@pytest.mark.long
def test_a_card_without_a_row_runs_its_familys_code(library, model, tmp_path):
    np.save(tmp_path / "tokens.npy", TOKENS)
    words = ["logits", str(model), "--tokens", str(tmp_path / "tokens.npy"), "--out"]
    commands = [
        ["doctor"],
        [*words, str(tmp_path / "hip.npy"), "--device", "hip"],
        [*words, str(tmp_path / "host.npy")],
    ]
    found = several(library, [("gfx1154:1G", "", words) for words in commands])
    assert [code for code, _, _ in found] == [0, 0, 0], found
    assert "gfx1154 in software (gfx1154, which has no row of its own), gfx11-generic" in found[0][1]
    assert relative_error(np.load(tmp_path / "hip.npy"), np.load(tmp_path / "host.npy")) < 1e-3


@pytest.mark.long
@pytest.mark.parametrize("name, device", [("qwen3_5_moe_text", "hip:1"), ("qwen3_5_text", "hip"), ("llama", "hip")])
def test_selftest_on_the_device(library, name, device):
    words = ["selftest", str(MODELS / name), "--device", device, "--ctx", "64"]
    ((code, out, err),) = several(library, [("gfx1100:1G,gfx906:1G", "", words)])
    assert code == 0, out + err


def test_serve_answers_from_the_device(library, bundle):
    command = [sys.executable, "-m", "hfc", "serve", str(bundle), "--device", "hip", "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(library)
    ) as process:
        try:
            url = next(word for line in process.stdout for word in line.split() if word.startswith("http://"))
            body = {"model": "llama", "prompt": "hello", "max_tokens": 3, "temperature": 0}
            request = urllib.request.Request(f"{url}/v1/completions", json.dumps(body).encode(), JSON)
            with urllib.request.urlopen(request, timeout=120) as reply:
                answer = json.load(reply)
        finally:
            process.terminate()
    assert (
        answer["usage"]["prompt_tokens"] == 5
        and answer["choices"][0]["text"] == "mh"[: len(answer["choices"][0]["text"])]
    )


def test_streams_memory_events_graphs_and_errors_are_as_a_cards(library):
    done = subprocess.run(
        [sys.executable, str(HERE / "hip_double" / "probe.py")],
        capture_output=True,
        text=True,
        env=environment(library),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "out of bounds" in done.stderr and "vadd" in done.stderr


@pytest.mark.long
@pytest.mark.parametrize("devices", ["gfx1100:1G", "gfx906:1G"])
def test_the_conformance_suite_of_devices(library, devices):
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        str(HERE / "test_device_conformance.py"),
        "-k",
        "hip",
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(library, devices), cwd=HERE.parent)
    assert done.returncode == 0 and "passed" in done.stdout and "skipped" not in done.stdout, done.stdout[-3000:]
