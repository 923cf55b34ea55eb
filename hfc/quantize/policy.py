"""Which format each tensor of a checkpoint gets."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.formats import weight_format
from hfc.formats.checkpoint import TensorInfo

SOURCE = "source"  # as stored
EIGHT_BITS = "q8_0"
PLAIN = ("f32", "f16", "bf16")


@dataclass(frozen=True)
class Rule:
    """Tensors whose names match one of `patterns` get `format`; "eight" is 8 bits, rotated where the target is."""

    patterns: tuple[str, ...]
    format: str
    reason: str


# In order; the first that matches counts. Names of Hugging Face and of GGUF stand side by side.
RULES = (
    Rule(
        ("*embed_tokens*", "token_embd.*", "*lm_head*", "output.weight"),
        EIGHT_BITS,
        "tables and the head decide tokens",
    ),
    Rule(
        ("*mlp.gate.weight", "*shared_expert_gate*", "*ffn_gate_inp*"),
        EIGHT_BITS,
        "4-bit routers choose wrong experts: loops",
    ),
    Rule(
        ("*linear_attn.in_proj_a.*", "*linear_attn.in_proj_b.*", "*ssm_alpha.*", "*ssm_beta.*"),
        "eight",
        "small, and they steer the decay of a state that lives for the whole text",
    ),
    Rule(("*conv1d*", "*norm*"), SOURCE, "8 times the error at 4 bits, and a thousandth of the size"),
)
BLOCKS_OF_32 = ((5.0, "q5_0"), (9.0, "q8_0"))  # bits a weight, and the format for what has fewer
FEWER_BITS = "stored in fewer bits than"


@dataclass(frozen=True)
class FormatChoice:
    """format: what the tensor is stored as.  reason: why it is not the target, empty if it is."""

    format: str
    reason: str = ""


def choose(info: TensorInfo, target: str, keep: Sequence[tuple[str, str]] = ()) -> FormatChoice:
    """keep: (pattern, format) that count before the rules."""
    for pattern, format in keep:
        if fnmatchcase(info.name, pattern):
            return _fitting(info, info.format if format == SOURCE else format, f"--keep {pattern}")
    if sum(n != 1 for n in info.shape) < 2:
        return FormatChoice(info.format, "a vector")
    for rule in RULES:
        if any(fnmatchcase(info.name, pattern) for pattern in rule.patterns):
            return _fitting(
                info,
                _eight(target) if rule.format == "eight" else info.format if rule.format == SOURCE else rule.format,
                rule.reason,
            )
    return _fitting(info, target, "")


def _eight(target: str) -> str:
    """8 bits whose input is the one that the target's tensors read."""
    return "mq8g256" if weight_format(target).rotated else EIGHT_BITS


def _fitting(info: TensorInfo, format: str, reason: str) -> FormatChoice:
    """`format`, or what it falls back to for rows of this length."""
    columns, form = info.shape[-1] if info.shape else 1, weight_format(format)
    found = fitting_format(format, columns)
    if found == format:
        if bits_of(info.format) < form.bits_per_weight and not form.rotated:
            return FormatChoice(info.format, f"{FEWER_BITS} {format} has")
        return FormatChoice(format, reason)
    if weight_format(found).quantized:
        return FormatChoice(found, f"rows of {columns} are no multiple of {form.block}, the block of {format}")
    return FormatChoice(found, f"rows of {columns} fit no block")


def fitting_format(name: str, columns: int) -> str:
    """What rows of `columns` elements are stored in where `name` is wanted: it, or the next larger format whose blocks they fill, or bf16."""
    form = weight_format(name)
    if columns % form.block == 0:
        return name
    larger = (smaller for limit, smaller in BLOCKS_OF_32 if form.bits_per_weight < limit)
    return next((name for name in larger if columns % weight_format(name).block == 0), "bf16")


def bits_of(format: str) -> float:
    return weight_format(format).bits_per_weight


def parse_keep(words: Sequence[str]) -> list[tuple[str, str]]:
    """["*down_proj*=q6_k"] -> pairs."""
    pairs = []
    for word in words:
        pattern, equals, format = word.partition("=")
        if not equals or not pattern:
            raise HfcError(f"--keep {word}: PATTERN=FORMAT is expected", hint="e.g. --keep '*.down_proj.*=q8_0'")
        if format != SOURCE:
            weight_format(format)
        pairs.append((pattern, format))
    return pairs
