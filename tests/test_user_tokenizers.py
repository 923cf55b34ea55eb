"""Vocabularies as they are published: training settings left in tokenizer.json, mistyped ends, flags, names in templates."""

import json
from pathlib import Path

import pytest
import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors

from hfc.base.diagnostics import HfcError
from hfc.cli.run import encode_chat, encode_raw
from hfc.runtime.chat import chat_template
from hfc.runtime.tokenizer import END_OF_TURN
from hfc.runtime.tokenizer_gguf import tokenizer_from_gguf
from hfc.runtime.tokenizer_json import tokenizer_from_folder
from hfc.runtime.tokenizer_library import byte_level_alphabet
from hfc.runtime.vocabulary import Vocabulary

BYTES = sorted(byte_level_alphabet())
CONTROL, USER_DEFINED, NORMAL = 3, 4, 1


def gguf(*added: tuple[str, int], **keys) -> dict:
    """A byte-level vocabulary with some more tokens of given types; keys below tokenizer.ggml."""
    return {
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.merges": [],
        "tokenizer.ggml.tokens": [*BYTES, *(text for text, _ in added)],
        "tokenizer.ggml.token_type": [NORMAL] * 256 + [kind for _, kind in added],
        **{f"tokenizer.ggml.{key}": value for key, value in keys.items()},
    }  # fmt: skip


def library(*added: str, special: bool = True) -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer(models.BPE({text: i for i, text in enumerate(BYTES)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_tokens([AddedToken(text, normalized=False, special=special) for text in added])
    return made


def folder(tmp_path: Path, made: tokenizers.Tokenizer, **config) -> Path:
    made.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    return tmp_path


def test_truncation_and_padding_of_tokenizer_json_are_off(tmp_path):
    made = library("<pad>")
    text = "a prompt of more than sixteen tokens"
    whole = made.encode(text).ids
    made.enable_truncation(16)
    made.enable_padding(length=64, pad_id=256, pad_token="<pad>")
    read = tokenizer_from_folder(folder(tmp_path, made))
    assert read.encode(text) == whole and len(whole) == len(text)
    assert len(read.encode("hi")) == 2 and read.encode("", frame=False) == []


@pytest.mark.parametrize("kind", [USER_DEFINED, NORMAL, CONTROL])
def test_an_end_of_turn_is_a_control_token_whatever_its_type(kind):
    read = tokenizer_from_gguf(gguf(("<|im_end|>", kind), ("<eos>", CONTROL), eos_token_id=257))
    assert read.stop_ids == {256, 257} and read.special[256] == "<|im_end|>"
    assert read.encode("<|im_end|>", parse_special=True, frame=False) == [256]
    assert len(read.encode("<|im_end|>")) == 10, "typed by a user it is text"
    assert read.decode([256]) == ""


def test_every_known_end_stops_and_words_of_html_only_as_control_tokens():
    ends = sorted(END_OF_TURN - {"<|call|>"})
    read = tokenizer_from_gguf(gguf(*((text, NORMAL) for text in ends)))
    assert {read.special[i] for i in read.stop_ids} == set(ends)
    for text in ("<|call|>", "[EOT]", "[EOS]", "<end_of_utterance>", "<|eot|>", "_<EOT>", "<｜end▁of▁sentence｜>"):
        assert text in END_OF_TURN
    assert tokenizer_from_gguf(gguf(("</s>", USER_DEFINED), ("</b>", USER_DEFINED))).stop_ids == frozenset()
    assert tokenizer_from_gguf(gguf(("</s>", CONTROL), ("</b>", USER_DEFINED))).stop_ids == {256}


def test_in_harmony_a_message_s_end_does_not_end_the_turn():
    read = tokenizer_from_gguf(gguf(("<|end|>", CONTROL), ("<|return|>", CONTROL), ("<|call|>", CONTROL)))
    assert {read.special[i] for i in read.stop_ids} == {"<|return|>", "<|call|>"}


def test_an_end_of_turn_of_a_folder_is_a_control_token_whatever_its_flag(tmp_path):
    read = tokenizer_from_folder(folder(tmp_path, library("<|im_end|>", "<tool>", special=False)))
    assert read.stop_ids == {256} and read.special == {256: "<|im_end|>"}
    assert read.encode("<tool>") == [257] and len(read.encode("<|im_end|>")) == 10
    assert read.encode("<|im_end|>", parse_special=True) == [256]


def test_flags_beside_tokenizer_json_do_not_override_it(tmp_path):
    framed = library("<s>", "</s>")
    framed.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 256)])
    names = {"bos_token": "<s>", "eos_token": "</s>"}
    read = tokenizer_from_folder(folder(tmp_path, framed, add_bos_token=False, add_eos_token=True, **names))
    assert read.encode("a") == [256, *read.encode("a", frame=False)]
    plain = tokenizer_from_folder(folder(tmp_path, library("<s>", "</s>"), add_bos_token=True, **names))
    assert plain.encode("a") == plain.encode("a", frame=False) and plain.bos == 256


