"""SmolLM2 from its GGUF to text on the host, through the installed command line: the promise of scripts/demo."""

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hfc.compiler import CompileOptions, compile_model
from hfc.runtime.chat import chat_template
from hfc.runtime.executor import load
from hfc.runtime.generate import Generation, Request
from hfc.runtime.sampler import Sampling
from hfc.runtime.vocabulary import load_vocabulary

# llama.cpp's greedy tokens for the same file and prompts, with an f32 KV cache.
EXPECTED = json.loads((Path(__file__).parent / "data" / "smollm2_expected.json").read_text())
MUST_AGREE = 12  # tokens; later a near tie may fall either way


@pytest.fixture(scope="module")
def bundle(smollm2_gguf, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("smollm2") / "smollm2.hfp"
    compile_model(smollm2_gguf, ["host"], CompileOptions(ctx=512)).save(path)
    return path


def command(*arguments) -> list[str]:
    return [sys.executable, "-m", "hfc", *map(str, arguments)]


@pytest.mark.parametrize("case", EXPECTED, ids=lambda c: c["name"])
def test_greedy_tokens_equal_llama_cpp(bundle, smollm2_gguf, case):
    vocabulary = load_vocabulary(smollm2_gguf)
    tokenizer = vocabulary.tokenizer
    if case["mode"] == "chat":
        text = chat_template(vocabulary.template, tokenizer).render([{"role": "user", "content": case["prompt"]}])
        prompt = tokenizer.encode(text, parse_special=True, frame=False)
    else:
        prompt = tokenizer.encode(case["prompt"])
    assert prompt == case["prompt_tokens"]
    generation = Generation(
        load(bundle), tokenizer, Request(tuple(prompt), Sampling(temperature=0), max_tokens=MUST_AGREE)
    )
    text = "".join(generation)
    assert generation.statistics.tokens == case["tokens"][:MUST_AGREE]
    assert case["text"].startswith(text)


@pytest.mark.parametrize("case", EXPECTED, ids=lambda c: c["name"])
def test_the_command_prints_that_text(bundle, case):
    raw = ["--raw"] if case["mode"] == "raw" else []
    options = [*raw, "--temperature", "0", "--max-tokens", MUST_AGREE]
    done = subprocess.run(command("run", bundle, case["prompt"], *options), capture_output=True, text=True, check=True)
    assert done.stdout.removesuffix("\n") and case["text"].startswith(done.stdout.removesuffix("\n"))
    device, summary = done.stderr.splitlines()
    assert device.startswith("hfc: ") and summary.startswith(f"[prompt {len(case['prompt_tokens'])} tokens, ")


def test_ctrl_c_ends_with_what_was_made_and_the_summary(bundle):
    prompt = ["--raw", "Once upon a time", "--temperature", "0"]  # greedy, it goes on for thousands of tokens
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command("run", bundle, *prompt),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell has it ignored
    ) as run:
        ready, _, _ = select.select([run.stdout], [], [], 60)
        assert ready, "no text after a minute"
        first = os.read(run.stdout.fileno(), 64)
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=30)
    assert run.returncode == 130 and first
    assert b"interrupted]" in err and b"Traceback" not in err


def test_a_closed_pipe_ends_quietly(bundle):
    prompt = ["--raw", "Once upon a time", "--temperature", "2"]
    with subprocess.Popen(command("run", bundle, *prompt), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        run.stdout.read(1)
        run.stdout.close()
        err = run.stderr.read()
        run.wait(timeout=60)
    assert b"Traceback" not in err and b"Error" not in err
