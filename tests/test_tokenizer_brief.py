"""A vocabulary for a few short texts: the ids, texts and facts of the whole one, and the whole one where that is needed."""

import json
import pydoc_data.topics
import random
from dataclasses import fields
from pathlib import Path

import gguf
import pytest
import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from hfc.base.diagnostics import HfcError
from hfc.formats.checkpoint import open_checkpoint
from hfc.runtime import tokenizer_brief
from hfc.runtime.tokenizer_brief import brief_tokenizer
from hfc.runtime.tokenizer_gguf import tokenizer_from_gguf
from hfc.runtime.vocabulary import load_vocabulary

PROSE = " ".join(pydoc_data.topics.topics.values())
PIECES = [
    "<|im_end|>", "<|im_start|>", "<tool>", "é", "你好", "世界", " ", "  ", "\n", "\t", "😀", "123", "don't", ">", "\u0338", "Ünï", "한국어", "\x00", "\ufffd",
    " " * 40, "the", " then", "there",
]  # fmt: skip
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4


def texts(count: int) -> list[str]:
    chance = random.Random(3)
    prose = [PROSE[at : at + chance.randrange(300)] for at in (chance.randrange(len(PROSE)) for _ in range(count))]
    return ["", "a", *prose, *("".join(chance.choices(PIECES, k=chance.randrange(30))) for _ in range(count))]


def vocabulary_file(path: Path, rule: str, **changes) -> Path:
    """A trained byte-level BPE with control tokens, tokens that are found anywhere, one text twice, and merges into nothing."""
    library = tokenizers.Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    library.train_from_iterator(
        [PROSE[:60_000], " " * 200, "你好世界 한국어"], trainers.BpeTrainer(vocab_size=900, initial_alphabet=alphabet)
    )
    vocab = sorted(library.get_vocab().items(), key=lambda item: item[1])
    tokens = [text for text, _ in vocab]
    merges = [f"{left} {right}" for left, right in _merges_of(library)]
    tokens += ["<|im_start|>", "<|im_end|>", "<tool>", "the", "<tool>", "Ġ" * 100]
    kinds = [NORMAL] * len(vocab) + [CONTROL, NORMAL, USER_DEFINED, NORMAL, USER_DEFINED, NORMAL]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(rule)
    writer.add_token_list(changes.get("tokens", tokens))
    writer.add_token_types(changes.get("kinds", kinds))
    writer.add_token_merges(changes.get("merges", [*merges, "no token", "alone", f"{'Ġ' * 50} {'Ġ' * 50}"]))
    writer.add_eos_token_id(len(vocab) + 1)
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()
    return path


def _merges_of(library: tokenizers.Tokenizer) -> list[tuple[str, str]]:
    return [
        tuple(m) if isinstance(m, list) else tuple(m.split(" "))
        for m in json.loads(library.to_str())["model"]["merges"]
    ]


@pytest.fixture(scope="module", params=["qwen2", "llama-bpe", "smollm2"])
def both(request, tmp_path_factory):
    if request.param == "smollm2":
        path = request.getfixturevalue("smollm2_gguf")
    else:
        path = vocabulary_file(tmp_path_factory.mktemp("vocabulary") / f"{request.param}.gguf", request.param)
    with open_checkpoint(path) as first, open_checkpoint(path) as second:
        return brief_tokenizer(first.config), tokenizer_from_gguf(second.config)


def test_its_ids_are_those_of_the_whole_vocabulary(both):
    brief, whole = both
    briefly = 0
    for text in texts(12):
        for parse_special in (False, True):
            brief.core._whole, brief.core._texts = None, 0
            assert brief.encode(text, parse_special) == whole.encode(text, parse_special), text
            briefly += brief.core._whole is None
    assert briefly > 30, "most of these texts need no whole vocabulary"


def test_its_tokens_and_facts_are_those_of_the_whole_vocabulary(both):
    brief, whole = both
    for field in fields(whole):
        if field.name != "core":
            assert getattr(brief, field.name) == getattr(whole, field.name), field.name
    brief.core._whole = None
    step = 1 + whole.vocab // 2000
    last = {text: i for i, text in enumerate(brief.core._tokens)}  # of two equal ones the library knows the second
    known = [i for i in range(0, whole.vocab, step) if last[brief.core._tokens[i]] == i]
    for token in (-1, whole.vocab, *known, *whole.special):
        assert brief.core.bytes_of(token) == whole.core.bytes_of(token), token


def test_long_texts_many_texts_and_other_spellings_have_the_whole_vocabulary(tmp_path):
    with open_checkpoint(vocabulary_file(tmp_path / "v.gguf", "qwen2")) as checkpoint:
        core = brief_tokenizer(checkpoint.config).core
    for text, is_whole in (("the cat", False), ("e\u0301", True), ("long " * 1000, True)):
        core._whole, core._texts = None, 0
        core.encode(text, False)
        assert (core._whole is not None) == is_whole, text[:9]
    core._whole, core._texts = None, 0
    for number in range(tokenizer_brief.MOST_TEXTS + 1):
        assert core._whole is None
        core.encode(f"the cat {number}", False)
    assert core._whole is not None


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"kinds": [NORMAL]}, "token_type has 1 entries"),
        ({"kinds": [-7] * 906}, "no types of tokens"),
        ({"tokens": [b"\xff\xfe"] + [b"x%d" % i for i in range(905)]}, "not UTF-8"),
        ({"tokens": [b"\xc3", b"\xa9"] + [b"x%d" % i for i in range(904)]}, "not UTF-8"),
        ({"merges": ["q9 q8"]}, "does not join"),
    ],
)
def test_what_is_damaged_is_refused_as_ever(tmp_path, changes, message):
    path = vocabulary_file(tmp_path / "v.gguf", "qwen2", **changes)
    with pytest.raises(HfcError, match=message):
        load_vocabulary(path, is_brief=True).tokenizer.encode("the cat")


def test_a_folder_and_other_kinds_of_vocabulary_are_read_whole(smollm2_metadata):
    assert brief_tokenizer(smollm2_metadata) is None  # lists: they were read already
