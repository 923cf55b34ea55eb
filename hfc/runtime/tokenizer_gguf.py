"""GGUF metadata (`tokenizer.ggml.*`) to a Tokenizer. Keys and token types: the GGUF specification."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers

from hfc.base.diagnostics import HfcError, unknown
from hfc.base.typed import typed
from hfc.runtime.pretokenizers import PreTokenizer, pre_tokenizer
from hfc.runtime.sentencepiece_proto import CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, model_proto
from hfc.runtime.tokenizer import END_OF_TURN, Core, Tokenizer, stop_ids_of
from hfc.runtime.tokenizer_library import SPACE, HuggingFaceCore, native_calls

KEY = "tokenizer.ggml."
# A newer file may name more ends than "eos": end of turn, end of message.
_STOP_KEYS = ("eos_token_id", "eot_token_id", "eom_token_id")
# Of the specification -> what chat templates call them.
_NAMES = {"unknown": "unk_token", "padding": "pad_token", "seperator": "sep_token", "separator": "sep_token"}


def tokenizer_from_gguf(metadata: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that a GGUF file describes. Arrays may be lists or numpy arrays."""
    kind = _typed(metadata, "model", str | None)
    if kind is None:
        raise HfcError(
            f"the GGUF file has no tokenizer: key {KEY}model is missing", hint="use a file with a vocabulary"
        )
    if kind in _FOREIGN:
        raise HfcError(
            f"the GGUF file's vocabulary is {_FOREIGN[kind]} ({KEY}model is {kind!r}), which hfc does not read",
            hint=f"it reads BPE and SentencePiece ({', '.join(_KINDS)}), those of the models it runs",
        )
    if kind not in _KINDS:
        raise unknown("GGUF tokenizer model", kind, _KINDS)
    tokens = _strings(metadata, "tokens")
    found = _numbers(metadata, "token_type", len(tokens), NORMAL)
    if not all(0 <= number < 256 for number in found):
        raise HfcError(
            f"the GGUF file's {KEY}token_type has numbers that are no types of tokens", hint="the file is damaged"
        )
    types = [CONTROL if text in END_OF_TURN else t for text, t in zip(tokens, found)]
    special = {i: tokens[i] for i, t in enumerate(types) if t in (CONTROL, UNKNOWN)}
    return _KINDS[kind](metadata, tokens, types, special)


def _byte_level_bpe(
    metadata: Mapping[str, Any], tokens: list[str], types: Sequence[int], special: dict[int, str]
) -> Tokenizer:
    rule = pre_tokenizer(_typed(metadata, "pre", str | None) or "default")
    vocab = {text: i for i, text in enumerate(tokens)}
    found_anywhere = [tokens[i] for i, t in enumerate(types) if t == USER_DEFINED and tokens[i]]
    merges = _merges(_strings(metadata, "merges"), vocab)
    core = byte_level_core(rule, vocab, merges, special.values(), found_anywhere)
    return finished(metadata, core, tokens, special, rule.add_bos)


def byte_level_core(
    rule: PreTokenizer,
    vocab: Mapping[str, int],
    merges: Sequence[tuple[str, str]],
    special: Iterable[str],
    found_anywhere: Iterable[str],
) -> HuggingFaceCore:
    """found_anywhere: tokens that are taken before a text is cut into words; `special` too, where control tokens are asked for."""
    with native_calls("the GGUF file's vocabulary is not valid"):
        library = tokenizers.Tokenizer(models.BPE(vocab, merges, ignore_merges=rule.whole_words))
        library.pre_tokenizer = _pre_tokenizer(rule)
        library.decoder = decoders.ByteLevel()
        if rule.nfc:
            library.normalizer = normalizers.NFC()
        library.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in special if t])
        library.add_tokens([AddedToken(t, normalized=False, special=False) for t in found_anywhere])
    return HuggingFaceCore(library, byte_level=True)


def _sentencepiece_bpe(
    metadata: Mapping[str, Any], tokens: list[str], types: Sequence[int], special: dict[int, str]
) -> Tokenizer:
    scores = _numbers(metadata, "scores", len(tokens), 0.0)
    if not all(abs(score) < 3e38 for score in scores):
        raise HfcError(f"the GGUF file's {KEY}scores has numbers that are no scores", hint="the file is damaged")
    # sentencepiece wants exactly one unknown piece; files mark none (Gemma) or every padding token (Phi 3) as such.
    types = [UNUSED if t == UNKNOWN else t for t in types]
    types[_token_id(metadata, "unknown_token_id", len(tokens)) or 0] = UNKNOWN
    # llama.cpp's converter spells the spaces of user-defined tokens as spaces; sentencepiece wants its own mark.
    pieces = [t.replace(" ", SPACE) if k == USER_DEFINED else t for t, k in zip(tokens, types)]
    add_space = _flag(metadata, "add_space_prefix", True)
    # Its library takes a twentieth of a second to import, and most vocabularies need the other.
    library = importlib.import_module("hfc.runtime.tokenizer_sentencepiece")
    core = library.sentencepiece_core(model_proto(pieces, scores, types, add_space), special)
    return finished(metadata, core, tokens, special, add_bos=True, strip_space=add_space)


