"""Commands, their options and their help: one table, read the same way by everything, and quick to print."""

import importlib
import inspect
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hfc import __version__
from hfc.base.diagnostics import HfcError, suggestions, unknown
from hfc.cli import dispatch, main
from hfc.cli.choice import ModelChoice
from hfc.cli.commands import ALSO, COMMANDS, INSTEAD, overview
from hfc.cli.usage.declare import Argument, flag, option, usage
from hfc.cli.usage.help import help_text
from hfc.cli.usage.parse import HelpWanted, parse

ROOT = Path(__file__).parent.parent
USAGE = usage(
    "Does something.",
    Argument("model", "Which."),
    Argument("prompt", "What.", required=False),
    option("--ctx -c --ctx-size", int, "Tokens.", 4096, least=1, most=9999),
    option("-n --max-tokens", int, "How many.", name="count"),
    option("--temperature", float, "Heat."),
    option("--stop", str, "Where.", many=True),
    option("--out -o", Path, "File.", required=True),
    flag("--raw", "As it stands."),
    flag("--quiet -q", "Nothing."),
    flag("--daemon -d", "Behind."),
)


def values(*words: str) -> dict:
    return parse("do", USAGE, [*words, "-o", "x"])


def test_words_become_values():
    found = values("m", "--ctx=5", "hello", "--stop", "a", "--stop=b", "-n3", "--temperature", "-1", "-dq")
    assert found == {
        "model": "m", "prompt": "hello", "ctx": 5, "count": 3, "temperature": -1.0, "stop": ["a", "b"], "out": Path("x"),
        "raw": False, "quiet": True, "daemon": True,
    }  # fmt: skip
    assert values("m", "-c", "7")["ctx"] == values("m", "--ctx-size", "7")["ctx"] == 7
    assert values("m")["ctx"] == 4096 and values("m")["stop"] is None and values("-")["model"] == "-"
    assert parse("do", USAGE, ["-o", "x", "--", "--raw", "-5"]) | {"model": "--raw", "prompt": "-5"} == parse(
        "do", USAGE, ["-o", "x", "--", "--raw", "-5"]
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["m", "--out", "x", "--rwa"], "did you mean '--raw'?"),
        (["m", "--out", "x", "-z"], "unknown option '-z'"),
        (["m"], "--out is missing"),
        (["--out", "x"], "MODEL is missing"),
        (["m", "p", "q", "--out", "x"], "one word too many: 'q'"),
        (["m", "--out"], "--out: a value is missing"),
        (["m", "-o", "x", "--ctx", "many"], "--ctx many: expected a whole number"),
        (["m", "-o", "x", "--ctx", "0"], "expected at least 1"),
        (["m", "-o", "x", "--ctx", "10000"], "expected at most 9999"),
        (["m", "-o", "x", "--temperature", "hot"], "--temperature hot: expected a number"),
        (["m", "-o", "x", "--raw=yes"], "takes no value"),
    ],
)
def test_mistakes_say_what_was_expected(words, message):
    with pytest.raises(HfcError) as caught:
        parse("do", USAGE, words)
    assert message in str(caught.value)


def test_a_sentence_without_quotes_is_one_prompt():
    """As in Ollama; what a shell took away (runs of spaces, a star that matched files) only quotes keep."""
    run = importlib.import_module("hfc.cli.usage.run").USAGE
    assert parse("run", run, ["m", "why", "is", "-n", "5", "it so"])["prompt"] == "why is it so"
    assert parse("run", run, ["m", "one two"])["prompt"] == "one two" and parse("run", run, ["m"])["prompt"] is None
    assert help_text("run", run).startswith("Usage: hfc run [OPTIONS] MODEL [PROMPT]...\n")
    with pytest.raises(HfcError, match="unknown option '-x'"):
        parse("run", run, ["m", "why", "-x"])


def test_help_is_wanted_wherever_it_stands():
    for words in (["-h"], ["m", "--help"], ["--raw", "-h", "--nonsense"]):
        with pytest.raises(HelpWanted):
            parse("do", USAGE, words)
    assert parse("do", USAGE, ["-o", "-h", "m"])["out"] == Path("-h")


def test_help_names_every_option_and_default():
    text = help_text("do", USAGE)
    assert text.startswith("Usage: hfc do [OPTIONS] MODEL [PROMPT]\n")
    for part in ("-c, --ctx, --ctx-size N", "[default: 4096]", "-o, --out OUT", "[required]", "-h, --help"):
        assert part in text
    assert max(map(len, text.splitlines())) <= 100


MOST_PARAMETERS = 15  # more are a dataclass


