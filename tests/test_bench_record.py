"""`hfc bench --save`, `--compare` and `--share`: records that read back, and what a comparison says."""

import json
from pathlib import Path

import pytest
from small_models import CONFIGS

from hfc.base.diagnostics import HfcError
from hfc.cli import main
from hfc.cli.bench_record import comparison, load, record_of, save, shared
from hfc.cli.measure import Measurement

CONFIG = {"model_type": "llama", **CONFIGS["llama"]}


def measured(test: str, tok_s: float, spread: float = 0.5, device: str = "RX 7900 XTX") -> Measurement:
    return Measurement(test, tok_s, tok_s - spread, tok_s + spread, None, None, None, None, None, device, 900.0)


def record(*results: Measurement, model: str = "/home/someone/secret/m.hfp", **choices):
    return record_of(model, choices, results)


def test_a_record_reads_back_and_names_no_folder(tmp_path):
    made = record(measured("tg64", 100.0), kv="q8", ctx=None)
    save(made, tmp_path / "r.json")
    (tmp_path / "r.md").write_text("I measured this:\n\n" + shared(made) + "\nThanks\n")
    assert load(tmp_path / "r.json") == load(tmp_path / "r.md") == made
    assert made.choices == {"kv": "q8"} and "someone" not in (tmp_path / "r.json").read_text() + shared(made)
    assert "| tg64 | 100.0 | 99.5 | 100.5 |" in shared(made) and "kv q8" in shared(made)


def test_a_comparison_tells_a_change_from_the_spread():
    before = record(measured("pp128", 1000.0, 5), measured("tg64", 100.0), measured("tg64 b4", 300.0))
    now = record(measured("pp128", 1004.0, 5), measured("tg64", 110.0), measured("tg32", 90.0))
    lines = {line.split("  ")[0]: line for line in comparison(before, now).splitlines()}
    assert lines["pp128"].endswith("+0.4%, within the spread") and lines["tg64"].endswith("+10.0%")
    assert lines["tg64 b4"].split()[-3:] == ["300", "-", "-"] and lines["tg32"].split()[-3:] == ["-", "90", "-"]


def test_what_else_differs_comes_first():
    text = comparison(
        record(measured("tg64", 100.0), kv="q8"), record(measured("tg64", 50.0, device="host, 2 thread(s)"))
    )
    assert text.startswith("device: RX 7900 XTX before, host, 2 thread(s) now\noptions: {'kv': 'q8'} before, {} now\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "no record of hfc bench"),
        ("not json", "no record of hfc bench"),
        ('[{"test": "tg64"}]', "no record of hfc bench"),
        ("", "no record of hfc bench"),
    ],
)
def test_other_files_are_refused(tmp_path, text, message):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(HfcError, match=message):
        load(tmp_path / "r.json")


def test_a_record_of_another_format_is_named(tmp_path):
    save(record(measured("tg64", 1.0)), tmp_path / "r.json")
    found = json.loads((tmp_path / "r.json").read_text())
    (tmp_path / "r.json").write_text(json.dumps(found | {"format": 2}))
    with pytest.raises(HfcError, match="a record of format 2, this hfc reads 1"):
        load(tmp_path / "r.json")
    (tmp_path / "r.json").write_text(json.dumps(found | {"results": [{"test": "tg64", "tok_s": "fast"}]}))
    with pytest.raises(HfcError, match="no record of hfc bench"):
        load(tmp_path / "r.json")


def test_the_command_saves_compares_and_shares(tmp_path, capsys):
    saved, text = str(tmp_path / "r.json"), str(tmp_path / "r.md")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    words = ["bench", str(tmp_path / "config.json"), "--device", "null", "-p", "4", "-n", "4", "-r", "1", "--ctx", "64"]

    def run(*more: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as end:
            main([*words, *more])
        return end.value.code, capsys.readouterr().out

    assert run("--save", saved, "--share", text)[0] == 0
    code, out = run("--compare", saved)
    assert code == 0 and "change" in out and "tg4" in out
    assert load(Path(text)) == load(Path(saved))
    (tmp_path / "bad.json").write_text("{}")
    assert run("--compare", str(tmp_path / "bad.json"))[0] == 2
