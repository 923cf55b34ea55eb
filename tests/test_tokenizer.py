"""Tokenizers: equal ids from tokenizer.json, GGUF, llama.cpp and sentencepiece; whole characters when streamed."""

import io
import json
import random
import shutil
from pathlib import Path

import pytest
import sentencepiece
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from hfc.base.diagnostics import HfcError
from hfc.runtime.pretokenizers import pre_tokenizer
from hfc.runtime.tokenizer_gguf import _pre_tokenizer, tokenizer_from_gguf
from hfc.runtime.tokenizer_json import tokenizer_from_folder
from hfc.runtime.tokenizer_library import byte_level_alphabet, sentencepiece_bytes
from hfc.runtime.vocabulary import load_vocabulary

DATA = Path(__file__).parent / "data"
EXPECTED = json.loads((DATA / "smollm2_tokens.json").read_text())  # llama.cpp's llama_tokenize
WORDS = [
    "a",
    "the ",
    " ",
    "\n",
    "é",
    "日",
    "🚀",
    "'s",
    "12",
    "!?",
    "<|im_end|>",
    "<s>",
    "Zebra",
    "\t",
    "  ",
    "ß",
    "ن",
    "▁",
]


def random_texts(count: int) -> list[str]:
    chance = random.Random(7)
    return ["".join(chance.choices(WORDS, k=chance.randint(0, 25))) for _ in range(count)]


@pytest.fixture(scope="module")
def smollm2(smollm2_metadata):
    return tokenizer_from_gguf(smollm2_metadata)


def sentencepiece_metadata(tmp_path: Path, add_space: bool) -> tuple[dict, sentencepiece.SentencePieceProcessor]:
    """A small SentencePiece BPE vocabulary in GGUF's keys, and the library's own processor for the same model."""
    model = io.BytesIO()
    lines = [
        "the cat sat on the mat",
        "gravity pulls things down",
        "naïve café 日本",
        "  spaces   kept",
        "user says hi",
    ] * 8
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, model_type="bpe", vocab_size=340, byte_fallback=True,
        character_coverage=0.98, normalization_rule_name="identity", remove_extra_whitespaces=False,
        add_dummy_prefix=add_space, user_defined_symbols=["▁▁"], control_symbols=["<turn>"], minloglevel=2,
    )  # fmt: skip
    library = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    ids = range(library.vocab_size())
    kinds = [
        2 if library.is_unknown(i) else 3 if library.is_control(i) else 6 if library.is_byte(i) else 1 for i in ids
    ]
    pieces = [library.id_to_piece(i) for i in ids]
    kinds[pieces.index("▁▁")], pieces[pieces.index("▁▁")] = 4, "  "
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": pieces,
        "tokenizer.ggml.scores": [library.get_score(i) for i in ids],
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.bos_token_id": library.bos_id(),
        "tokenizer.ggml.eos_token_id": library.eos_id(),
        "tokenizer.ggml.unknown_token_id": library.unk_id(),
        "tokenizer.ggml.add_space_prefix": add_space,
    }, library


@pytest.mark.parametrize("case", EXPECTED, ids=lambda c: c["text"][:12])
def test_smollm2_ids_equal_llama_cpp(smollm2, case):
    assert smollm2.encode(case["text"]) == case["plain"]
    assert smollm2.encode(case["text"], parse_special=True) == case["special"]


def test_special_text_is_a_token_only_when_asked(smollm2):
    assert smollm2.encode("<|im_end|>", parse_special=True) == [2]
    plain = smollm2.encode("<|im_end|>")
    assert 2 not in plain and smollm2.decode(plain) == "<|im_end|>"


def test_smollm2_stops_at_both_ends(smollm2):
    assert smollm2.stop_ids == {0, 2}
    assert (smollm2.bos, smollm2.eos, smollm2.add_bos) == (1, 2, False)


def test_text_survives_encode_and_decode(smollm2):
    for text in random_texts(200):
        assert smollm2.decode(smollm2.encode(text)) == text


