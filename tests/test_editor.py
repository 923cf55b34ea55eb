"""Layout, names and the language server of model files, driven by a client as an editor would."""

import asyncio
import json
import re
import sys
from pathlib import Path

import pytest

from hfc.base.diagnostics import HfcError
from hfc.cli import main
from hfc.editor import server
from hfc.editor.layout import formatted
from hfc.editor.names import KEYWORDS, faults, known_names, operations
from hfc.frontend.parse import parse

ROOT = Path(__file__).parent.parent
MODELS = sorted((ROOT / "models").glob("*.hfm"))
LLAMA = (ROOT / "models/llama.hfm").read_text()


@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_shipped_models_have_no_faults_and_the_usual_layout(path):
    text = path.read_text()
    assert not faults(text, path.name) and formatted(text, path.name) == text


def test_a_layout_is_found_again_behind_any_indentation():
    """Of statements; rows of tables keep theirs, with tabs as spaces."""
    start = LLAMA.index("  layer self_attention")
    messy = LLAMA[:start] + re.sub(r"^ +", "\t   ", LLAMA[start:], flags=re.M).replace("\n", "   \n\n\n\n", 1)
    found = formatted(messy, "llama.hfm")
    assert found.replace("(x, i) {\n\n", "(x, i) {\n", 1) == LLAMA and formatted(found, "llama.hfm") == found


def test_braces_in_strings_and_comments_do_not_indent():
    text = LLAMA.replace(
        "    return linear(flatten(y), o_proj)", "    # a { in a comment\n    return linear(flatten(y), o_proj)  # }"
    )
    assert formatted(text, "llama.hfm") == text


def test_a_text_that_does_not_parse_has_no_layout():
    with pytest.raises(HfcError, match="llama.hfm:.*unexpected"):
        formatted(LLAMA.replace("graph(tokens) {", "graph tokens {"), "llama.hfm")


def test_a_misspelt_name_has_a_place_and_the_nearest():
    (fault,) = faults(LLAMA.replace("linear(x, up_proj)", "linear(x, up_porj)"), "llama.hfm")
    line = LLAMA.splitlines()[fault.span.line - 1]
    assert (
        line[fault.span.column - 1 :].startswith("up_proj") and "up_porj" in fault.message and "up_proj" in fault.hint
    )
    (fault,) = faults(LLAMA.replace("rms_norm(x, ffn_norm, eps)", "rmsnorm(x, ffn_norm, eps)"), "llama.hfm")
    assert "rms_norm" in fault.hint


def test_what_is_known_of_names():
    known = known_names(parse(LLAMA, "llama.hfm"), LLAMA)
    assert known["q_proj"].text.splitlines() == [
        "q_proj [heads * head, hidden] of layer i",
        'hf: "self_attn.q_proj.weight"',
        'gguf: half_split("attn_q.weight", heads)',
    ]
    assert known["theta"].text.splitlines()[1] == "gguf: theta = rope.freq_base or 10000"
    assert known["mlp"].text == "layer mlp(x, i)" and known["silu"].text.startswith("silu(x)\n")