def _escaped_bpe(
    metadata: Mapping[str, Any], tokens: list[str], types: Sequence[int], special: dict[int, str]
) -> Tokenizer:
    """Gemma 4's: merges over the whole text with sentencepiece's mark for spaces; what has no token is spelled in bytes."""
    vocab = {text: i for i, text in enumerate(tokens)}
    unknown_id = _token_id(metadata, "unknown_token_id", len(tokens))
    found_anywhere = [tokens[i] for i, t in enumerate(types) if t == USER_DEFINED and tokens[i]]
    with native_calls("the GGUF file's vocabulary is not valid"):
        known = None if unknown_id is None else tokens[unknown_id]
        model = models.BPE(
            vocab, _merges(_strings(metadata, "merges"), vocab), byte_fallback=True, fuse_unk=True, unk_token=known
        )
        library = tokenizers.Tokenizer(model)
        library.normalizer = normalizers.Replace(" ", SPACE)
        library.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in special.values() if t])
        library.add_tokens([AddedToken(t, normalized=False, special=False) for t in found_anywhere])
    return finished(metadata, HuggingFaceCore(library, byte_level=False), tokens, special, add_bos=True)


_KINDS = {"gpt2": _byte_level_bpe, "llama": _sentencepiece_bpe, "gemma4": _escaped_bpe}
# Of models that hfc does not run: what their vocabularies are.
_FOREIGN = {"bert": "WordPiece", "t5": "Unigram", "rwkv": "RWKV's trie", "plamo2": "PLaMo 2's table"}


def finished(
    metadata: Mapping[str, Any],
    core: Core,
    tokens: Sequence[str],
    special: dict[int, str],
    add_bos: bool,
    strip_space: bool = False,
) -> Tokenizer:
    """add_bos: what holds where the file does not say."""
    vocab = len(tokens)
    ids = [_token_id(metadata, key, vocab) for key in _STOP_KEYS]
    return Tokenizer(
        core=core,
        vocab=vocab,
        special=special,
        bos=_token_id(metadata, "bos_token_id", vocab),
        eos=ids[0],
        add_bos=_flag(metadata, "add_bos_token", add_bos),
        add_eos=_flag(metadata, "add_eos_token", False),
        stop_ids=stop_ids_of(special, *ids),
        strip_space=strip_space,
        named=_named(metadata, tokens),
    )


def _named(metadata: Mapping[str, Any], tokens: Sequence[str]) -> dict[str, str]:
    """{"pad_token": "<pad>"} for every token that the file names by its id."""
    keys = [key for key in metadata if key.startswith(KEY) and key.endswith("_token_id")]
    names = {key: key.removeprefix(KEY).removesuffix("_token_id") for key in keys}
    ids = {name: _token_id(metadata, name + "_token_id", len(tokens)) for name in names.values()}
    return {_NAMES.get(name, f"{name}_token"): tokens[i] for name, i in ids.items() if i is not None}


def _pre_tokenizer(rule: PreTokenizer) -> pre_tokenizers.PreTokenizer:
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in rule.patterns]
    return pre_tokenizers.Sequence([*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _merges(texts: Sequence[str], vocab: Mapping[str, int]) -> list[tuple[str, str]]:
    """A file without any merge that fits has those of another vocabulary."""
    pairs = merge_pairs(texts, vocab)
    if texts and not pairs:
        raise HfcError(
            f"the GGUF file's {KEY}merges has {texts[0]!r}, which does not join two of its tokens into a third, nor do the others",
            hint="the file is damaged or was converted wrongly; fetch it again",
        )
    return pairs


def merge_pairs(texts: Iterable[str], vocab: Mapping[str, int]) -> list[tuple[str, str]]:
    """`"left right"` strings as pairs. A merge of or into what is no token is left out: the library panics over it, and
    llama.cpp spells out what it joins."""
    pairs = []
    for text in texts:
        left, _, right = text.partition(" ")
        if left in vocab and right in vocab and left + right in vocab:
            pairs.append((left, right))
    return pairs


def _strings(metadata: Mapping[str, Any], name: str) -> list[str]:
    values = _typed(metadata, name, list[str] | None)
    if values is None:
        raise HfcError(f"the GGUF file's {KEY}{name} is missing", hint="use a file with a complete vocabulary")
    try:
        "".join(values).encode("utf-8")
    except UnicodeEncodeError as error:
        raise HfcError(f"the GGUF file's {KEY}{name} has text that is not UTF-8", hint="the file is damaged") from error
    return list(values)


def _numbers(metadata: Mapping[str, Any], name: str, count: int, default: float) -> Sequence:
    values = _typed(metadata, name, list[type(default)] | None)
    if values is None:
        return [default] * count
    if len(values) != count:
        raise HfcError(f"the GGUF file's {KEY}{name} has {len(values)} entries; {KEY}tokens has {count}")
    return values


def _token_id(metadata: Mapping[str, Any], name: str, vocab: int) -> int | None:
    value = _typed(metadata, name, int | None)
    if value is not None and not 0 <= value < vocab:
        raise HfcError(f"the GGUF file's {KEY}{name} is {value}, outside the vocabulary of {vocab} tokens")
    return value


def _flag(metadata: Mapping[str, Any], name: str, default: bool) -> bool:
    found = _typed(metadata, name, bool | None)
    return default if found is None else found


def _typed(metadata: Mapping[str, Any], name: str, kind: Any) -> Any:
    """A key's value, arrays as lists. HfcError where it is of another type."""
    value = metadata.get(KEY + name)
    plain = value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
    return typed(plain, kind, f"the GGUF file's {KEY}{name}")
