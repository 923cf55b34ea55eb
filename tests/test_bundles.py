"""Bundle files from elsewhere: what they may be, whose code runs, and what a damaged plan does (a message, never a crash)."""

import io
import json
import os
import random
import stat
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from fuzz.plans import damaged, outcome
from letters import letters_folder
from model_reference import MODELS

from hfc.base import cache, cpu
from hfc.base.diagnostics import HfcError
from hfc.bundles import load_bundle, read_bundle
from hfc.bundles.code import check_code
from hfc.bundles.contract import contract
from hfc.bundles.grid import grid_value
from hfc.cli import main
from hfc.compiler import CompileOptions, compile_model
from hfc.plan import BUNDLE_VERSION, MANIFEST
from hfc.runtime import host_code
from hfc.runtime.executor import load

FUZZ = Path(__file__).parent / "fuzz" / "plans.py"
SMALL = dict(ctx=64, slots=2, max_rows=48, journal_rows=16)


@pytest.fixture(scope="module")
def bundle():
    return compile_model(MODELS / "llama", ["host"], CompileOptions(**SMALL))


@pytest.fixture(scope="module")
def gpu_bundle():
    return compile_model(MODELS / "qwen3_5_text", ["sm_90"], CompileOptions(**SMALL))


def packed(bundle, change=None, compression=zipfile.ZIP_STORED, more=()) -> bytes:
    """The bundle's file after `change(manifest)`, with `more` (name, content) members."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(bundle.pack())) as source, zipfile.ZipFile(out, "w", compression) as target:
        manifest = json.loads(source.read(MANIFEST))
        if change:
            change(manifest)
        target.writestr(MANIFEST, json.dumps(manifest))
        for name in source.namelist()[1:]:
            target.writestr(name, source.read(name))
        for name, content in more:
            target.writestr(name, content)
    return out.getvalue()


def refused(data: bytes) -> str:
    with pytest.raises(HfcError) as error:
        read_bundle(data, "other.hfp")
    return str(error.value)


def test_a_packed_member_is_refused_before_it_is_inflated(bundle):
    assert "is packed" in refused(packed(bundle, compression=zipfile.ZIP_DEFLATED))


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a\\..\\b", "a/../b", ".hidden", "a//b", "a/.b"])
def test_names_stay_inside(bundle, name):
    assert "is no name of a bundle's file" in refused(packed(bundle, more=[(name, b"x")]))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_every_name_once_and_only_what_the_manifest_lists(bundle):
    twice = next(iter(bundle.files))
    assert "there twice" in refused(packed(bundle, more=[(twice, b"x")]))
    assert "extra is only in one" in refused(packed(bundle, more=[("extra", b"x")]))
    assert "is only in one" in refused(packed(bundle, lambda m: m["files"].update(lost="0" * 64)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["plans"]["host"].update(context="64"), "Expected `int`, got `str` - at `$.plans[...].context`"),
        (lambda m: m["plans"]["host"]["buffers"][0].pop("offset"), "missing required field `offset`"),
        (lambda m: m["plans"]["host"].update(max_rows=10**30), "max_rows"),
        (lambda m: m["plans"]["host"]["buffers"][3].update(offset=1 << 40), "offset is 1099511627776; 0 to"),
        (lambda m: m["plans"]["host"].update(arena_bytes=256), "offset is"),
        (lambda m: m["plans"]["host"]["programs"]["step"][0]["grid"].__setitem__(0, "9 ** 9 ** 9"), "has a BinOp|has a Pow"),
        (lambda m: m["plans"]["host"]["programs"]["step"][0]["grid"].__setitem__(0, "T / (R - R)"), "divides by zero"),
        (lambda m: m["plans"]["host"]["programs"]["step"][0]["pointers"].__setitem__(0, ["buffer", "lost", ""]), "'buffer:lost'"),
        (lambda m: m["plans"]["host"]["programs"]["step"][0]["pointers"].__setitem__(0, "buffer:x"), "Expected `array`, got `str`"),
        (lambda m: m["plans"]["host"]["programs"]["step"][0]["pointers"][0].__setitem__(0, "heap"), "Invalid enum value 'heap'"),
        (lambda m: m["plans"]["host"]["programs"].update(twice=[]), "Invalid enum value 'twice'"),
        (lambda m: m["plans"]["host"]["states"][0]["planes"].update(k=8), "bytes of k is 8"),
        (lambda m: m["plans"]["host"]["weights"][0].update(shape=[1 << 40, 1 << 40]), "elements"),
        (lambda m: m["model"].update(weights=7), "Expected `str`, got `int` - at `$.weights`"),
        (lambda m: m.update(version=[3]), "Expected `int | null`, got `array` - at `$.version`"),
        (lambda m: m.update(version=3), "bundle version 3, this hfc reads 4\n  hint: compile it again"),
        (lambda m: m.update(version=5), "bundle version 5, this hfc reads 4\n  hint: a newer hfc made it"),
    ],
)  # fmt: skip
def test_a_manifest_says_where_and_what(bundle, change, message):
    found = refused(packed(bundle, change))
    assert found.startswith("error: other.hfp") and any(part in found for part in message.split("|")), found


def test_a_manifest_nested_deeply_is_a_message(bundle):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as target:
        target.writestr(
            MANIFEST, f'{{"version": {BUNDLE_VERSION}, "model": ' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "}"
        )
    assert "manifest.json" in refused(out.getvalue())


def test_code_is_for_one_plan_only(bundle):
    """A plan that is good in itself but not the one that the library was compiled for."""
    larger = replace(bundle.plans["host"], slots=3)
    assert contract(larger) != contract(bundle.plans["host"])
    with pytest.raises(HfcError, match="made for another plan"):
        load(replace(bundle, plans={"host": larger}))


def test_a_launch_gives_as_many_arguments_as_the_code_takes(gpu_bundle):
    plan = gpu_bundle.plans["sm_90"]
    launch = plan.programs["decode"][0]
    shorter = replace(launch, pointers=launch.pointers[:-1])
    programs = {**plan.programs, "decode": (shorter, *plan.programs["decode"][1:])}
    with pytest.raises(
        HfcError, match=f"gives {len(launch.pointers)} arguments, the code .* takes {len(launch.pointers) + 1}"
    ):
        check_code(replace(plan, programs=programs), gpu_bundle.files, "plan")
    renamed = replace(plan, kernels=(replace(plan.kernels[0], file=plan.kernels[1].file), *plan.kernels[1:]))
    with pytest.raises(HfcError, match=f"{plan.kernels[0].symbol} is expected"):
        check_code(renamed, gpu_bundle.files, "plan")


def test_amd_code_objects_are_read_the_same_way():
    bundle = compile_model(MODELS / "llama", ["gfx1100"], CompileOptions(**SMALL))
    plan = bundle.plans["gfx1100"]
    check_code(plan, bundle.files, "plan")
    launch = plan.programs["decode"][0]
    longer = replace(launch, pointers=(*launch.pointers, launch.pointers[0]))
    with pytest.raises(HfcError, match="arguments, the code of"):
        check_code(replace(plan, programs={**plan.programs, "decode": (longer,)}), bundle.files, "plan")
    with pytest.raises(HfcError, match="no code object that can be read"):
        check_code(plan, {name: data[:200] for name, data in bundle.files.items()}, "plan")


@pytest.mark.parametrize(
    "text", ["T if R else G", "T()", "T.real", "lambda: 1", "[T][0]", "x", "1 << T", "-T", "T;R", "(" * 300, "1.5"]
)
def test_a_grid_is_arithmetic_and_nothing_else(text):
    with pytest.raises(HfcError):
        grid_value(text, {"T": 1, "R": 1, "G": 1, "C": 128})


def test_code_of_another_machine_does_not_run(bundle, monkeypatch):
    monkeypatch.setattr(host_code, "made_here", lambda data: False)
    with pytest.raises(HfcError, match="(?s)not compiled on this machine.*--trust"):
        load(bundle, weights=MODELS / "llama")
    load(replace(bundle, trusted=True), weights=MODELS / "llama").close()


def test_an_older_cpu_gets_a_message(bundle):
    plan = replace(bundle.plans["host"], cpu=(*bundle.plans["host"].cpu, "avx4096"))
    with pytest.raises(HfcError, match="for a CPU with avx4096, which this one has not"):
        load(replace(bundle, plans={"host": plan}, trusted=True))


def test_instruction_sets_are_those_that_a_compiler_uses():
    text = "flags\t\t: vme sse4_2 avx2 avx512_vnni md_clear hypervisor amx_int8\n"
    assert cpu._flags(text) == {"sse4_2", "avx2", "avx512_vnni", "amx_int8"}
    assert "asimddp" in cpu._flags("Features\t: fp asimd evtstrm aes asimddp\n")


def test_libraries_are_kept_by_their_content(tmp_path, monkeypatch):
    """Two libraries under the same name in two bundles: neither takes the other's place, nor does a file that was put there."""
    monkeypatch.setenv("HFC_CACHE", str(tmp_path))
    first, second = cache.kept(b"first", ".so"), cache.kept(b"second", ".so")
    assert first != second and first.read_bytes() == b"first"
    first.write_bytes(b"other")
    assert cache.kept(b"first", ".so").read_bytes() == b"first"