def write_folder(folder: Path, metadata: dict, frame: bool = False) -> Path:
    """The same vocabulary as tokenizer.json, spelled as SmolLM2's own file spells it."""
    tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    merges = [tuple(m.split(" ")) for m in metadata["tokenizer.ggml.merges"]]
    library = tokenizers.Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges))
    library.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    library.decoder = decoders.ByteLevel()
    special = [t for t, kind in zip(tokens, types) if kind == 3]
    library.add_special_tokens([tokenizers.AddedToken(t, normalized=False) for t in special])
    if frame:
        library.post_processor = processors.TemplateProcessing(
            single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
        )
    library.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "<|im_end|>"}}))
    return folder


def test_tokenizer_json_and_gguf_give_equal_ids(smollm2, smollm2_metadata, tmp_path):
    other = tokenizer_from_folder(write_folder(tmp_path, smollm2_metadata))
    for text in random_texts(300) + [case["text"] for case in EXPECTED]:
        for parse_special in (False, True):
            assert other.encode(text, parse_special) == smollm2.encode(text, parse_special)
    assert other.eos == 2 and other.stop_ids == smollm2.stop_ids and other.vocab == smollm2.vocab


def test_folder_frames_as_its_template_says(smollm2_metadata, tmp_path):
    framed = tokenizer_from_folder(write_folder(tmp_path, smollm2_metadata, frame=True))
    assert framed.encode("hi")[0] == 1 and framed.encode("hi", frame=False)[0] != 1


def test_folder_takes_stop_ids_from_generation_config(smollm2_metadata, tmp_path):
    write_folder(tmp_path, smollm2_metadata)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [7, 9]}')
    (tmp_path / "config.json").write_text('{"text_config": {"eos_token_id": 11}}')
    assert tokenizer_from_folder(tmp_path).stop_ids == {0, 2, 7, 9, 11}


@pytest.mark.parametrize("add_space", [False, True])
def test_sentencepiece_vocabulary_from_gguf_equals_the_library(tmp_path, add_space):
    metadata, library = sentencepiece_metadata(tmp_path, add_space)
    tokenizer = tokenizer_from_gguf(metadata)
    for text in random_texts(200) + ["the cat sat", "café 日本 🚀", "  spaces   kept"]:
        assert tokenizer.encode(text, frame=False) == library.encode(text)
        assert tokenizer.decode(tokenizer.encode(text, frame=False)) == text.replace("▁", " ")
    assert tokenizer.encode("the")[0] == library.bos_id(), (
        "SentencePiece vocabularies begin with bos unless told otherwise"
    )
    turn = library.piece_to_id("<turn>")
    assert tokenizer.encode("the<turn>the", True, False) == [*library.encode("the"), turn, *library.encode("the")]
    assert turn not in tokenizer.encode("the<turn>the")


def test_bos_and_eos_flags_are_honoured(tmp_path):
    metadata, library = sentencepiece_metadata(tmp_path, False)
    metadata |= {"tokenizer.ggml.add_bos_token": False, "tokenizer.ggml.add_eos_token": True}
    assert tokenizer_from_gguf(metadata).encode("the") == [*library.encode("the"), library.eos_id()]


def test_stream_never_shows_a_broken_character(smollm2, tmp_path):
    spelled = tokenizer_from_gguf(sentencepiece_metadata(tmp_path, False)[0])
    for tokenizer in (smollm2, spelled):
        for text in ["👩‍🚀 日本語 naïve 한국어", *random_texts(50)]:
            stream = tokenizer.stream()
            pieces = [stream.push(i) for i in tokenizer.encode(text, frame=False)]
            assert "".join(pieces) + stream.close() == text.replace("▁", " " if tokenizer is spelled else "▁")
            assert not any("\ufffd" in piece for piece in pieces)


def test_stream_replaces_what_never_becomes_a_character(smollm2):
    alphabet = {byte: c for c, byte in byte_level_alphabet().items()}
    first = smollm2.core._library.token_to_id(alphabet[0xF0])
    stream = smollm2.stream()
    assert stream.push(first) == ""
    assert stream.push(2) == "\ufffd", "a control token ends the character"
    assert stream.push(first) == "" and stream.close() == "\ufffd"