@pytest.mark.parametrize("name", COMMANDS)
def test_a_commands_function_takes_what_its_usage_declares(name):
    module = name.replace("-", "_")
    declared = importlib.import_module(f"hfc.cli.usage.{module}").USAGE
    found = importlib.import_module(f"hfc.cli.{module}")
    taken = inspect.signature(getattr(found, "OPTIONS", found.command)).parameters
    assert sorted(declared.taken) == sorted(taken) and (hasattr(found, "OPTIONS") or len(taken) <= MOST_PARAMETERS)
    flags = [f for o in declared.options for f in o.flags]
    assert len(flags) == len(set(flags)) and not {"-h", "--help", "--debug"} & set(flags)
    assert all(p.help.endswith((".", "]")) for p in declared.parameters)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_without_its_words_says_which_is_missing(name):
    usage_of = importlib.import_module(f"hfc.cli.usage.{name.replace('-', '_')}").USAGE
    needed = [a.label for a in usage_of.arguments if a.required]
    needed += [o.flags[0] for o in usage_of.options if o.required]
    if not needed:
        return
    with pytest.raises(HfcError, match=f"hfc {name}: {needed[0]} is missing"):
        parse(name, usage_of, [])


def test_every_module_of_a_command_is_in_the_table():
    modules = {p.stem for p in (ROOT / "hfc/cli/usage").glob("*.py")} - {
        "__init__", "familiar", "declare", "parse", "help", "kinds", "limits", "ray", "sampling", "shared",
    }  # fmt: skip
    assert modules == {name.replace("-", "_") for name in COMMANDS}


def test_the_overview_lists_every_command_once(capsys):
    for words in ([], ["-h"], ["--help"], ["help"]):
        with pytest.raises(SystemExit) as end:
            main(words)
        assert end.value.code == 0 and capsys.readouterr().out == overview()
    for command in COMMANDS.values():
        assert overview().count(f"  {command.name} ") == 1 and not command.summary.endswith(".")


def loaded_by(*words: str) -> set[str]:
    code = f"import sys\nfrom hfc.cli import main\ntry: main({list(words)!r})\nexcept SystemExit: print('MODULES', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("MODULES")[2].split())


@pytest.mark.parametrize(
    "words", [["--help"], ["run", "--help"], ["help", "serve"], ["ps"], ["list"], ["compile", "-h"]]
)
def test_help_loads_nothing_that_takes_time(words):
    loaded = loaded_by(*words)
    assert "hfc.cli.commands" in loaded
    assert not loaded & {"numpy", "rich", "jinja2", "fastapi", "uvicorn", "tokenizers", "lark", "networkx", "asyncio"}


def test_a_run_loads_what_it_computes_with_and_nothing_else():
    """Imports are most of what `hfc run BUNDLE` costs before its first token, beside reading the model."""
    loaded = loaded_by("run", "nothing.gguf", "Hi")
    assert "hfc.runtime.host" in loaded and "hfc.cli.open_model" in loaded
    others = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names - {"__main__", "hfc"}
    startup = {name.partition(".")[0] for name in loaded_by("--help")}  # of this environment: .pth files, sitecustomize
    assert others - startup <= {"numpy", "jinja2", "markupsafe", "msgspec", "tokenizers", "typing_extensions", "tomli"}
    slow = {
        "asyncio",
        "multiprocessing",
        "email",
        "http",
        "ssl",
        "xml",
        "unittest",
        "importlib.metadata",
        "urllib.request",
    }
    slow |= {f"numpy.{part}" for part in ("random", "fft", "ma", "polynomial", "testing")}
    ours = {
        f"hfc.{part}"
        for part in ("backend", "passes", "frontend", "compiler", "ir", "serve", "quantize", "cli.fetching")
    }
    ours |= {f"hfc.runtime.{part}" for part in ("hub", "hip", "cuda", "tokenizer_sentencepiece")}
    assert not loaded & (slow | ours)


def hear_ctrl_c() -> None:
    """A shell's background has it ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_while_modules_load_is_one_line():
    """The import of a command's module is made to wait; the signal reaches it there."""
    code = (
        "import sys, time\n"
        "class Slow:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'hfc.cli.run':\n"
        "            print('now', flush=True); time.sleep(60)\n"
        "sys.meta_path.insert(0, Slow())\n"
        "sys.argv = ['hfc', 'run', 'm', 'hi']\n"
        "import runpy; runpy.run_module('hfc', run_name='__main__')\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=hear_ctrl_c
    )
    assert child.stdout.readline() == "now\n"
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=30)[1] == "interrupted\n" and child.returncode == 130