def test_a_bundle_from_elsewhere_is_compiled_again(tmp_path, monkeypatch, capfd):
    """The whole way of a user: a bundle, an empty record of what was made here, the weights beside it."""
    folder = letters_folder(tmp_path / "model", "{{ messages[0].content }}")
    path = tmp_path / "m.hfp"
    compile_model(folder, ["host"], CompileOptions(ctx=128)).save(path)
    for record in (cache.cache_folder() / "made").rglob("*"):
        if record.is_file() and record.name == cache_digest(path):
            record.unlink()
    command = ["run", str(path), "hello", "-n", "2", "--temperature", "0"]
    assert exit_of(command) == 0
    assert "m.hfp: its code was not compiled on this machine" in capfd.readouterr().err
    (folder / "config.json").rename(tmp_path / "config.json")
    folder.rename(tmp_path / "elsewhere")
    record = cache.cache_folder() / "made" / cache_digest(path)[:2] / cache_digest(path)
    record.unlink(missing_ok=True)
    assert exit_of(command) == 2
    assert "are not here to compile it again" in capfd.readouterr().err


def cache_digest(path: Path) -> str:
    bundle = load_bundle(path)
    return bundle.digest(bundle.plans["host"].library)


def exit_of(words) -> int:
    with pytest.raises(SystemExit) as ended:
        main(words)
    return ended.value.code or 0


