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
_NOT_HAN = r"&&[^\p{Han}]"
KIMI = (
    rf"[\p{{Han}}]+|[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}{_NOT_HAN}]*[{_LOWER}{_NOT_HAN}]+{_ENDING}"
    rf"|[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}{_NOT_HAN}]+[{_LOWER}{_NOT_HAN}]*{_ENDING}"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SEED = QWEN2.replace(r" ?[^\s\p{L}\p{N}]+[\r\n]*", r" ?[^\s\p{L}\p{N}\r\n]+")
DEEPSEEK3 = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CASED = (  # letters of scripts with two cases, as its tokenizer.json lists them
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373"
    "\u0376-\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f"
    "\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77"
    "\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d"
    "\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4"
    "\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139"
    "\u213c-\u213f\u2145-\u2149\u214e\u2183-\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2-\u2cf3\ua640-\ua66d"
    "\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a"
    "\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2"
    "\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943"
)
DEEPSEEK = (
    r"[\r\n]", rf"\s?[{_CASED}]+", "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+", r"\s+$",
    "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", r"\p{N}",
)  # fmt: skip
BLOOM = " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"
DIGITS_BY_THREE = r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))"  # counted from the right
ASIAN = (
    "[\u4e00-\u9fff\u3400-\u4dbf\uf900-\ufaff\u3040-\u309f\u30a0-\u30ff\uff65-\uff9f\u2f00-\u2fdf\u0e40-\u0e7f\u0e80-\u0eff"
    "\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff\uac00-\ud7af\u1100-\u11ff]+"
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
    "falcon-h1": _LLAMA3,
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
    "hunyuan-dense": PreTokenizer((r"\p{N}{1,3}", HAN, DEEPSEEK3), "tencent/Hunyuan-4B-Instruct"),
    "kimi-k2": PreTokenizer((KIMI,), "moonshotai/Kimi-K2-Base", whole_words=True),
    "minimax-m2": PreTokenizer((GPT4O,), "MiniMaxAI/MiniMax-M2"),
    "seed-coder": PreTokenizer((SEED,), "ByteDance-Seed/Seed-Coder-8B-Base"),
    "exaone": PreTokenizer(_DIGITS, "LGAI-EXAONE/EXAONE-3.0-7.8B-Instruct"),
    "exaone4": PreTokenizer((GPT2,), "LGAI-EXAONE/EXAONE-4.0-32B"),
    "deepseek-llm": PreTokenizer(DEEPSEEK, "deepseek-ai/deepseek-llm-7b-base"),
    "deepseek-coder": PreTokenizer(
        (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", r"\p{N}"),
        "deepseek-ai/deepseek-coder-6.7b-base",
    ),
    "chatglm-bpe": PreTokenizer((LLAMA3,), "zai-org/glm-4-9b-chat-hf"),
    "hunyuan": PreTokenizer((QWEN2,), "tencent/Hunyuan-A13B-Instruct"),
    "afmoe": PreTokenizer((DIGITS_BY_THREE, ASIAN, DEEPSEEK3), "arcee-ai/Trinity-Nano-Preview"),
    "bloom": PreTokenizer((BLOOM,), "bigscience/bloom"),
    "falcon": PreTokenizer((r"[\p{P}\$\+<=>\^~\|`]+", GPT2, r"[0-9][0-9][0-9]"), "tiiuae/falcon-7b"),
}


def pre_tokenizer(name: str) -> PreTokenizer:
    """The row of a `tokenizer.ggml.pre` value."""
    if name not in PRE_TOKENIZERS:
        raise unknown("pre-tokenizer (tokenizer.ggml.pre)", name, PRE_TOKENIZERS)
    return PRE_TOKENIZERS[name]