def test_control_tokens_print_nothing_unless_kept(smollm2):
    ids = smollm2.encode("<|im_start|>hi", parse_special=True)
    assert smollm2.decode(ids) == "hi" and smollm2.decode(ids, keep_special=True) == "<|im_start|>hi"


def test_ids_outside_the_vocabulary_have_no_text(smollm2):
    assert smollm2.decode([49152, 10**6, smollm2.encode("hi")[0]]) == "hi"


def test_byte_alphabet_is_the_library_s():
    assert set(byte_level_alphabet()) == set(pre_tokenizers.ByteLevel.alphabet())
    assert sorted(byte_level_alphabet().values()) == list(range(256))
    assert sentencepiece_bytes("<0xE9>") == b"\xe9" and sentencepiece_bytes("▁a") == b" a"


def test_normal_form_is_applied_where_the_model_does(tmp_path):
    library = tokenizers.Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.train_from_iterator(
        ["é e"], trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), vocab_size=300)
    )
    tokens = [library.id_to_token(i) for i in range(library.get_vocab_size())]
    metadata = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.merges": []}
    composed, decomposed = "\u00e9", "e\u0301"
    qwen = tokenizer_from_gguf(metadata | {"tokenizer.ggml.pre": "qwen2"})
    gpt2 = tokenizer_from_gguf(metadata | {"tokenizer.ggml.pre": "gpt-2"})
    assert qwen.encode(composed) == qwen.encode(decomposed)
    assert gpt2.encode(composed) != gpt2.encode(decomposed)


CUTS = {
    "kimi-k2": {"中文English混合": "中文|English|混合", "HelloWorld's 1234!\n\n a": "Hello|World's| |123|4|!\n\n| a"},
    "seed-coder": {"it's a!\n\n 12": "it|'s| a|!|\n\n| |1|2"},
    "qwen2": {"it's a!\n\n 12": "it|'s| a|!\n\n| |1|2"},
    "minimax-m2": {"HelloWorld's 1234/\n": "Hello|World's| |123|4|/\n"},
    "hunyuan-dense": {"中文a 1234!\n": "中文|a| |123|4|!\n"},
    "chatglm-bpe": {"it's a!\n\n 1234": "it|'s| a|!\n\n| |123|4"},
    "hunyuan": {"it's a!\n\n 12": "it|'s| a|!\n\n| |1|2"},
    "afmoe": {"it's 1234567 ab中文!": "it|'s| |1|234|567| ab|中文|!", "12 123 1234": "12| |123| |1|234"},
    "bloom": {"it's 12, (ab)  x।": "it's| 12|, (|ab|) | x|।"},
    "exaone": {"it's 12 IT'S": "it|'s| |1|2| IT|'|S"},
    "exaone4": {"it's 12 IT'S": "it|'s| 12| IT|'|S"},
    "falcon-h1": {"it's 1234 IT'S": "it|'s| |123|4| IT|'S"},
    "deepseek-llm": {"a café, 12\n\n중文ա  ": "a| caf|é|,| |1|2|\n|\n|중文|ա|  "},
}


@pytest.mark.parametrize("name", CUTS)
def test_words_are_cut_by_the_rule_that_a_gguf_names(name):
    """By hand, from the rules that llama.cpp takes under these names."""
    cut = _pre_tokenizer(pre_tokenizer(name))
    for text, words in CUTS[name].items():
        assert "|".join(text[start:end] for _, (start, end) in cut.pre_tokenize_str(text)) == words


