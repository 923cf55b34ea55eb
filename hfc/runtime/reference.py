"""What a user writes for a model on the Hugging Face Hub -> repository, revision, and which of its files is meant."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from urllib.parse import urlsplit

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError, unknown

_PART = r"[A-Za-z0-9][\w.-]{0,95}"
_REPOSITORY = re.compile(rf"({_PART}/{_PART}?)(?:@([\w./-]+?))?(?::(.+))?")
_PREFIXES = ("hf.co/", "huggingface.co/", "hf:", "hf://")
_HOSTS = ("hf.co", "huggingface.co", "www.huggingface.co")
_QUANT = re.compile(r"(?i)(?:^|[-._])((?:UD-)?I?Q\d\w*|BF16|F16|F32|FP16|FP32|MXFP4\w*|NVFP4|TQ\d_\d)(?=[-._]|$)")
_PART_OF = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")
# From the usual choice outwards: a little more than 4 bits first, then larger ones, then smaller ones.
PREFERRED = (
    "Q4_K_M", "UD-Q4_K_XL", "Q4_K_L", "Q4_K_S", "Q4_1", "Q4_0", "IQ4_NL", "IQ4_XS", "MXFP4", "MXFP4_MOE", "Q5_K_M", "Q5_K_S", "Q5_K_L", "Q5_1", "Q5_0",
    "Q6_K", "Q6_K_L", "Q8_0", "NVFP4", "Q3_K_L", "Q3_K_M", "Q3_K_S", "IQ3_M", "IQ3_S", "IQ3_XS", "IQ3_XXS", "Q2_K", "IQ2_M", "IQ2_S", "IQ2_XS",
    "IQ2_XXS", "BF16", "F16", "F32", "TQ2_0", "TQ1_0", "IQ1_M", "IQ1_S", "Q1_0",
)  # fmt: skip
# Of a safetensors repository: what lies at its top and belongs to the model.
COMPANIONS = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json", "model.safetensors.index.json",
    "1_Pooling/config.json",
)  # fmt: skip
AS_IT_IS = "source"  # a safetensors repository that is not to be quantized


@dataclass(frozen=True)
class HubFile:
    """A file of a repository at a fixed revision (a commit)."""

    repository: str
    revision: str
    path: str


@dataclass(frozen=True)
class Reference:
    """choice: a quant or a file of a GGUF repository, the format to quantize a safetensors repository to; None: the usual one."""

    repository: str
    revision: str | None = None
    choice: str | None = None

    def __str__(self) -> str:
        return (
            self.repository
            + (f"@{self.revision}" if self.revision else "")
            + (f":{self.choice}" if self.choice else "")
        )


@dataclass(frozen=True)
class Selection:
    """kind: "gguf" | "safetensors".  files: to fetch, the one to open first.  format: to quantize to, None: as it is."""

    kind: str
    files: tuple[str, ...]
    format: str | None = None


def parse_reference(text: str) -> Reference | None:
    """`hf.co/ORG/REPO[@REVISION][:CHOICE]`, `hf:...`, a URL of the hub, or a plain `ORG/REPO`; None for anything else."""
    if text.startswith(("http://", "https://")):
        return _of_url(text)
    plain = next((text.removeprefix(p) for p in sorted(_PREFIXES, key=len, reverse=True) if text.startswith(p)), text)
    match = _REPOSITORY.fullmatch(plain)
    if match is None or (
        plain == text and PurePath(match[1]).suffix in (".gguf", ".hfp", ".hfm", ".json", ".safetensors", ".hfq")
    ):
        return None
    return Reference(match[1], match[2], match[3])


def _of_url(url: str) -> Reference | None:
    """https://huggingface.co/ORG/REPO[/tree|blob|resolve/REVISION[/FILE]]; the host of HF_ENDPOINT counts too."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise HfcError(f"{url}: no address: {error}", hint="like https://huggingface.co/ORG/REPO") from None
    own = urlsplit(os.environ.get("HF_ENDPOINT", ""))
    if parts.hostname not in _HOSTS and (parts.hostname, parts.port) != (own.hostname, own.port):
        raise HfcError(f"{url}: not an address of the Hugging Face Hub", hint="fetch the file and give its path")
    words = parts.path.strip("/").split("/")
    if len(words) < 2 or not _REPOSITORY.fullmatch("/".join(words[:2])):
        raise HfcError(f"{url}: an address of a repository is expected", hint="like https://huggingface.co/ORG/REPO")
    if len(words) > 3 and words[2] in ("tree", "blob", "resolve"):
        return Reference("/".join(words[:2]), words[3], "/".join(words[4:]) or None)
    return Reference("/".join(words[:2]))


def select(reference: Reference, names: Iterable[str]) -> Selection:
    """Which of a repository's files to fetch. HfcError names what there is where the choice is not among it."""
    names = list(names)
    models = [n for n in names if n.endswith(".gguf") and not re.search(r"(?i)mmproj|imatrix", PurePath(n).name)]
    wanted = reference.choice
    if wanted in names and wanted.endswith(".gguf"):
        return Selection("gguf", _parts(wanted, names))
    tensors = [
        n
        for n in names
        if n.endswith(".safetensors") and "/" not in n and not n.startswith(("adapter", "consolidated"))
    ]
    by_quant = quants(models)
    if models and (not tensors or wanted is None or wanted.upper() in by_quant):
        return Selection("gguf", _parts(by_quant[_quant(reference, by_quant)], names))
    if tensors and "config.json" in names:
        format = None if wanted == AS_IT_IS else (wanted or DEFAULT_FORMAT).lower()
        return Selection("safetensors", (*(n for n in COMPANIONS if n in names), *tensors), format)
    kind = "a LoRA adapter" if "adapter_config.json" in names else "no GGUF and no safetensors model"
    raise HfcError(
        f"{reference.repository} holds {kind}", hint=f"look for a GGUF of it, like {reference.repository}-GGUF"
    )


DEFAULT_FORMAT = "hfc4"  # what a safetensors repository is quantized to


def quants(names: Iterable[str]) -> dict[str, str]:
    """Quant -> its file, the first part of a split one. Files whose name says none stand under their own name."""
    found: dict[str, str] = {}
    for name in sorted(names):
        part = _PART_OF.fullmatch(name)
        if part and int(part[2]) != 1:
            continue
        said = _QUANT.findall(PurePath(part[1] if part else name.removesuffix(".gguf")).name)
        found.setdefault(said[-1].upper() if said else PurePath(name).name, name)
    return found


def _quant(reference: Reference, found: Mapping[str, str]) -> str:
    if reference.choice is not None:
        wanted = reference.choice.upper()
        if wanted not in found:
            raise unknown(f"quant or file in {reference.repository}:", reference.choice, found)
        return wanted
    return min(found, key=lambda q: PREFERRED.index(q) if q in PREFERRED else len(PREFERRED))


def _parts(name: str, names: Iterable[str]) -> tuple[str, ...]:
    """All files of a split GGUF, or the one."""
    match = _PART_OF.fullmatch(name)
    if match is None:
        return (name,)
    wanted = [f"{match[1]}-{number:05d}-of-{match[3]}.gguf" for number in range(1, int(match[3]) + 1)]
    lost = sorted(set(wanted) - set(names))
    if lost:
        raise HfcError(f"{name} is split, and {lost[0]} is not in the repository", hint="choose another quant")
    return tuple(wanted)
