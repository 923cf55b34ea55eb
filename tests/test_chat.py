"""Chat templates render as transformers renders them, and fail with a message."""

from datetime import datetime

import pytest

from hfc.base.diagnostics import HfcError
from hfc.runtime.chat import chat_template, template_of_folder, template_of_gguf
from hfc.runtime.tokenizer_gguf import tokenizer_from_gguf


@pytest.fixture(scope="module")
def tokenizer(smollm2_metadata):
    return tokenizer_from_gguf(smollm2_metadata)


def render(source, tokenizer, messages=({"role": "user", "content": "hi"},), **variables):
    return chat_template(source, tokenizer).render(messages, **variables)


def test_smollm2_prompt(smollm2_metadata, tokenizer):
    text = render(template_of_gguf(smollm2_metadata), tokenizer, [{"role": "user", "content": "What is gravity?"}])
    assert text == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nWhat is gravity?<|im_end|>\n<|im_start|>assistant\n"
    )
    ids = tokenizer.encode(text, parse_special=True, frame=False)
    assert ids[0] == 1 and ids.count(1) == 3 and ids.count(2) == 2
    assert tokenizer.decode(ids, keep_special=True) == text


def test_system_message_replaces_the_default(smollm2_metadata, tokenizer):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    text = render(template_of_gguf(smollm2_metadata), tokenizer, messages)
    assert text.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nhi") and "SmolLM" not in text


def test_blocks_are_trimmed(tokenizer):
    source = "{% for m in messages %}\n    {% if true %}\n{{ m.content }}\n    {% endif %}\n{% endfor %}\n"
    assert render(source, tokenizer) == "hi\n"


def test_begin_and_end_tokens_and_variables_reach_the_template(tokenizer):
    source = "{{ bos_token }}|{{ eos_token }}|{{ add_generation_prompt }}|{{ enable_thinking }}"
    assert render(source, tokenizer, enable_thinking=False) == "<|im_start|>|<|im_end|>|True|False"


def test_loop_controls_generation_blocks_tojson_and_time(tokenizer):
    assert render("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", tokenizer) == "01"
    assert render("a{% generation %}b{{ 1 }}{% endgeneration %}c", tokenizer) == "ab1c"
    assert render("{{ {'k': '<é>'} | tojson }}", tokenizer) == '{"k": "<é>"}'
    assert render("{{ strftime_now('%Y') }}", tokenizer) == str(datetime.now().year)


def test_no_template_says_what_to_do(tokenizer):
    for source in (None, ""):
        with pytest.raises(HfcError, match="no chat template") as error:
            chat_template(source, tokenizer)
        assert "--raw" in str(error.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{% if %}", "not valid Jinja: line 1"),
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ messages[0].content + 1 }}", "refuses these messages"),
        ("{{ messages.__class__.__mro__ }}", "refuses these messages"),
        ("{{ messages[0].name.first }}", "refuses these messages"),
        ("{{ messages.append(1) }}", "refuses these messages"),
    ],
)
def test_bad_templates_are_explained(tokenizer, source, message):
    with pytest.raises(HfcError, match=message):
        render(source, tokenizer)


def test_where_a_folder_keeps_its_template(tmp_path):
    assert template_of_folder(tmp_path) is None
    config = tmp_path / "tokenizer_config.json"
    config.write_text('{"chat_template": "one"}')
    assert template_of_folder(tmp_path) == "one"
    config.write_text('{"chat_template": [{"name": "rag", "template": "a"}, {"name": "default", "template": "b"}]}')
    assert template_of_folder(tmp_path) == "b"
    (tmp_path / "chat_template.jinja").write_text("file")
    assert template_of_folder(tmp_path) == "file"
