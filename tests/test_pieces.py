"""Long texts in pieces: the tokens are those of the whole, whatever stands in the text; vocabularies that join across a cut are not cut."""

import random

import pytest
import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers

from hfc.runtime import pieces as module
from hfc.runtime.pieces import Pieces
from hfc.runtime.tokenizer import Tokenizer
from hfc.runtime.tokenizer_gguf import tokenizer_from_gguf
from hfc.runtime.tokenizer_library import HuggingFaceCore

WORDS = ["the", "rivers", "Of", "x", "1234", "3.5", "don't", "re-use", "Größe", "日本語", "café", "…", "—", "\t", "\n", "\n\n", "  ", " ",
         "<|im_end|>", "{", "}", "a_b", "😀", "e\u0301", "\u00a0", "\u3000", "if(x):\n    return", "\r\n"]  # fmt: skip


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(module, "PIECE", 40)
    monkeypatch.setattr(module, "WINDOW", 64)


def texts(seed, count=60):
    rng = random.Random(seed)
    for _ in range(count):
        yield rng.choice(["", " ", "\n"]).join(
            rng.choice(WORDS) + rng.choice(["", " ", " ", "\n"]) for _ in range(rng.randint(1, 120))
        )
    yield "a " * 500
    yield "7" * 1000
    yield " " * 300 + "end"


def trained(
    pre, normalizer=None, texts=("the rivers of the world and the words of it 1234 don't \n\n x" * 20,), **options
):
    library = tokenizers.Tokenizer(models.BPE(unk_token=None))
    library.pre_tokenizer, library.decoder = pre, decoders.ByteLevel()
    if normalizer:
        library.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    library.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    )
    library.add_special_tokens([AddedToken("<|im_end|>", normalized=False, special=True, **options)])
    special = {library.token_to_id("<|im_end|>"): "<|im_end|>"}
    return Tokenizer(HuggingFaceCore(library, byte_level=True), library.get_vocab_size(), special)


def same(tokenizer, seed=0):
    found = Pieces(tokenizer)
    most = 0
    for text in texts(seed):
        parts = list(found.of(text))
        most = max(most, len(parts))
        for special in (False, True):
            ids = [i for part in parts for i in tokenizer.encode(part, special, frame=False)]
            assert ids == tokenizer.encode(text, special, frame=False), text
    return most


BYTE_LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False)


@pytest.mark.parametrize("normalizer", [None, normalizers.NFC()])
def test_byte_level_vocabularies(normalizer):
    assert same(trained(BYTE_LEVEL, normalizer)) > 10


def test_smollm2(smollm2_metadata):
    tokenizer = tokenizer_from_gguf(smollm2_metadata)
    assert same(tokenizer) > 10 and Pieces(tokenizer).longest >= 30


def test_sentencepiece():
    pieces = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{i:02X}>" for i in range(256)),
        "\u2581",
        *"abcdefghijklmnopqrstuvwxyz",
        "\u2581t",
        "he",
        "\u2581the",
        "nd",
    ]
    kinds = [2, 3, 3, *([6] * 256), *([1] * (len(pieces) - 259))]
    metadata = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": pieces,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.scores": [-float(i) for i in range(len(pieces))],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }
    for prefix in (True, False):
        assert same(tokenizer_from_gguf({**metadata, "tokenizer.ggml.add_space_prefix": prefix})) > 5


def test_a_vocabulary_that_joins_words_is_not_cut_between_them():
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    joined = trained(whole, texts=("and the and the of the of the",) * 50)
    assert any(b"d t" in joined.core.bytes_of(i) for i in range(joined.vocab)), "the sample has no such token"
    same(joined)
    parts = list(Pieces(joined).of("some words\nof it " * 100))
    assert all(part.startswith("\n") for part in parts[1:]), "only at line ends, which no token joins"


@pytest.mark.parametrize(
    "tokenizer",
    [
        trained(BYTE_LEVEL, normalizers.Strip()),
        trained(BYTE_LEVEL, rstrip=True),
        trained(BYTE_LEVEL, normalizers.Lowercase()),
    ],
    ids=["strips", "swallows", "lowers"],
)
def test_what_is_not_known_to_be_local_is_not_cut(tokenizer):
    assert same(tokenizer) == 1 and Pieces(tokenizer).longest is None