def test_a_prompt_that_begins_with_the_begin_token_does_not_get_another(tmp_path):
    read = tokenizer_from_gguf(gguf(("<s>", CONTROL), bos_token_id=256, add_bos_token=True))
    assert read.encode("<s>a", parse_special=True) == [256, *read.encode("a", frame=False)] == read.encode("a")
    assert len(read.encode("<s>a")) == 5


def test_a_chat_prompt_gets_no_begin_token_that_its_template_does_not_print():
    """As transformers; llama.cpp adds one. A text that is continued does get it."""
    read = tokenizer_from_gguf(gguf(("<s>", CONTROL), bos_token_id=256, add_bos_token=True))
    plain, printed = (Vocabulary(read, begin + "{{ messages[0].content }}") for begin in ("", "{{ bos_token }}"))
    assert encode_raw(plain, "hi") == [256, *read.encode("hi", frame=False)]
    assert encode_chat(plain, "hi", None) == read.encode("hi", frame=False)
    assert encode_chat(printed, "hi", None) == [256, *read.encode("hi", frame=False)]


def test_the_file_decides_for_decomposed_text_not_the_class_of_a_model_type(tmp_path):
    """transformers builds a tokenizer of its own for qwen3_5, with NFC; `tokenizers` and llama.cpp go by the file."""
    plain, composed = library(), library()
    composed.normalizer = normalizers.NFC()
    (tmp_path / "config.json").write_text('{"model_type": "qwen3_5"}')
    texts = ["é", "e\u0301", "각", "\u1100\u1161\u11a8", "\ufb01"]
    for made in (plain, composed):
        read = tokenizer_from_folder(folder(tmp_path, made, tokenizer_class="Qwen2Tokenizer"))
        assert [read.encode(t) for t in texts] == [made.encode(t).ids for t in texts]
    assert plain.encode(texts[1]).ids != composed.encode(texts[1]).ids


def test_templates_print_every_token_that_the_files_name(tmp_path):
    source = "{{ bos_token }}|{{ pad_token }}|{{ unk_token }}|{{ image_token }}|{{ nothing_token }}"
    names = {"pad_token": {"content": "<pad>"}, "extra_special_tokens": {"image_token": "<image>"}, "bos_token": "<s>"}
    files = folder(tmp_path, library("<s>", "<pad>", "<image>"), **names)
    (files / "special_tokens_map.json").write_text('{"unk_token": "<unk>", "pad_token": "<old>"}')
    assert chat_template(source, tokenizer_from_folder(files)).render([]) == "<s>|<pad>|<unk>|<image>|"
    made = gguf(("<s>", CONTROL), ("<pad>", CONTROL), ("<unk>", CONTROL), ("<image>", CONTROL),
                bos_token_id=256, padding_token_id=257, unknown_token_id=258, image_token_id=259)  # fmt: skip
    assert chat_template(source, tokenizer_from_gguf(made)).render([]) == "<s>|<pad>|<unk>|<image>|"


def test_arithmetic_in_a_template_that_fails_is_an_error_of_the_template(tmp_path):
    template = chat_template("{{ 1 / (messages | length - 1) }}", tokenizer_from_gguf(gguf()))
    with pytest.raises(HfcError, match="chat template refuses these messages: division by zero"):
        template.render([{"role": "user", "content": "hi"}])


def test_a_merge_of_what_is_no_token_is_left_out():
    made = gguf(("ab", NORMAL), ("abc", NORMAL), merges=["a b", "ab zz", "q x", "ab c"])
    assert tokenizer_from_gguf(made).encode("abcqx") == [257, BYTES.index("q"), BYTES.index("x")]
    with pytest.raises(HfcError, match="nor do the others"):
        tokenizer_from_gguf(gguf(merges=["q x", "ab zz"]))