def test_a_bundle_has_ordinary_permissions(bundle, tmp_path):
    before = os.umask(0o027)
    try:
        bundle.save(tmp_path / "m.hfp")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "m.hfp").stat().st_mode) == 0o640


def test_no_link_is_followed(bundle, tmp_path, monkeypatch):
    """Where the temporary name could be guessed, a link there would be written through."""
    monkeypatch.setattr("hfc.base.whole_file.secrets.token_hex", lambda n: "guessed")
    (tmp_path / "victim").write_text("mine")
    (tmp_path / ".m.hfp.guessed").symlink_to(tmp_path / "victim")
    with pytest.raises(HfcError, match="m.hfp: cannot write the bundle: File exists; nothing is left behind"):
        bundle.save(tmp_path / "m.hfp")
    assert (tmp_path / "victim").read_text() == "mine"


def fuzzed(folder: Path, first: int, count: int) -> list[str]:
    """Outcomes of mutated plans, from a process of their own: its end is what is looked at."""
    done = subprocess.run(
        [sys.executable, str(FUZZ), str(folder), str(first), str(count)], capture_output=True, text=True
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == count, (
        f"seed {first + len(lines)} ended the process: {done.stderr[-2000:]}"
    )
    return [line.split(" ", 1)[1] for line in lines]


def save_all(folder: Path) -> None:
    for model, archs in (
        ("llama", ["host"]),
        ("qwen3_5_text", ["host", "sm_90"]),
        ("qwen3_5_moe_text", ["host", "gfx1100"]),
    ):
        compile_model(MODELS / model, archs, CompileOptions(**SMALL)).save(folder / f"{model}.hfp")


def test_mutated_plans_are_refused_or_run(bundle, gpu_bundle, tmp_path):
    bundle.save(tmp_path / "a.hfp")
    gpu_bundle.save(tmp_path / "b.hfp")
    outcomes = fuzzed(tmp_path, 0, 120)
    assert sum(o.startswith("refused: ") for o in outcomes) > 60 and "ran" in outcomes


@pytest.mark.long
def test_5000_mutated_plans_are_refused_or_run(tmp_path):
    save_all(tmp_path)
    outcomes = [o for first in range(0, 5000, 500) for o in fuzzed(tmp_path, first, 500)]
    print(f"{outcomes.count('ran')} ran, {len(outcomes) - outcomes.count('ran')} refused")


def test_the_undamaged_bundles_run(bundle, gpu_bundle):
    assert outcome(bundle.pack()) == "ran" and outcome(gpu_bundle.pack()) == "ran"
    assert outcome(damaged(bundle.pack(), 1)) == outcome(damaged(bundle.pack(), 1)), "seeds decide"
    assert random.Random(1).random() == random.Random(1).random()