def test_the_command_checks_and_writes(tmp_path, capsys):
    path = tmp_path / "m.hfm"
    path.write_text(LLAMA.replace("    x = gather", "  x = gather"))

    def run(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as end:
            main(["fmt", *words])
        return end.value.code, capsys.readouterr().out

    assert run(str(path), "--check") == (1, f"{path} would change\n")
    assert run(str(path)) == (0, f"{path} changed\n") and path.read_text() == LLAMA
    assert run(str(path), "--check") == (0, "nothing would change\n")


def test_the_grammar_colours_the_languages_words():
    grammar = json.loads((ROOT / "editors/hfm.tmLanguage.json").read_text())
    rules = {rule.get("name"): re.compile(rule["match"]) for rule in grammar["patterns"]}
    words = "|".join(
        rule.pattern for name, rule in rules.items() if name and name.startswith(("keyword.control", "storage"))
    )
    assert all(re.search(rf"\b{word}\b", words) for word in KEYWORDS)
    assert rules["comment.line.number-sign.hfm"].search('x = 1  # "said"')[0] == '# "said"'


def test_without_pygls_the_server_says_what_to_install(monkeypatch):
    monkeypatch.setattr(server, "LanguageServer", None)
    with pytest.raises(HfcError, match=r"hfc lsp needs the package pygls(.|\n)*hfc\[editor\]"):
        server.serve()


async def talk(tmp_path: Path) -> dict:
    types = pytest.importorskip("lsprotocol.types")
    client_module = pytest.importorskip("pygls.lsp.client")
    client, published = client_module.LanguageClient("test", "1"), asyncio.Queue()

    @client.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
    def diagnostics(given) -> None:
        published.put_nowait(given.diagnostics)

    await client.start_io(sys.executable, "-m", "hfc", "lsp")
    await client.initialize_async(types.InitializeParams(capabilities=types.ClientCapabilities()))
    uri = (tmp_path / "llama.hfm").as_uri()
    document, found = types.TextDocumentIdentifier(uri), {}

    def at(text: str, words: str) -> types.Position:
        before = text[: text.index(words)]
        return types.Position(before.count("\n"), len(before) - before.rfind("\n") - 1 + 1)

    async def change(version: int, text: str) -> list:
        client.text_document_did_change(types.DidChangeTextDocumentParams(
            types.VersionedTextDocumentIdentifier(version, uri), [types.TextDocumentContentChangeWholeDocument(text)]
        ))  # fmt: skip
        return await asyncio.wait_for(published.get(), 60)

    client.text_document_did_open(types.DidOpenTextDocumentParams(types.TextDocumentItem(uri, "hfm", 1, LLAMA)))
    found["clean"] = await asyncio.wait_for(published.get(), 60)
    found["hover"] = await client.text_document_hover_async(types.HoverParams(document, at(LLAMA, "o_proj)\n")))
    found["definition"] = await client.text_document_definition_async(
        types.DefinitionParams(document, at(LLAMA, "o_proj)\n"))
    )
    found["completion"] = await client.text_document_completion_async(
        types.CompletionParams(document, types.Position(60, 4))
    )
    messy = LLAMA.replace("    x = gather", "  x = gather")
    found["misspelt"] = await change(2, messy.replace("(x, up_proj)", "(x, up_porj)"))
    found["half"] = await change(3, LLAMA.replace("graph(tokens) {", "graph(tokens"))
    found["hover of a half"] = await client.text_document_hover_async(
        types.HoverParams(document, at(LLAMA, "o_proj)\n"))
    )
    await change(4, messy)
    options = types.FormattingOptions(tab_size=2, insert_spaces=True)
    found["edits"] = await client.text_document_formatting_async(types.DocumentFormattingParams(document, options))
    await client.shutdown_async(None)
    client.exit(None)
    await client.stop()
    return found


def test_an_editor_gets_diagnostics_hover_completion_and_layout(tmp_path):
    found = asyncio.run(talk(tmp_path))
    assert not found["clean"] and found["hover"].contents.value.startswith("o_proj [hidden, heads * head] of layer i")
    assert LLAMA.splitlines()[found["definition"].range.start.line].strip().startswith("o_proj")
    labels = {item.label for item in found["completion"]}
    assert {"o_proj", "theta", "mlp", "rms_norm", "layer"} <= labels and operations().keys() <= labels
    (fault,) = found["misspelt"]
    assert "up_porj" in fault.message and "up_proj" in fault.message and fault.source == "hfc"
    assert LLAMA.splitlines()[fault.range.start.line][fault.range.start.character :].startswith("up_proj")
    assert len(found["half"]) == 1 and found["hover of a half"] == found["hover"]
    assert [edit.new_text for edit in found["edits"]] == [LLAMA]
