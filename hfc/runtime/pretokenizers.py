"""How byte-level BPE vocabularies cut text into words before merging: the one table, keyed by `tokenizer.ggml.pre`.

A GGUF file names the rule and does not carry it. The patterns are the ones in the named model's own `tokenizer.json`
(Hugging Face), so a vocabulary gives the same ids from either file.
"""

from __future__ import annotations

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import unknown

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
QWEN35 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_UPPER, _LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]*[{_LOWER}]+|[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]+[{_LOWER}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_ENDING = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
GPT4O = (
    rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]*[{_LOWER}]+{_ENDING}|[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]+[{_LOWER}]*{_ENDING}"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK3 = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
HAN = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
DEFAULT = (r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]")


@dataclass(frozen=True)
class PreTokenizer:
    """Patterns applied in order, each to the pieces that the one before left.

    whole_words: a word that is itself a token is taken without merging ("ignore_merges" in tokenizer.json).
    add_bos: what holds when the file does not say.  nfc: text is put in Unicode form NFC first.
    """

    patterns: tuple[str, ...]
    source: str
    whole_words: bool = False
    add_bos: bool = False
    nfc: bool = False


_DIGITS = (r"\p{N}", GPT2)
_SMOLLM = PreTokenizer(_DIGITS, "HuggingFaceTB/SmolLM2-135M-Instruct")
_LLAMA3 = PreTokenizer((LLAMA3,), "meta-llama/Meta-Llama-3-8B", whole_words=True, add_bos=True)
_QWEN2 = PreTokenizer((QWEN2,), "Qwen/Qwen2.5-0.5B-Instruct", nfc=True)
_GPT2 = PreTokenizer((GPT2,), "openai-community/gpt2")

PRE_TOKENIZERS = {
    "default": PreTokenizer(DEFAULT, "llama.cpp's rule for files written before `pre` existed"),
    "gpt-2": _GPT2,
    "phi-2": _GPT2,
    "mpt": _GPT2,
    "olmo": _GPT2,
    "smollm": _SMOLLM,
    "starcoder": PreTokenizer(_DIGITS, "bigcode/starcoder2-7b"),
    "refact": PreTokenizer(_DIGITS, "smallcloudai/Refact-1_6-base"),
    "command-r": PreTokenizer(_DIGITS, "CohereForAI/c4ai-command-r-v01", nfc=True),
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "falcon3": _LLAMA3,
    "lfm2": _LLAMA3,
    "dbrx": PreTokenizer((LLAMA3,), "databricks/dbrx-base"),
    "smaug-bpe": PreTokenizer((LLAMA3,), "abacusai/Smaug-Llama-3-70B-Instruct"),
    "glm4": PreTokenizer((LLAMA3,), "zai-org/GLM-4-9B-0414", whole_words=True),
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": PreTokenizer((QWEN2,), "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"),
    "stablelm2": PreTokenizer((QWEN2,), "stabilityai/stablelm-2-zephyr-1_6b"),
    "qwen35": PreTokenizer((QWEN35,), "Qwen/Qwen3.5-0.8B", nfc=True),
    "tekken": PreTokenizer((TEKKEN,), "mistralai/Mistral-Nemo-Base-2407", whole_words=True, add_bos=True),
    "gpt-4o": PreTokenizer((GPT4O,), "microsoft/Phi-4-mini-instruct"),
    "llama4": PreTokenizer((GPT4O,), "meta-llama/Llama-4-Scout-17B-16E-Instruct"),
    "deepseek-v3": PreTokenizer((r"\p{N}{1,3}", HAN, DEEPSEEK3), "deepseek-ai/DeepSeek-V3"),
    "deepseek-coder": PreTokenizer(
        (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", r"\p{N}"),
        "deepseek-ai/deepseek-coder-6.7b-base",
    ),
    "falcon": PreTokenizer((r"[\p{P}\$\+<=>\^~\|`]+", GPT2, r"[0-9][0-9][0-9]"), "tiiuae/falcon-7b"),
}


def pre_tokenizer(name: str) -> PreTokenizer:
    """The row of a `tokenizer.ggml.pre` value."""
    if name not in PRE_TOKENIZERS:
        raise unknown("pre-tokenizer (tokenizer.ggml.pre)", name, PRE_TOKENIZERS)
    return PRE_TOKENIZERS[name]