def test_gemma_4_merges_over_spaces_and_spells_the_rest_in_bytes():
    """By hand: no word is cut before merging, spaces are marks, runs of newlines merge, é is two bytes."""
    letters = [*"abc\n", "▁", "ab", "▁ab", "b▁", "\n\n", "▁▁"]
    tokens = ["<unk>", "<bos>", "<turn>", "<tool>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    metadata = {
        "tokenizer.ggml.model": "gemma4", "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.unknown_token_id": 0, "tokenizer.ggml.token_type": [2, 3, 3, 4, *[6] * 256, *[1] * len(letters)],
        "tokenizer.ggml.merges": ["\n \n", "▁ ▁", "a b", "▁ ab", "b ▁"],
    }  # fmt: skip
    tokenizer = tokenizer_from_gguf(metadata)

    def pieces(text: str, *more) -> list[str]:
        return [tokens[i] for i in tokenizer.encode(text, *more)]

    assert pieces("ab ab") == ["<bos>", "ab", "▁ab"]
    assert pieces("b a\n\nc")[1:] == ["b▁", "a", "\n\n", "c"]
    assert pieces("a  é")[1:] == ["a", "▁▁", "<0xC3>", "<0xA9>"]
    assert pieces("a<tool><turn>", True)[1:] == ["a", "<tool>", "<turn>"] and "<turn>" not in pieces("a<turn>")
    for text in ("ab ab", "b a\n\nc", "a  é", " a ", "日本"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


BAD = {
    "wordpiece": ("tokenizer.ggml.model", "bert", "WordPiece (tokenizer.ggml.model is 'bert')"),
    "unigram": ("tokenizer.ggml.model", "t5", "Unigram"),
    "model": ("tokenizer.ggml.model", "wordpiece", "unknown GGUF tokenizer model 'wordpiece'"),
    "no model": ("tokenizer.ggml.model", None, "no tokenizer"),
    "pre": ("tokenizer.ggml.pre", "smolm", "did you mean 'smollm'"),
    "tokens": ("tokenizer.ggml.tokens", None, "tokenizer.ggml.tokens is missing"),
    "tokens of numbers": ("tokenizer.ggml.tokens", [1, 2], "Expected `str`, got `int`"),
    "text": ("tokenizer.ggml.tokens", ["a", "\udcff"], "not UTF-8"),
    "types": ("tokenizer.ggml.token_type", [1, 1], "token_type has 2 entries; tokenizer.ggml.tokens has 49152"),
    "merge": ("tokenizer.ggml.merges", ["Ġ thequick"], "'Ġ thequick', which does not join"),
    "eos": ("tokenizer.ggml.eos_token_id", 99999, "99999, outside the vocabulary of 49152"),
}


@pytest.mark.parametrize("case", BAD, ids=str)
def test_bad_gguf_vocabularies_are_explained(smollm2_metadata, case):
    key, value, message = BAD[case]
    metadata = dict(smollm2_metadata)
    if value is None:
        del metadata[key]
    else:
        metadata[key] = value
    with pytest.raises(HfcError) as error:
        tokenizer_from_gguf(metadata)
    assert message in str(error.value)


def test_bad_sentencepiece_vocabulary_is_explained(tmp_path):
    metadata, _ = sentencepiece_metadata(tmp_path, True)
    tokens = metadata["tokenizer.ggml.tokens"]
    with pytest.raises(HfcError, match="not valid"):
        tokenizer_from_gguf(metadata | {"tokenizer.ggml.tokens": [tokens[-1], *tokens[1:]]})


def test_bad_folders_are_explained(smollm2_metadata, tmp_path):
    with pytest.raises(HfcError, match="no tokenizer.json"):
        tokenizer_from_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "BPE"')
    with pytest.raises(HfcError, match="not a tokenizer that can be read"):
        tokenizer_from_folder(tmp_path)
    tokenizers.Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(HfcError, match="WordLevel"):
        tokenizer_from_folder(tmp_path)


def test_text_that_is_not_utf8_is_refused(smollm2):
    with pytest.raises(HfcError, match="not valid UTF-8"):
        smollm2.encode("abc\udcff")


def test_vocabulary_of_a_file_and_of_a_folder(smollm2_gguf, smollm2_metadata, smollm2, tmp_path):
    shutil.copy(DATA / "empty.safetensors", tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")
    write_folder(tmp_path, smollm2_metadata)
    (tmp_path / "chat_template.jinja").write_text("{{ messages[0].content }}")
    file, folder = load_vocabulary(smollm2_gguf), load_vocabulary(tmp_path)
    assert file.tokenizer.encode("one two") == folder.tokenizer.encode("one two") == smollm2.encode("one two")
    assert "<|im_start|>assistant" in file.template and folder.template == "{{ messages[0].content }}"