def test_ctrl_c_while_the_compiler_runs_is_one_line_of_both_processes(tmp_path):
    """The compiler is a process of its own; a terminal's Ctrl-C reaches both."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Slow:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'hfc.cli.compile':\n"
        "            import time\n"
        "            print('now', flush=True); time.sleep(60)\n"
        "sys.meta_path.insert(0, Slow())\n"
    )
    command = [
        sys.executable,
        "-m",
        "hfc",
        "run",
        str(ROOT / "tests/data/models/llama"),
        "--raw",
        "hi",
        "--device",
        "host",
    ]
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": paths}, preexec_fn=hear_ctrl_c,
    )  # fmt: skip
    assert child.stdout.readline() == "now\n"
    os.killpg(child.pid, signal.SIGINT)
    assert child.communicate(timeout=60)[1] == "interrupted\n" and child.returncode == 130


def test_output_that_nobody_reads_is_no_error():
    child = subprocess.Popen(
        [sys.executable, "-m", "hfc", "run", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    child.stdout.close()
    assert child.stderr.read() == "" and child.wait(timeout=30) in (0, 1)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_a_full_disk_under_what_has_no_name_says_where_hfc_writes():
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "hfc", "--help"], stdout=full, stderr=subprocess.PIPE, text=True)
    first, hint = done.stderr.splitlines()
    assert done.returncode == 2 and first.endswith("No space left on device")
    assert all(place in hint for place in ("HFC_CACHE", "TMPDIR", "hfc rm --unused"))


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "most_s"), [(["--help"], 0.1), (["run", "--help"], 0.15), (["ps"], 0.15), (["list"], 0.15)]
)
def test_help_is_quick(words, most_s):
    """CPU seconds, the median of five."""
    code = "import resource, subprocess, sys\nsubprocess.run([sys.executable, '-m', 'hfc', *sys.argv[1:]], stdout=subprocess.DEVNULL)\nu = resource.getrusage(resource.RUSAGE_CHILDREN)\nprint(u.ru_utime + u.ru_stime)"
    runs = [
        float(subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True).stdout)
        for _ in range(5)
    ]
    assert sorted(runs)[2] < most_s, runs


@pytest.mark.skipif(not Path("/proc/self/task").is_dir() or os.cpu_count() == 1, reason="counts threads on Linux")
def test_blas_has_no_threads_where_kernels_multiply():
    """And children may have theirs."""
    code = (
        "import os, sys\nfrom hfc.base.diagnostics import HfcError\nfrom hfc.cli import dispatch\n"
        "try: dispatch(sys.argv[1:])\nexcept HfcError: pass\n"
        "print('numpy' in sys.modules, len(os.listdir('/proc/self/task')), os.environ.get('OPENBLAS_NUM_THREADS'))"
    )
    alone = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}

    def told(*words):
        command = [sys.executable, "-c", code, "run", "nothing.gguf", "Hi", *words]
        return subprocess.run(command, capture_output=True, text=True, env=alone).stdout.split()

    assert told() == ["True", "1", "None"]
    assert int(told("--device", "interpret")[1]) > 1


def test_values_of_other_programs_that_choose_nothing(monkeypatch):
    for command in ("run", "chat", "serve"):
        usage = importlib.import_module(f"hfc.cli.usage.{command}").USAGE
        found = parse(command, usage, ["m", "-n", "-1", "-c", "0", "--seed=-1", "-t", "-1"])
        assert all(found.get(name) is None for name in ("max_tokens", "ctx", "seed", "threads")), found
        for words in (["-n", "-3"], ["-t", "-2"], ["-c", "-1"]):
            with pytest.raises(HfcError, match="expected"):
                parse(command, usage, ["m", *words])
    monkeypatch.setenv("HOME", "/home/me")
    usage = importlib.import_module("hfc.cli.usage.serve").USAGE
    assert parse("serve", usage, ["--models=~/models"])["models"] == Path("/home/me/models"), "no shell expands it"


def test_more_threads_than_a_machine_can_run_are_refused(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    assert ModelChoice(threads=64).threads == 64
    with pytest.raises(HfcError, match="--threads 65: this machine runs 16 at a time, at most 64"):
        dispatch(["run", "nothing.gguf", "hi", "-t", "65"])


def test_an_unknown_name_gets_the_nearest_three_and_a_model_in_its_place_a_command():
    known = ["run", "runs", "runner", "rerun", "prune"]
    assert suggestions("Runn", known) == ["run", "runner", "runs"] and suggestions("zzz", known) == []
    assert unknown("command", "runn", known).hint == "did you mean 'run', 'runner' or 'runs'?"
    assert unknown("command", "rerum", known).hint == "did you mean 'rerun'?", "what is much further is no help"
    cards = ["RX 9070", "RX 7600", "RX 7900 XTX", "RX 7900 XT", "Radeon Pro W7900"]
    for name in ("rx 7900", "7900"):
        assert suggestions(name, cards) == ["RX 7900 XT", "RX 7900 XTX"], "all of its words"
    for model in ("./model", "model.gguf", "smollm2:135m", r"models\m"):
        with pytest.raises(HfcError, match=re.escape(f"hfc run {model}")):
            dispatch([model, "hi"])


def test_what_people_type_from_other_programs_does_the_same_or_says_what_to_do(capsys):
    dispatch(["version"])
    dispatch(["-V"])
    assert capsys.readouterr().out.splitlines() == [f"hfc {__version__}"] * 2
    dispatch(["ls", "--help"])
    assert capsys.readouterr().out.startswith("Usage: hfc list")
    assert not (ALSO.keys() | INSTEAD.keys()) & COMMANDS.keys()
    for word, instead in INSTEAD.items():
        with pytest.raises(HfcError, match=f"hfc has no command '{word}'") as caught:
            dispatch([word, "x"])
        assert caught.value.hint == instead
    with pytest.raises(HfcError, match="unknown option '-x'.*\n.*a command comes first"):
        dispatch(["-x", "run"])
