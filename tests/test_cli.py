"""The command line on a small model: every command, every option that changes the text, and every mistake's message."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from letters import TEMPLATE, letters_folder

from hfc.base.diagnostics import HfcError
from hfc.bundles import load_bundle
from hfc.cli import main, take_debug
from hfc.cli.bench import lengths
from hfc.cli.table import table
from hfc.ir.text import parse_graph
from hfc.runtime.vocabulary import load_vocabulary

DATA = Path(__file__).parent / "data"
GREEDY = ("--temperature", "0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return letters_folder(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture(scope="module")
def bundle(folder, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "llama.hfp"
    with pytest.raises(SystemExit) as end:
        main(["compile", str(folder), "--arch", "host,gfx1100", "--ctx", "64", "-o", str(path)])
    assert end.value.code == 0
    return path


@pytest.fixture
def hfc(capfd):
    """Run the command line; returns exit code, standard output and standard error."""

    def run(*arguments) -> tuple[int, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in arguments])
        out, err = capfd.readouterr()
        return end.value.code or 0, out, err

    return run


def test_run_gives_the_same_text_from_folder_bundle_and_interpreter(hfc, folder, bundle):
    options = ("--raw", "hello", *GREEDY, "-n", 20)
    code, text, err = hfc("run", bundle, *options)
    assert code == 0 and len(text) > 5
    assert "[prompt 5 tokens" in err and "answer 20 tokens" in err and "max tokens]" in err
    assert hfc("run", folder, *options, "--ctx", 64)[1] == text
    assert hfc("run", bundle, *options, "--device", "interpret")[1] == text
    assert hfc("run", bundle, *options, "--threads", 1)[1] == text


def test_run_takes_token_ids_of_a_checkpoint_without_a_tokenizer(hfc, folder, tmp_path):
    """The ids that come out are those of the text, and go in again."""
    without = tmp_path / "llama"
    shutil.copytree(folder, without)
    for file in without.glob("tokenizer*"):
        file.unlink()
    expected = json.loads(hfc("run", folder, "--raw", "hello", *GREEDY, "-n", 6, "--json", "--ctx", 64)[1])["tokens"]
    code, _, err = hfc("run", without, "--raw", "hello", "-n", 6)
    assert code == 2 and "has no tokenizer.json" in err and "hfc run MODEL --tokens 13,59,42" in err
    ids = ",".join(str(i) for i in hfc_ids(folder))
    for device in ("host", "interpret"):
        options = ("--device", device, *GREEDY, "--ctx", 64)
        code, text, err = hfc("run", without, "--tokens", ids, *options, "-n", 6)
        assert code == 0 and text == ",".join(map(str, expected)) + "\n" and "prompt 5 tokens" in err
        again = hfc("run", without, "--tokens", f"{ids}, {expected[0]}", *options, "-n", 5)[1]
        assert again == ",".join(map(str, expected[1:])) + "\n"
    for words, message in (
        (("--tokens", "1,x"), "token ids are expected"),
        (("--tokens", "1", "hello"), "a prompt has no meaning with --tokens"),
        (("--tokens", "1,99999"), "99999"),
        (("--tokens", "1", "--device", "interpret", "--ctx", "1000000"), "was made for at most"),
    ):
        code, _, err = hfc("run", without, *words, "-n", 2)
        assert code == 2 and message in err


def hfc_ids(folder: Path) -> list[int]:
    return load_vocabulary(folder).tokenizer.encode("hello", parse_special=False)


def test_a_missing_package_is_one_line(tmp_path):
    (tmp_path / "msgspec.py").write_text("raise ModuleNotFoundError(\"No module named 'msgspec'\", name='msgspec')")
    root = Path(__file__).parent.parent
    words = [sys.executable, "-m", "hfc", "run", "x"]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{root}"}
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith(
        "error: the Python package msgspec is missing\n  hint: pip install"
    )
    assert len(done.stderr.splitlines()) == 2


def test_run_reads_the_prompt_from_standard_input(hfc, bundle, monkeypatch):
    expected = hfc("run", bundle, "--raw", "hello", *GREEDY, "-n", 5)[1]
    monkeypatch.setattr(sys, "stdin", io.StringIO("hello\n"))
    assert hfc("run", bundle, "--raw", *GREEDY, "-n", 5)[1] == expected


def test_run_options_reach_the_sampler_and_the_loop(hfc, bundle):
    free = ("run", bundle, "--raw", "hello", "-n", 30, "--temperature", 5, "--top-k", 0, "--top-p", 1, "--min-p", 0)
    first = hfc(*free, "--seed", 1)[1]
    assert hfc(*free, "--seed", 1)[1] == first and hfc(*free, "--seed", 2)[1] != first
    greedy = hfc("run", bundle, "--raw", "hello", *GREEDY, "-n", 30)[1]
    assert hfc(*free, "--top-k", 1)[1] == greedy
    assert hfc("run", bundle, "--raw", "hello", *GREEDY, "-n", 30, "--repeat-penalty", 3)[1] != greedy
    stop = greedy[6:9]
    code, text, err = hfc("run", bundle, "--raw", "hello", *GREEDY, "-n", 30, "--stop", stop)
    assert text.rstrip("\n") == greedy[: greedy.index(stop)].rstrip("\n") and "stop text]" in err


def test_run_ends_cleanly_when_the_context_is_full(hfc, bundle):
    code, _, err = hfc("run", bundle, "--raw", "x" * 60, "--temperature", 5, "--min-p", 0, "--seed", 3)
    assert code == 0 and ("context full]" in err or "end]" in err)


def test_chat_needs_a_template_and_uses_it(hfc, folder, tmp_path):
    code, out, err = hfc("run", folder, "hello")
    assert (code, out) == (2, "") and "no chat template" in err and "--raw" in err
    chat = shutil.copytree(folder, tmp_path / "chat")
    (chat / "chat_template.jinja").write_text(TEMPLATE)
    raw = hfc("run", chat, "--raw", "system: S\nuser: hello\nassistant:", *GREEDY, "-n", 8)
    assert hfc("run", chat, "hello", "--system", "S", *GREEDY, "-n", 8)[1] == raw[1]


def test_logits_of_host_and_interpreter_agree_in_one_go_and_step_by_step(hfc, bundle, tmp_path):
    tokens = tmp_path / "tokens.npy"
    np.save(tokens, np.arange(40) % 90)
    results = []
    for extra in (("--device", "interpret"), ("--device", "host"), ("--device", "host", "--step")):
        out = tmp_path / f"{len(results)}.npy"
        code, text, _ = hfc("logits", bundle, "--tokens", tokens, "--out", out, *extra)
        assert code == 0 and "float32 [40, 128]" in text
        results.append(np.load(out))
    exact = results[0]
    assert exact.shape == (40, 128) and exact.dtype == np.float32
    for other in results[1:]:
        # f16 keys and values and 15-bit activations against f32
        assert np.linalg.norm(other - exact) / np.linalg.norm(exact) < 5e-3


def test_logits_beyond_the_context_are_refused_before_anything_is_written(hfc, folder, tmp_path):
    np.save(tmp_path / "t.npy", np.full(300, 5))
    code, _, err = hfc("logits", folder, "--tokens", tmp_path / "t.npy", "--out", tmp_path / "l.npy")
    assert code == 2 and "300 tokens; the context holds 256" in err
    assert not (tmp_path / "l.npy").exists() and [p.name for p in tmp_path.iterdir()] == ["t.npy"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not numpy", "not an .npy file"),
        (np.zeros(3, np.float32), "must be integers [T], found float32 [3]"),
        (np.zeros((2, 2), np.int64), "found int64 [2, 2]"),
        (np.zeros(0, np.int32), "no tokens"),
        (np.array([5, 128]), "token 128"),
        (np.array([-1]), "token -1"),
    ],
)
def test_bad_token_files_are_explained(hfc, bundle, tmp_path, content, message):
    path = tmp_path / "t.npy"
    path.write_bytes(content) if isinstance(content, bytes) else np.save(path, content)
    code, _, err = hfc("logits", bundle, "--tokens", path, "--out", tmp_path / "l.npy")
    assert code == 2 and message in err


def test_compile_tells_what_it_made(hfc, folder, tmp_path):
    code, out, _ = hfc("compile", folder, "--ctx", 64, "-o", tmp_path / "a.hfp")
    assert code == 0 and "host:" in out and "context 64" in out
    code, out, _ = hfc("compile", folder, "--ctx", 64, "-o", tmp_path / "a.hfp", "--print-after-all")
    assert code == 0 and "# after fold_constants\ngraph " in out


def test_opt_prints_graphs_that_parse_and_passes_that_change_them(hfc, folder, tmp_path):
    built = hfc("opt", folder, "--passes", "none")[1]
    assert "kernel " not in built and parse_graph(built).ops
    fused = hfc("opt", folder)[1]
    assert "kernel linear" in fused
    (tmp_path / "built.ir").write_text(built)
    one = hfc("opt", tmp_path / "built.ir", "--passes", "fold_constants,fuse_rows")[1]
    assert parse_graph(one).ops and one not in (built, fused)
    assert hfc("opt", tmp_path / "built.ir", "--passes", "none")[1] == built
    assert "fold_constants: " in hfc("opt", folder, "--list")[1]


def test_explain_lists_kernels_with_registers_and_lds(hfc, bundle):
    code, out, _ = hfc("explain", bundle, "--arch", "gfx1100")
    header, row = out.splitlines()[3:5]
    assert code == 0 and header.split()[:4] == ["kernel", "VGPRs", "SGPRs", "LDS"] and int(row.split()[1]) > 0
    both = hfc("explain", bundle)[1]
    assert "host:" in both and "gfx1100:" in both
    assert "%" in hfc("explain", bundle, "--arch", "host", "--launches")[1]


def test_an_arch_that_does_not_compile_leaves_the_others(hfc, folder, tmp_path, monkeypatch):
    def spills(emitted, settings):
        raise HfcError("kernel x for gfx942: 1 spilled registers, the limit is 0", hint="a smaller tile would fit")

    monkeypatch.setattr("hfc.backend.gpu.build", spills)
    out = tmp_path / "m.hfp"
    for _ in range(2):  # what was compiled in part is not taken for the whole
        code, text, err = hfc("compile", folder, "--arch", "gfx942,host", "--ctx", 32, "-o", out)
        assert code == 1 and "1 of 2 architectures do not compile" in err and "gfx942: error: kernel x" in err
        assert "host:" in text and set(load_bundle(out).plans) == {"host"}
        out.unlink()
    code, _, err = hfc("compile", folder, "--arch", "gfx942,gfx1100", "--ctx", 32, "-o", out)
    assert code == 2 and "spilled" in err and not out.exists()


def test_explain_does_not_tell_registers_that_only_a_driver_knows(hfc, folder, tmp_path):
    assert hfc("compile", folder, "--arch", "sm_90", "--ctx", 64, "-o", tmp_path / "m.hfp")[0] == 0
    rows = [line.split() for line in hfc("explain", tmp_path / "m.hfp")[1].splitlines()[4:]]
    assert len(rows) > 5 and all(row[1:3] == ["-", "-"] and row[3].isdigit() and row[4:6] == ["-", "-"] for row in rows)


def test_explain_counts_what_a_step_of_so_many_rows_launches(hfc, folder, tmp_path):
    """On matrix units one row and several have kernels of their own."""
    assert hfc("compile", folder, "--arch", "gfx942", "--ctx", 64, "-o", tmp_path / "m.hfp")[0] == 0
    lines = hfc("explain", tmp_path / "m.hfp")[1].splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("kernel"))
    assert "per decode of 1 " in lines[at] and "per decode of 2-16" in lines[at]
    staged = next(line.split() for line in lines if "_operands" in line)
    alone = next(line.split() for line in lines if line.split()[:1] == [staged[0].removesuffix("_operands")])
    first = len(alone) - len(lines[at].split("  per ")[1:])
    assert int(alone[first]) > 0 == int(staged[first]) and int(staged[first + 1]) == int(alone[first])


def test_fit_of_a_bundle_is_that_of_its_plan(hfc, bundle, folder):
    plan = load_bundle(bundle).plans["gfx1100"]
    code, out, err = hfc("fit", bundle, "--vram", 24)
    weights = next(line for line in out.splitlines() if line.startswith("weights"))
    assert code == 0 and out.startswith("gfx1100 in 24 GiB: fits\n") and "largest context" not in out, err
    assert weights in hfc("fit", folder, "--vram", 24, "--ctx", plan.context)[1]
    code, out, _ = hfc("fit", bundle, "--vram", "200M")
    assert code == 1 and "does not fit" in out
    for given, said in (("--ctx 8", "--ctx: "), ("--slots 2", "--slots: "), ("--arch gfx906", "unknown architecture")):
        code, _, err = hfc("fit", bundle, "--vram", 24, *given.split())
        assert code == 2 and said in err


def test_explain_says_when_kernels_without_launches_have_some(hfc, folder, tmp_path):
    """Attention joins what blocks found where they share a context, which a short one has not."""
    longer = shutil.copytree(folder, tmp_path / "longer")
    config = json.loads((longer / "config.json").read_text()) | {"max_position_embeddings": 1024}
    (longer / "config.json").write_text(json.dumps(config))
    assert hfc("compile", longer, "--arch", "gfx1100", "--ctx", 1024, "-o", tmp_path / "m.hfp")[0] == 0
    lines = hfc("explain", tmp_path / "m.hfp")[1].splitlines()
    [row, later] = [line for line in lines if line.split("_")[-1].startswith("join")]
    assert not any(map(int, row.split()[-3:])) and "none at the beginning of a context" in later
    assert re.search(r"[1-9]\d* per decode( of 1)?,? .*at its end$", later)


def test_bench_prints_the_json_that_is_promised(hfc, bundle):
    code, out, _ = hfc("bench", bundle, "-p", "8,32", "-n", "4", "-t", 1, "-r", 2, "--json")
    rows = json.loads(out)
    assert code == 0 and [r["test"] for r in rows] == ["pp8", "pp32", "tg4"]
    for row in rows:
        assert row.keys() == {
            "test", "tok_s", "min", "max", "gb_s", "bandwidth_share", "launches_per_token", "host_us_per_step",
            "device_us_per_step", "device", "profile", "memory_gb_s",
        }  # fmt: skip
        assert 0 < row["min"] <= row["tok_s"] <= row["max"] and row["gb_s"] > 0 and 0 <= row["bandwidth_share"] < 2
    assert "memory moves" in hfc("bench", bundle, "-p", "0", "-n", "2", "-r", 1)[1]


def test_doctor_models_and_version(hfc):
    out = hfc("doctor")[1]
    assert "clang version" in out and "knob HFC_CACHE" in out and "smollm2:135m" in out
    assert "smollm2:135m" in hfc("models")[1]
    assert hfc("--version")[1].startswith("hfc ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runn"], "unknown command 'runn'\n  hint: did you mean 'run'?"),
        (["run", "smollm2", "hi"], "did you mean 'smollm2:"),
        (["run", "/nowhere/model.gguf", "hi"], "/nowhere/model.gguf: no such file or folder"),
        (["run", "{bundle}", "hi", "--temperature", "-1"], "temperature is -1.0; it must be 0 (greedy) or more"),
        (["run", "{bundle}", "hi", "--raw", "--system", "s"], "--system, --think and --var have no meaning with --raw"),
        (["run", "{bundle}", "--raw", ""], "the prompt is empty"),
        (["run", "{bundle}", "--raw", "x" * 65], "the prompt has 65 tokens; the context holds 64"),
        (["run", "{bundle}", "hi", "--ctx", "32"], "was compiled for a context of 64"),
        (["run", "{bundle}", "hi", "--kv", "f32"], "is compiled already"),
        (["run", "{bundle}", "hi", "--device", "hsot"], "unknown device 'hsot'"),
        (["run", "{bundle}", "hi", "--device", "null:gfx90a"], "no plan for gfx90a"),
        (["compile", "{folder}", "--arch", "gfx1111", "-o", "{out}"], "unknown"),
        (["compile", "{folder}", "--ctx", "9999", "-o", "{out}"], "context 9999"),
        (["compile", "{folder}", "--kv", "f17", "-o", "{out}"], "f17"),
        (["compile", "{folder}", "-o", "/nowhere/a.hfp"], "/nowhere is no folder: make it"),
        (["compile", "{folder}", "-o", "{folder}"], "cannot write the bundle: this is a folder"),
        (["compile", "{folder}", "-o", "."], "cannot write the bundle: this is a folder"),
        (["show", "{folder}"], "is a file or folder, not a name"),
        (["opt", "{folder}", "--passes", "fuse_row"], "did you mean 'fuse_rows'?"),
        (["opt", "{bundle}"], "is a bundle"),
        (["inspect", "{bundle}"], "this is a compiled bundle, not a checkpoint"),
        (["opt", "missing.ir"], "missing.ir: No such file"),
        (["explain", "{bundle}", "--arch", "gfx1101"], "did you mean 'gfx1100'?"),
        (["bench", "{bundle}", "-p", "1,x"], "'1,x' is not a list of token counts"),
        (["bench", "{bundle}", "-p", "65"], "pp65 does not fit the context of 64"),
        (["pull", "smollm"], "unknown model 'smollm'"),
        (["logits", "{bundle}", "--tokens", "missing.npy", "--out", "{out}"], "missing.npy"),
    ],
    ids=lambda v: " ".join(v)[:40] if isinstance(v, list) else "",
)
def test_mistakes_are_one_message_and_exit_code_2(hfc, folder, bundle, tmp_path, arguments, message):
    places = {"{folder}": folder, "{bundle}": bundle, "{out}": tmp_path / "out"}
    code, out, err = hfc(*(places.get(a, a) for a in arguments))
    err = re.sub(r"\Ahfc: host .*\n", "", err)  # the device that auto took
    assert code == 2 and message in err and err.startswith("error: ") and out == ""
    assert "Traceback" not in err and err.count("error:") == 1
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_an_error_of_the_compiler_process_is_shown_once(hfc, folder, tmp_path):
    broken = shutil.copytree(folder, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    code, out, err = hfc("run", broken, "--raw", "hi")
    assert (code, out) == (2, "") and err.count("error:") == 1 and "Traceback" not in err


def test_debug_shows_the_traceback_wherever_it_stands(hfc):
    for arguments in (["--debug", "run", "nope", "hi"], ["run", "nope", "hi", "--debug"]):
        code, _, err = hfc(*arguments)
        assert code == 2 and "Traceback" in err and "unknown model 'nope'" in err
    assert take_debug(["run", "m", "--", "--debug"]) == (False, ["run", "m", "--", "--debug"])


def test_an_unknown_option_is_a_usage_error(hfc):
    code, _, err = hfc("run", "m", "hi", "--tempersture", "1")
    assert code == 2 and "--tempersture" in err and "Traceback" not in err


def test_every_command_has_help(hfc):
    listing = hfc("--help")[1]
    for command in ("run", "compile", "bench", "logits", "explain", "opt", "pull", "models", "doctor"):
        assert f"  {command} " in listing
        code, out, _ = hfc(command, "--help")
        assert code == 0 and out.startswith(f"Usage: hfc {command}")


def test_a_changed_bundle_is_refused(hfc, bundle, tmp_path):
    data = bytearray(bundle.read_bytes())
    at = data.index(b"\x7fELF") + 200
    data[at] ^= 1
    (tmp_path / "bad.hfp").write_bytes(data)
    code, _, err = hfc("run", tmp_path / "bad.hfp", "--raw", "hi")
    assert code == 2 and err.startswith("error: ") and "Traceback" not in err


def test_lengths_and_tables():
    assert lengths("128, 512") == [128, 512] and lengths("0") == lengths("") == []
    assert table(("name", "n"), [("a", 1), ("bb", 20)]) == "name   n\na      1\nbb    20"


def test_turbo_says_what_it_rounds_and_what_it_cannot(hfc, folder, tmp_path):
    """Of plain weights nothing; a CPU and a card without products of bytes have no such plan, and are told what they have."""
    made = tmp_path / "m.hfp"
    assert hfc("compile", folder, "--arch", "gfx1030", "--ctx", 64, "--profile", "turbo", "-o", made)[0] == 0
    out = hfc("explain", made)[1]
    assert (
        "profile turbo" in out
        and "decode: 0 of 5 kernels round inputs of products to 8 bits; as in fast, with their bits: " in out
    )
    assert "hfc explain" not in out and "(24)" in out.splitlines()[-1]
    code, _, err = hfc("run", folder, "--raw", "hello", "--profile", "turbo", "--device", "host")
    assert code == 2 and "--profile turbo: host has no such plan" in err and "leave it out: host does exact" in err
    code, _, err = hfc("bench", made, "--device", "null", "--profile", "fast")
    assert code == 2 and "m.hfp was compiled in turbo" in err
