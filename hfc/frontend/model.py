"""Model files: loading one, and finding the one for a config's model_type or a GGUF architecture."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import hfc
from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError, reason_of, unknown
from hfc.base.installed import incomplete
from hfc.base.knobs import knob
from hfc.frontend import syntax
from hfc.frontend.config import settings_of, text_config
from hfc.frontend.parse import parse
from hfc.frontend.recipes import Inventory


@dataclass(frozen=True)
class ModelFile:
    """A parsed model file."""

    syntax: syntax.ModelSyntax
    path: Path
    text: str = ""

    @property
    def name(self) -> str:
        return self.syntax.name

    @property
    def is_draft(self) -> bool:
        """Does it guess for another model, whose steps it observes?"""
        return self.syntax.observe is not None

    @property
    def model_types(self) -> tuple[str, ...]:
        """HF model types that it describes; the model's own name where its config block names none."""
        blocks = [block for block in self.syntax.configs if block.source == "hf"]
        return tuple(name for block in blocks for name in block.names or (self.name,))

    @property
    def gguf_architectures(self) -> tuple[str, ...]:
        return tuple(name for block in self.syntax.configs if block.source == "gguf" for name in block.names)

    def settings(self, config: Mapping[str, Any], source: str, checkpoint: Inventory | None = None) -> dict[str, Any]:
        """The model's names -> values for this config, and the token ids that it declares."""
        return settings_of(self.syntax, config, source, checkpoint)


def load_model(path: str | Path) -> ModelFile:
    """Parse a model file."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HfcError(f"{path}: cannot read the model file: {reason_of(error)}") from None
    return read_model(text, path)


def read_model(text: str, path: Path) -> ModelFile:
    """The model that a text describes; `path` says where it came from, for messages."""
    return ModelFile(parse(text, _shown(path)), path, text)


def find_model(model_type: str, folders: Sequence[str | Path] = ()) -> ModelFile:
    """The model that describes this HF model_type or GGUF architecture.

    The file of --model-file is taken for any; then `folders`, the folder in HFC_MODELS and hfc's own models are searched."""
    if knob("HFC_MODEL_FILE"):
        return load_model(knob("HFC_MODEL_FILE"))
    known = _known(folders, drafts=False)
    if model_type not in known:
        if model_type in _known(folders, drafts=True):
            raise HfcError(
                f"{model_type} is a draft: it guesses for another model",
                hint="give that model, and this one as --draft",
            )
        raise _unknown_type(model_type, known)
    return _loaded(known[model_type])


def _unknown_type(model_type: str, known: Iterable[str]) -> HfcError:
    """Another family's name would be a wrong answer, however near: what helps is how to describe this one."""
    same = [name for name in known if name.lower() == model_type.lower()]
    advice = f"did you mean {same[0]!r}?" if same else (
        "describe it in a .hfm file, as docs/add-a-model.md does; `hfc new-model` begins one, and --model-file FILE.hfm, or a folder "
        "of such files in HFC_MODELS, brings it to every command"
    )  # fmt: skip
    return HfcError(f"no model file describes the model type {model_type!r}", hint=advice)


def find_draft(name: str, folders: Sequence[str | Path] = ()) -> ModelFile:
    """The draft that describes this name of config.json's `architectures` or GGUF architecture."""
    known = _known(folders, drafts=True)
    if name not in known:
        raise unknown("kind of draft", name, known)
    return _loaded(known[name])


def has_draft(name: str) -> bool:
    return name in _known((), drafts=True)


def _known(folders: Sequence[str | Path], drafts: bool) -> dict[str, Path]:
    """Name -> file, of those that are drafts or of those that are not."""
    known: dict[str, Path] = {}
    for folder in (*map(Path, folders), *_own_folder(), builtin_folder()):
        for path in sorted(folder.glob("*.hfm")):
            names, is_draft = _headings(path, path.stat().st_mtime_ns)
            for name in names if is_draft == drafts else ():
                known.setdefault(name, path)
    return known


@functools.lru_cache(maxsize=256)
def _headings(path: Path, _modified_ns: int) -> tuple[tuple[str, ...], bool]:
    """What a file calls itself, and whether it is a draft: read without parsing, since every command looks into every file."""
    try:
        text = re.sub(r"#.*", "", path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return (), False  # named when somebody asks for it
    quoted = [re.findall(r'"([^"]*)"', names) for names in re.findall(r"\bconfig\s+(?:hf|gguf)\b([^{]*)\{", text)]
    own = re.findall(r"\bmodel\s+(\w+)", text)[:1]
    return (*own, *(name for names in quoted for name in names)), re.search(r"\bobserve\s*\(", text) is not None


def _own_folder() -> tuple[Path, ...]:
    folder = knob("HFC_MODELS")
    if folder is not None and not folder.is_dir():
        raise HfcError(f"HFC_MODELS={folder}: there is no such folder")
    return (folder,) if folder else ()


def model_type_of(config: Mapping[str, Any], source: str) -> str:
    """What to look for in `find_model`: the text model's model_type, or general.architecture.

    Drafts call themselves by the model_type of their layers; the name of their class says what they are."""
    classes = config.get("architectures") if source == "hf" else None
    if isinstance(classes, list) and classes and isinstance(classes[0], str) and has_draft(classes[0]):
        return classes[0]
    key = "model_type" if source == "hf" else "general.architecture"
    found = (text_config(config) if source == "hf" else config).get(key)
    if not isinstance(found, str):
        raise HfcError(f"the config has no {key}, so that its model is unknown")
    if source == "gguf" and f"{found}.selector_rank" in config:
        return found + "2"  # llama.cpp has one name for both kinds of DFlash
    if source == "gguf" and found == "llama" and config.get("llama.expert_count"):
        return "mixtral"  # and one for both of these
    return found


def builtin_folder() -> Path:
    """models/ of an installed hfc lies in the package, that of a checkout beside it."""
    package = Path(hfc.__file__).resolve().parent
    for folder in (package / "models", package.parent / "models"):
        if folder.is_dir():
            return folder
    raise incomplete(package / "models")


def _shown(path: Path) -> str:
    """The shorter of the path as given and the path from here."""
    absolute = path.resolve()
    here = Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(path)


def _loaded(path: Path) -> ModelFile:
    return _cached(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _cached(path: Path, _modified_ns: int) -> ModelFile:
    return load_model(path)
